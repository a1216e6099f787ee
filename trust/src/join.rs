//! A host's first certificate: what the joiner and the signer do with each other's bytes. Draws the joiner's key; is told the time.
//!
//! Owns the checks of both sides. It must not know how the bytes travel, nor where records of tokens are kept.
//!
//! The joiner connects with [`crate::tls::Connector::pinned`], which trusts a server exactly if it shows the CA whose digest is in the
//! token. Only then it sends the token and a [`JoinRequest`]; it gets a [`JoinResponse`], and checks that too.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::bundle::{Bundle, BundleError, CaDigest};
use crate::ca::{CaError, Grant};
use crate::credentials::{Credentials, CredentialsError};
use crate::identity::{ClusterId, Identity, Role};
use crate::keeper::Kept;
use crate::request::{HolderKey, RequestError, SigningRequest};
use crate::rotation::Signer;
use crate::tls::{Refusal, verify_chain};
use crate::token::{JoinToken, TokenError};
use crate::token_record::TokenRecord;

/// One that wants to join.
#[derive(Debug)]
pub struct Joiner {
    token: JoinToken,
    key: HolderKey,
}

/// What the joiner sends.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The text of its token: a secret.
    pub token: String,
    /// The request for a certificate, in DER.
    pub request: Vec<u8>,
}

/// What the joiner gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinResponse {
    /// Its certificate and those above, each in DER.
    pub chain: Vec<Vec<u8>>,
    /// The authorities that it is to trust, as [`Bundle::to_pem`] writes them.
    pub authorities: String,
}

/// What the signer hands out, once the record is stored.
#[derive(Debug)]
pub struct Admission {
    /// The token's record with one use less: to be stored, if the stored one is still the one that was read, before `response` is sent.
    pub record: TokenRecord,
    /// The answer.
    pub response: JoinResponse,
}

/// Why somebody does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request is no good, or the joiner could not make one.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The certificate could not be signed.
    #[error("the joining host was let in, but its certificate could not be signed")]
    Sign(#[from] CaError),
    /// What came back is no certificate of the joiner's.
    #[error("the cluster answered with a certificate that cannot be used")]
    Credentials(#[from] CredentialsError),
    /// What came back are no authorities.
    #[error("the cluster answered with authorities that cannot be used")]
    Authorities(#[from] BundleError),
    /// What came back are other authorities than the token's.
    #[error(
        "the cluster answered with authorities that do not contain {expected}, the one of the join token: the cluster's authority was \
         rotated since; make a new token with `berth token create`"
    )]
    OtherAuthority {
        /// The token's.
        expected: CaDigest,
    },
    /// What came back is of another cluster than the server.
    #[error("the server is of cluster {server}, but answered for cluster {answered}: do not trust it")]
    OtherCluster {
        /// The server's.
        server: ClusterId,
        /// What it answered.
        answered: ClusterId,
    },
    /// What came back is for another role.
    #[error("the cluster answered with a certificate for {identity}, but the join token is for {expected}")]
    OtherRole {
        /// The certificate's.
        identity: Identity,
        /// The token's.
        expected: Role,
    },
    /// What came back would be refused by everybody.
    #[error("the cluster answered with a certificate that its own authorities do not vouch for")]
    Refused(#[from] Refusal),
}

impl Joiner {
    /// Reads a token and draws a key.
    ///
    /// # Errors
    /// [`JoinError::Token`] or [`JoinError::Request`].
    pub fn new(token: &str) -> Result<Self, JoinError> {
        Ok(Self::with_key(token.parse()?, HolderKey::draw()?))
    }

    /// One that has a key already: whoever asks again with the key of an attempt whose answer was lost is let in again, although the token
    /// is used up.
    #[must_use]
    pub fn with_key(token: JoinToken, key: HolderKey) -> Self {
        Self { token, key }
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &JoinToken {
        &self.token
    }

    /// What to send, over a connection that is pinned to the token's authority and no other.
    ///
    /// # Errors
    /// [`JoinError::Request`].
    pub fn request(&self) -> Result<JoinRequest, JoinError> {
        Ok(JoinRequest {
            token: self.token.to_secret_text(),
            request: self.key.request()?,
        })
    }

    /// Checks what came back. `server` is who the connection's other end was.
    ///
    /// # Errors
    /// [`JoinError::Credentials`] and those below it.
    pub fn complete(self, response: &JoinResponse, server: &Identity, now: UnixTime) -> Result<Kept, JoinError> {
        let authorities = Bundle::from_pem(&response.authorities)?;
        if authorities.cluster() != server.cluster() {
            return Err(JoinError::OtherCluster {
                server: server.cluster().clone(),
                answered: authorities.cluster().clone(),
            });
        }
        if !authorities.contains(self.token.authority()) {
            return Err(JoinError::OtherAuthority {
                expected: self.token.authority(),
            });
        }
        let chain = response.chain.iter().cloned().map(CertificateDer::from).collect();
        let credentials = Credentials::new(self.key, chain)?;
        let identity = credentials.identity();
        if identity.role() != self.token.role() {
            return Err(JoinError::OtherRole {
                identity: identity.clone(),
                expected: self.token.role(),
            });
        }
        verify_chain(credentials.chain(), &authorities, now)?;
        Ok(Kept {
            credentials,
            authorities,
        })
    }
}

/// The signer's side: checks token and request, and signs for whom the signer decides (`grant`), for the role of the grant.
///
/// `record` is the stored one whose id is the token's; a token without a record is [`TokenError::Unknown`].
///
/// # Errors
/// [`JoinError::Token`], [`JoinError::Request`] or [`JoinError::Sign`].
pub fn admit(
    token: &JoinToken,
    request: &[u8],
    record: &TokenRecord,
    signer: &Signer,
    grant: &Grant,
    now: UnixTime,
    lifetime: Duration,
) -> Result<Admission, JoinError> {
    let request = SigningRequest::from_der(request)?;
    let record = record.redeem(token, grant.identity.role(), request.key_digest(), now)?;
    let chain = signer.issue(&request, grant, now, lifetime)?;
    Ok(Admission {
        record,
        response: JoinResponse {
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            authorities: signer.bundle().to_pem(),
        },
    })
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinRequest")
    }
}
