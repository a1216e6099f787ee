//! What the cluster keeps of a join token, and when that lets somebody in. Pure; data of the replicated state.
//!
//! Owns the order of the checks. It must not know how a record gets into the replicated state; [`TokenRecord::redeem`] gives the
//! record that must be there before a certificate is handed out.

use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::bundle::CaDigest;
use crate::identity::Role;
use crate::request::KeyDigest;
use crate::token::{JoinToken, TokenError, TokenId};

/// What the cluster keeps of a token: data of the replicated state, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// What its bearer becomes.
    pub role: Role,
    /// The CA whose digest is in it: it is of no use once that one is trusted no longer.
    pub authority: CaDigest,
    /// SHA-256 of the secret, in hexadecimal.
    pub secret_hash: String,
    /// Who asked for it.
    pub created_by: String,
    /// When it was made, in seconds since 1970.
    pub created_at_s: u64,
    /// The last second in which it is good.
    pub expires_at_s: u64,
    /// How many may still join with it.
    pub uses_left: u32,
    /// The key of the last one who joined: if it asks again, since the answer did not reach it, that is no second use.
    pub last_key: Option<KeyDigest>,
    /// When it was revoked.
    pub revoked_at_s: Option<u64>,
}

impl TokenRecord {
    /// Lets a bearer in who wants to become `wanted`, with a key of its own: returns the record with one use less, which must be
    /// stored before the bearer gets a certificate.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] unless the bearer knows the secret, whatever else is wrong with the token; then
    /// [`TokenError::WrongRole`], [`TokenError::Revoked`], [`TokenError::Expired`] or [`TokenError::UsedUp`].
    pub fn redeem(&self, token: &JoinToken, wanted: Role, key: KeyDigest, now: UnixTime) -> Result<Self, TokenError> {
        let id = token.id().clone();
        let is_same_secret = bool::from(token.secret_hash().as_bytes().ct_eq(self.secret_hash.as_bytes()));
        // The authority too: a bearer whose token was changed may have sent its secret to a stranger.
        if !is_same_secret || id != self.id || token.authority() != self.authority {
            return Err(TokenError::Unknown { id });
        }
        let granted = self.role;
        if token.role() != granted || wanted != granted {
            let wanted = if wanted == granted { token.role() } else { wanted };
            return Err(TokenError::WrongRole { id, granted, wanted });
        }
        if let Some(at_s) = self.revoked_at_s {
            return Err(TokenError::Revoked { id, at_s });
        }
        if now.as_secs() > self.expires_at_s {
            let at_s = self.expires_at_s;
            return Err(TokenError::Expired { id, at_s });
        }
        if self.last_key.as_ref() == Some(&key) {
            return Ok(self.clone());
        }
        let Some(uses_left) = self.uses_left.checked_sub(1) else {
            return Err(TokenError::UsedUp { id });
        };
        Ok(Self {
            uses_left,
            last_key: Some(key),
            ..self.clone()
        })
    }

    /// The record of the token once it is withdrawn. Revoking it again changes nothing.
    #[must_use]
    pub fn revoke(&self, now: UnixTime) -> Self {
        Self {
            revoked_at_s: self.revoked_at_s.or(Some(now.as_secs())),
            ..self.clone()
        }
    }

    /// Whether somebody could still join with it.
    #[must_use]
    pub fn is_usable(&self, now: UnixTime) -> bool {
        self.revoked_at_s.is_none() && self.uses_left > 0 && now.as_secs() <= self.expires_at_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;
    use crate::token::{DEFAULT_TOKEN_LIFETIME, TokenTerms};

    const NOW: u64 = 1_800_000_000;

    fn key(text: &str) -> KeyDigest {
        serde_json::from_value(text.into()).expect("a digest")
    }

    fn minted(role: Role, uses: u32) -> (JoinToken, TokenRecord) {
        let terms = TokenTerms {
            role,
            lifetime: DEFAULT_TOKEN_LIFETIME,
            uses,
            created_by: "anna".to_owned(),
        };
        let authority = "ab".repeat(32).parse().expect("a digest");
        JoinToken::mint(terms, authority, text::at(NOW)).expect("a token")
    }

    /// The token with one part of its text replaced.
    fn with_part(token: &JoinToken, part: usize, new: &str) -> Result<JoinToken, TokenError> {
        let text = token.to_secret_text();
        let mut parts: Vec<&str> = text.split('.').collect();
        parts[part] = new;
        parts.join(".").parse()
    }

    #[test]
    fn token_for_two_hosts_lets_in_two() {
        let (token, record) = minted(Role::Agent, 2);
        let once = record
            .redeem(&token, Role::Agent, key("1"), text::at(NOW))
            .expect("first");
        let again = once
            .redeem(&token, Role::Agent, key("1"), text::at(NOW))
            .expect("first again");
        assert_eq!(
            again, once,
            "a host that had no answer and asked again took a second use"
        );
        let twice = once
            .redeem(&token, Role::Agent, key("2"), text::at(NOW))
            .expect("second");
        let error = twice
            .redeem(&token, Role::Agent, key("3"), text::at(NOW))
            .expect_err("third");
        assert!(matches!(error, TokenError::UsedUp { .. }), "{error}");
        assert!(error.to_string().contains("berth token create"), "{error}");
    }

    #[test]
    fn token_is_good_until_its_last_second_and_not_after() {
        let (token, record) = minted(Role::Agent, 1);
        let last = NOW + DEFAULT_TOKEN_LIFETIME.as_secs();
        record
            .redeem(&token, Role::Agent, key("1"), text::at(last))
            .expect("good");
        let error = record
            .redeem(&token, Role::Agent, key("1"), text::at(last + 1))
            .expect_err("expired");
        assert!(
            matches!(error, TokenError::Expired { at_s, .. } if at_s == last),
            "{error}"
        );
    }

    #[test]
    fn revoked_token_is_refused_with_the_time() {
        let (token, record) = minted(Role::Agent, 1);
        let revoked = record.revoke(text::at(NOW + 5)).revoke(text::at(NOW + 9));
        let error = revoked
            .redeem(&token, Role::Agent, key("1"), text::at(NOW + 10))
            .expect_err("revoked");
        assert!(
            matches!(error, TokenError::Revoked { at_s, .. } if at_s == NOW + 5),
            "{error}"
        );
        assert!(!revoked.is_usable(text::at(NOW + 10)));
    }

    #[test]
    fn agents_token_makes_no_controller_even_if_its_text_is_changed() {
        let (token, record) = minted(Role::Agent, 1);
        let forged = with_part(&token, 2, "controller").expect("read");
        for (token, wanted) in [
            (&token, Role::Controller),
            (&forged, Role::Controller),
            (&forged, Role::Agent),
        ] {
            let error = record
                .redeem(token, wanted, key("1"), text::at(NOW))
                .expect_err("refused");
            assert!(
                matches!(
                    error,
                    TokenError::WrongRole {
                        granted: Role::Agent,
                        wanted: Role::Controller,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn token_with_another_secret_or_digest_is_unknown_whatever_else_is_wrong_with_it() {
        let (token, record) = minted(Role::Agent, 1);
        let (other, _) = minted(Role::Agent, 1);
        let secret = other.to_secret_text();
        let secret = secret.split('.').nth(4).expect("a secret");
        let late = text::at(NOW + 10 * DEFAULT_TOKEN_LIFETIME.as_secs());
        for forged in [
            with_part(&token, 4, secret),
            with_part(&token, 5, &"cd".repeat(32)),
            with_part(&token, 3, "0000000000000000"),
        ] {
            let error = record
                .redeem(&forged.expect("read"), Role::Controller, key("1"), late)
                .expect_err("refused");
            assert!(matches!(error, TokenError::Unknown { .. }), "{error}");
        }
    }
}
