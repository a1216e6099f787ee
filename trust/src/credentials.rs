//! What a holder shows of itself: its key with the chain of certificates for it. Pure.
//!
//! Owns the check that these belong together, and the text that keeps them. It must not know where they are kept ([`crate::keeper`]).

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::{BundleError, CaCertificate, CaDigest, seconds};
use crate::identity::{Identity, IdentityError};
use crate::pem::{self, PemError};
use crate::request::{HolderKey, RequestError};
use crate::tls;

/// Longest chain that is taken: a holder's certificate, a cross-signed authority, and two authorities.
pub const MAX_CHAIN: usize = 4;

/// The key of a holder with its certificate and those of the authorities above.
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    issuer: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<HolderKey>,
    certified: Arc<CertifiedKey>,
}

/// Why a key and certificates are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Not PEM.
    #[error("the certificates cannot be read")]
    Pem(#[from] PemError),
    /// The key is unusable.
    #[error("the key is unusable")]
    Key(#[from] RequestError),
    /// The certificate names nobody.
    #[error("the certificate is not one of a Berth cluster")]
    Identity(#[from] IdentityError),
    /// The certificate is damaged.
    #[error("the certificate is unusable")]
    Certificate(#[from] BundleError),
    /// None, or far too many.
    #[error("a chain must have 1 to {MAX_CHAIN} certificates, not {0}")]
    Number(usize),
    /// Key and certificate do not belong together.
    #[error("the certificate of {0} belongs to another key: ask for a new certificate with a new key")]
    Mismatch(Identity),
    /// A key and certificate of somebody else's making do not work.
    #[error("certificate and key cannot be used for TLS")]
    Unusable(#[source] rustls::Error),
}

impl Credentials {
    /// Puts a key and its certificate together.
    ///
    /// # Errors
    /// Any [`CredentialsError`].
    pub fn new(key: HolderKey, chain: Vec<CertificateDer<'static>>) -> Result<Self, CredentialsError> {
        let Some(own) = chain.first().filter(|_| chain.len() <= MAX_CHAIN) else {
            return Err(CredentialsError::Number(chain.len()));
        };
        let identity = Identity::of_certificate(own)?;
        if CaDigest::of_certificate(own)? != key_digest(&key) {
            return Err(CredentialsError::Mismatch(identity));
        }
        let (_, parsed) =
            X509Certificate::from_der(own).map_err(|error| IdentityError::Unreadable(error.to_string()))?;
        let validity = parsed.validity();
        let certified = certified_key(chain.clone(), PrivateKeyDer::Pkcs8(key.to_der()))?;
        Ok(Self {
            issuer: parsed.issuer().as_raw().to_vec(),
            not_before: seconds(validity.not_before.timestamp()),
            not_after: seconds(validity.not_after.timestamp()),
            identity,
            certified,
            key: Arc::new(key),
            chain,
        })
    }

    /// Reads what [`Credentials::to_pem`] wrote.
    ///
    /// # Errors
    /// Any [`CredentialsError`].
    pub fn from_pem(text: &str) -> Result<Self, CredentialsError> {
        Self::new(HolderKey::from_pem(text)?, pem::certificates(text)?)
    }

    /// Key and chain as text: a secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let certificates = self.chain.iter().map(pem::certificate);
        std::iter::once(self.key.to_pem()).chain(certificates).collect()
    }

    /// Who the holder is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the certificate names this authority as the one that signed it.
    #[must_use]
    pub fn is_signed_by(&self, authority: &CaCertificate) -> bool {
        self.issuer == authority.subject()
    }

    /// The first second in which the certificate is valid.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second in which the certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The holder's certificate and those above.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The form that TLS wants.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// A certificate and key of somebody else's making, as an operator gives them for the API's port: any kind that TLS 1.3 knows.
///
/// # Errors
/// [`CredentialsError::Pem`] or [`CredentialsError::Unusable`].
pub fn foreign_certified_key(certificates: &str, key: &str) -> Result<Arc<CertifiedKey>, CredentialsError> {
    certified_key(pem::certificates(certificates)?, pem::any_private_key(key)?)
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, CredentialsError> {
    let certified = CertifiedKey::from_der(chain, key, &tls::crypto_provider()).map_err(CredentialsError::Unusable)?;
    Ok(Arc::new(certified))
}

fn key_digest(key: &HolderKey) -> CaDigest {
    CaDigest::of_public_key(&rcgen::PublicKeyData::subject_public_key_info(key.pair()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}
