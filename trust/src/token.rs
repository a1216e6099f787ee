//! Join tokens: what an operator gives a new host so that it gets its first certificate. Draws secrets; is told the time.
//!
//! Owns the text of tokens and what is wrong with one. It must not know when a token is good ([`crate::token_record`]).
//!
//! `berth-join.v1.ROLE.ID.SECRET.DIGEST`: the digest is that of the CA, by which the host knows its cluster before it trusts anybody.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bundle::CaDigest;
use crate::identity::Role;
use crate::text;
use crate::token_record::TokenRecord;

/// What tokens begin with, so that people and scanners for lost secrets know one.
const PREFIX: &str = "berth-join";
/// The form that this version reads and writes.
const VERSION: &str = "v1";
/// Random bytes of a secret: too many to guess, so that a plain hash of it may be kept.
const SECRET_BYTES: usize = 32;
/// Random bytes of a token's id.
const ID_BYTES: usize = 8;

/// Lifetime of a token if nothing else is asked for: long enough to walk to the host.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Shortest lifetime of a token.
pub const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime of a token: what lies in a provisioning script longer than that is forgotten there.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most hosts that may join with one token.
pub const MAX_USES: u32 = 10_000;

/// The id of a token: 16 hexadecimal digits, which are no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

/// A token as its bearer has it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    role: Role,
    id: TokenId,
    secret: [u8; SECRET_BYTES],
    authority: CaDigest,
}

/// What a token is to be good for.
#[derive(Clone, Debug)]
pub struct TokenTerms {
    /// What its bearer becomes.
    pub role: Role,
    /// For how long it is good.
    pub lifetime: Duration,
    /// How many may join with it.
    pub uses: u32,
    /// Who asked for it, for the list of tokens.
    pub created_by: String,
}

/// Why a token is not made, not read, or no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token.
    #[error("this is no join token: {0}; copy the whole of it, from berth-join to the end")]
    Malformed(&'static str),
    /// A token of a later version.
    #[error(
        "this join token has the form {0:?}, and this version of berth knows {VERSION} only: upgrade berth on this host"
    )]
    Version(String),
    /// A role that does not join.
    #[error("no join token can be made for {0}: tokens are for agents and controllers")]
    Role(Role),
    /// Out of bounds.
    #[error(
        "a join token cannot be good for {}s: it must be from {}s to {}s",
        .0.as_secs(), MIN_TOKEN_LIFETIME.as_secs(), MAX_TOKEN_LIFETIME.as_secs()
    )]
    Lifetime(Duration),
    /// Out of bounds.
    #[error("a join token cannot have {0} uses: it must have 1 to {MAX_USES}")]
    Uses(u32),
    /// No randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
    /// The cluster has no such token, or the secret is another: a stranger is not told which.
    #[error("the cluster has no such join token (id {id}): make a new one with `berth token create`")]
    Unknown {
        /// Its id.
        id: TokenId,
    },
    /// For somebody else.
    #[error("join token {id} is for {granted}, not for {wanted}: make one with `berth token create --role {wanted}`")]
    WrongRole {
        /// Its id.
        id: TokenId,
        /// What it is good for.
        granted: Role,
        /// What the bearer wants to be.
        wanted: Role,
    },
    /// Withdrawn.
    #[error("join token {id} was revoked at {}: make a new one with `berth token create`", text::moment(text::at(*at_s)))]
    Revoked {
        /// Its id.
        id: TokenId,
        /// When.
        at_s: u64,
    },
    /// Too old.
    #[error("join token {id} expired at {}: make a new one with `berth token create`", text::moment(text::at(*at_s)))]
    Expired {
        /// Its id.
        id: TokenId,
        /// When.
        at_s: u64,
    },
    /// Used as often as it may be.
    #[error("join token {id} is used up: make a new one with `berth token create`, with --uses for several hosts")]
    UsedUp {
        /// Its id.
        id: TokenId,
    },
}

impl JoinToken {
    /// Draws a token for a cluster whose signing authority has this digest, and the record of it.
    ///
    /// # Errors
    /// [`TokenError::Role`], [`TokenError::Lifetime`], [`TokenError::Uses`] or [`TokenError::Random`].
    pub fn mint(terms: TokenTerms, authority: CaDigest, now: UnixTime) -> Result<(Self, TokenRecord), TokenError> {
        if !matches!(terms.role, Role::Agent | Role::Controller) {
            return Err(TokenError::Role(terms.role));
        }
        if !(MIN_TOKEN_LIFETIME..=MAX_TOKEN_LIFETIME).contains(&terms.lifetime) {
            return Err(TokenError::Lifetime(terms.lifetime));
        }
        if !(1..=MAX_USES).contains(&terms.uses) {
            return Err(TokenError::Uses(terms.uses));
        }
        let token = Self {
            role: terms.role,
            id: TokenId(hex::encode(random::<ID_BYTES>()?)),
            secret: random()?,
            authority,
        };
        let record = TokenRecord {
            id: token.id.clone(),
            role: terms.role,
            authority,
            secret_hash: token.secret_hash(),
            created_by: terms.created_by,
            created_at_s: now.as_secs(),
            expires_at_s: now.as_secs().saturating_add(terms.lifetime.as_secs()),
            uses_left: terms.uses,
            last_key: None,
            revoked_at_s: None,
        };
        Ok((token, record))
    }

    /// What its bearer becomes.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its id, which is no secret.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The CA by which its bearer knows the cluster.
    #[must_use]
    pub fn authority(&self) -> CaDigest {
        self.authority
    }

    /// The token as text: a secret.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!(
            "{PREFIX}.{VERSION}.{}.{}.{secret}.{}",
            self.role, self.id.0, self.authority
        )
    }

    /// What the cluster keeps of the secret.
    pub(crate) fn secret_hash(&self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        if parts[0] != PREFIX {
            return Err(TokenError::Malformed("it does not begin with berth-join"));
        }
        let version = parts.get(1).copied().unwrap_or_default();
        if version != VERSION {
            return Err(TokenError::Version(version.to_owned()));
        }
        let [_, _, role, id, secret, authority] = parts[..] else {
            return Err(TokenError::Malformed("it does not have six parts"));
        };
        let role = role.parse().map_err(|_| TokenError::Malformed("its role is unknown"))?;
        if !matches!(role, Role::Agent | Role::Controller) {
            return Err(TokenError::Role(role));
        }
        let secret = URL_SAFE_NO_PAD.decode(secret).ok();
        Ok(Self {
            role,
            id: id.parse()?,
            secret: secret
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(TokenError::Malformed("its secret is cut off or changed"))?,
            authority: authority
                .parse()
                .map_err(|_| TokenError::Malformed("the digest at its end is cut off or changed"))?,
        })
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == 2 * ID_BYTES && text.chars().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Malformed("its id must have 16 hexadecimal digits"))
        }
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({} for {})", self.id, self.role)
    }
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn digest(byte: &str) -> CaDigest {
        byte.repeat(32).parse().expect("a digest")
    }

    fn terms(role: Role, uses: u32) -> TokenTerms {
        TokenTerms {
            role,
            lifetime: DEFAULT_TOKEN_LIFETIME,
            uses,
            created_by: "anna".to_owned(),
        }
    }

    fn minted(role: Role, uses: u32) -> (JoinToken, TokenRecord) {
        JoinToken::mint(terms(role, uses), digest("ab"), text::at(NOW)).expect("a token")
    }

    /// The token with one part of its text replaced.
    fn with_part(token: &JoinToken, part: usize, new: &str) -> Result<JoinToken, TokenError> {
        let text = token.to_secret_text();
        let mut parts: Vec<&str> = text.split('.').collect();
        parts[part] = new;
        parts.join(".").parse()
    }

    #[test]
    fn token_is_read_back_and_its_secret_is_neither_kept_nor_shown() {
        let (token, record) = minted(Role::Agent, 1);
        let text = token.to_secret_text();
        assert!(text.starts_with("berth-join.v1.agent."), "{text}");
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().expect("read"), token);
        let secret = text.split('.').nth(4).expect("a secret");
        let json = serde_json::to_string(&record).expect("written");
        for shown in [format!("{token:?}"), format!("{record:?}"), json.clone()] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(serde_json::from_str::<TokenRecord>(&json).expect("read"), record);
    }

    #[test]
    fn token_that_was_not_copied_whole_is_refused_with_what_is_wrong() {
        let (token, _) = minted(Role::Agent, 1);
        let text = token.to_secret_text();
        for length in 0..text.len() {
            assert!(
                text[..length].parse::<JoinToken>().is_err(),
                "{length} characters were enough"
            );
        }
        for (part, new, expected) in [
            (0, "berth", "does not begin with berth-join"),
            (1, "v2", "knows v1 only: upgrade"),
            (2, "admin", "its role is unknown"),
            (2, "api", "no join token can be made for api"),
            (3, "xyz", "its id must have 16"),
            (4, "AAAA", "its secret is cut off"),
            (5, "ABAB", "the digest at its end"),
        ] {
            let error = with_part(&token, part, new).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn terms_out_of_bounds_are_refused_with_the_bounds() {
        let mint = |terms| JoinToken::mint(terms, digest("ab"), text::at(NOW)).expect_err("refused");
        assert_eq!(mint(terms(Role::Operator, 1)), TokenError::Role(Role::Operator));
        assert_eq!(mint(terms(Role::Agent, 0)), TokenError::Uses(0));
        assert_eq!(mint(terms(Role::Agent, MAX_USES + 1)), TokenError::Uses(MAX_USES + 1));
        let short = TokenTerms {
            lifetime: Duration::from_secs(59),
            ..terms(Role::Agent, 1)
        };
        assert!(mint(short).to_string().contains("from 60s to 2592000s"));
    }
}
