//! Keys on their holder's side, and requests for certificates (PKCS #10). Draws keys; otherwise pure.
//!
//! Owns the algorithm of keys, ECDSA on P-256, and the check that a requester has the key that it wants certified. Names in a request are
//! not even looked at: the signer decides who the holder is ([`crate::ca::Grant`]).

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::pem::{self, PemError};

/// Largest request that is read. Ours have 200 bytes; room for the extensions that other tools write.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The private key of a certificate. It stays with the one that drew it.
pub struct HolderKey {
    pair: KeyPair,
}

/// A request for a certificate whose sender has shown that it has the key.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    pub(crate) public_key: SubjectPublicKeyInfo,
}

/// SHA-256 of the public key of a request, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyDigest(String);

/// Why a key or a request cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No key could be drawn.
    #[error("no key could be made")]
    Draw(#[source] rcgen::Error),
    /// The key is damaged, or of another kind.
    #[error(
        "the private key cannot be used: it must be an ECDSA key on P-256 in PKCS #8, as `openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256` makes it"
    )]
    Key(#[source] rcgen::Error),
    /// Not PEM.
    #[error("the {what} cannot be read")]
    Pem {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: PemError,
    },
    /// Not a request.
    #[error("the request for a certificate cannot be read: {0}")]
    Malformed(String),
    /// Far more than a request.
    #[error("the request for a certificate has {0} bytes, more than the {MAX_REQUEST_BYTES} that are read")]
    TooLarge(usize),
    /// The sender has not shown that the key is its own.
    #[error(
        "the request for a certificate is not signed by the key that it contains; make a new one on the host that holds the key"
    )]
    NotItsKey,
    /// A key of another kind.
    #[error("the request for a certificate has a key that is not supported: it must be an ECDSA key on P-256")]
    KeyKind,
}

impl HolderKey {
    /// Draws a key.
    ///
    /// # Errors
    /// [`RequestError::Draw`].
    pub fn draw() -> Result<Self, RequestError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RequestError::Draw)?;
        Ok(Self { pair })
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`RequestError::Pem`] or [`RequestError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, RequestError> {
        let der = pem::one_private_key(text).map_err(|source| RequestError::Pem {
            what: "private key",
            source,
        })?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(RequestError::Key)?;
        Ok(Self { pair })
    }

    /// The key as text: a secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::private_key(&self.to_der())
    }

    /// A request for a certificate of this key, in DER. It contains no names.
    ///
    /// # Errors
    /// [`RequestError::Draw`] if the signature fails.
    pub fn request(&self) -> Result<Vec<u8>, RequestError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&self.pair).map_err(RequestError::Draw)?;
        Ok(request.der().to_vec())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn to_der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der())
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HolderKey")
    }
}

impl SigningRequest {
    /// Reads a request, and checks that it is signed by its own key.
    ///
    /// # Errors
    /// Any [`RequestError`] of requests.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge(der.len()));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| RequestError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed("something follows it".to_owned()));
        }
        let key = &request.certification_request_info.subject_pki;
        let public_key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::KeyKind)?;
        if public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(RequestError::KeyKind);
        }
        request.verify_signature().map_err(|_| RequestError::NotItsKey)?;
        Ok(Self { public_key })
    }

    /// What the requester's key is named by.
    #[must_use]
    pub fn key_digest(&self) -> KeyDigest {
        KeyDigest(hex::encode(Sha256::digest(self.public_key.subject_public_key_info())))
    }

    /// Reads a request as `openssl req` writes it.
    ///
    /// # Errors
    /// As [`SigningRequest::from_der`], and [`RequestError::Pem`].
    pub fn from_pem(text: &str) -> Result<Self, RequestError> {
        let der = pem::one_request(text).map_err(|source| RequestError::Pem {
            what: "request for a certificate",
            source,
        })?;
        Self::from_der(&der)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_back_and_never_shown() {
        let key = HolderKey::draw().expect("a key");
        let again = HolderKey::from_pem(&key.to_pem()).expect("read");
        assert_eq!(again.pair().public_key_raw(), key.pair().public_key_raw());
        assert_eq!(format!("{key:?}"), "HolderKey");
    }

    #[test]
    fn request_that_was_changed_on_its_way_is_refused_or_is_still_for_the_same_key() {
        let der = HolderKey::draw().expect("a key").request().expect("a request");
        let key = SigningRequest::from_der(&der).expect("taken as it was").key_digest();
        let (_, parsed) = X509CertificationRequest::from_der(&der).expect("parsed");
        let signed = parsed.certification_request_info.raw;
        let signed_start = der
            .windows(signed.len())
            .position(|part| part == signed)
            .expect("in it");
        let signed = signed_start..signed_start + signed.len();
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            // Some bits around the signature mean nothing, and the parser does not mind them.
            if let Ok(read) = SigningRequest::from_der(&changed) {
                assert!(
                    !signed.contains(&at),
                    "a change at byte {at}, which is signed, went unnoticed"
                );
                assert_eq!(read.key_digest(), key, "a change at byte {at} changed the key");
            }
        }
    }

    #[test]
    fn request_with_a_key_of_another_kind_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        let error = SigningRequest::from_der(request.der()).expect_err("refused");
        assert!(matches!(error, RequestError::KeyKind), "{error}");
    }

    #[test]
    fn request_that_is_too_large_is_not_read() {
        let error = SigningRequest::from_der(&vec![0; MAX_REQUEST_BYTES + 1]).expect_err("refused");
        assert!(matches!(error, RequestError::TooLarge(_)), "{error}");
    }
}
