//! The authorities that a process trusts: certificates of CAs, and the digests that name them. Pure.
//!
//! Owns how a CA is named outside of certificates ([`CaDigest`]: in join tokens, messages and reports of who trusts what). It must not
//! know any private key.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{ClusterId, IdentityError};
use crate::pem::{self, PemError};
use crate::text;

/// Most authorities of a bundle: a rotation needs two.
pub const MAX_AUTHORITIES: usize = 8;

/// SHA-256 of a CA's public key (its SubjectPublicKeyInfo): what
/// `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaDigest([u8; 32]);

/// The certificate of an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    cluster: ClusterId,
    digest: CaDigest,
    subject: Vec<u8>,
    not_after: UnixTime,
}

/// The authorities of one cluster that a process trusts; at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    authorities: Vec<CaCertificate>,
}

/// Why something is no bundle of authorities.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not PEM.
    #[error("the certificates of the cluster's authorities cannot be read")]
    Pem(#[from] PemError),
    /// Not a certificate.
    #[error("the certificate of an authority cannot be read: {0}")]
    Unreadable(String),
    /// A certificate, but not an authority's.
    #[error("the certificate of {0:?} is no authority's: it may not sign others")]
    NotAnAuthority(String),
    /// An authority of something else.
    #[error("the certificate of {name:?} is no authority of a Berth cluster")]
    Foreign {
        /// What it is named.
        name: String,
        /// What is wrong with that.
        #[source]
        source: IdentityError,
    },
    /// Authorities of several clusters.
    #[error(
        "authorities of two clusters in one bundle: {0} and {1}; keep each cluster's certificates in a directory of its own"
    )]
    SeveralClusters(ClusterId, ClusterId),
    /// None, or far too many.
    #[error("a bundle must have 1 to {MAX_AUTHORITIES} authorities, not {0}")]
    Number(usize),
    /// Not a digest.
    #[error("{0:?} is no digest of an authority: it must have 64 hexadecimal digits")]
    Digest(String),
}

impl CaDigest {
    /// The digest of a certificate's key, whoever signed the certificate.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, BundleError> {
        let parsed = parse(certificate)?;
        Ok(Self(Sha256::digest(parsed.public_key().raw).into()))
    }

    /// The digest of a public key in DER.
    pub(crate) fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// Its first 16 digits, which are enough to tell a cluster's authorities apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl CaCertificate {
    /// Reads the certificate of an authority.
    ///
    /// # Errors
    /// [`BundleError::Unreadable`], [`BundleError::NotAnAuthority`] or [`BundleError::Foreign`].
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, BundleError> {
        let parsed = parse(&der)?;
        let subject = parsed.subject();
        if !parsed.is_ca() {
            return Err(BundleError::NotAnAuthority(subject.to_string()));
        }
        let common_name = subject.iter_common_name().find_map(|name| name.as_str().ok());
        let cluster = common_name.unwrap_or_default().parse();
        let cluster = cluster.map_err(|source| BundleError::Foreign {
            name: subject.to_string(),
            source,
        })?;
        let digest = CaDigest::of_public_key(parsed.public_key().raw);
        let subject = subject.as_raw().to_vec();
        let not_after = seconds(parsed.validity().not_after.timestamp());
        // Parsed here too, so that a bundle always makes anchors.
        anchor_from_trusted_cert(&der).map_err(|error| BundleError::Unreadable(error.to_string()))?;
        Ok(Self {
            der,
            cluster,
            digest,
            subject,
            not_after,
        })
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::certificate(&self.der)
    }

    /// The cluster whose authority it is.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// What it is named by.
    #[must_use]
    pub fn digest(&self) -> CaDigest {
        self.digest
    }

    /// Its name in the certificates that it signs, in DER.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

impl Bundle {
    /// A bundle of authorities of one cluster.
    ///
    /// # Errors
    /// [`BundleError::Number`] or [`BundleError::SeveralClusters`].
    pub fn new(authorities: Vec<CaCertificate>) -> Result<Self, BundleError> {
        let Some(first) = authorities.first().filter(|_| authorities.len() <= MAX_AUTHORITIES) else {
            return Err(BundleError::Number(authorities.len()));
        };
        if let Some(other) = authorities.iter().find(|other| other.cluster != first.cluster) {
            return Err(BundleError::SeveralClusters(
                first.cluster.clone(),
                other.cluster.clone(),
            ));
        }
        Ok(Self { authorities })
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// Any [`BundleError`] but that of digests.
    pub fn from_pem(text: &str) -> Result<Self, BundleError> {
        let certificates = pem::certificates(text)?;
        Self::new(
            certificates
                .into_iter()
                .map(CaCertificate::from_der)
                .collect::<Result<_, _>>()?,
        )
    }

    /// The bundle as text, which other programs take as a file of CAs.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.authorities.iter().map(CaCertificate::to_pem).collect()
    }

    /// The cluster whose authorities they are.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.authorities[0].cluster
    }

    /// The authorities.
    #[must_use]
    pub fn authorities(&self) -> &[CaCertificate] {
        &self.authorities
    }

    /// Whether an authority is trusted.
    #[must_use]
    pub fn contains(&self, digest: CaDigest) -> bool {
        self.authorities.iter().any(|authority| authority.digest == digest)
    }

    /// Digests of all, for messages.
    pub(crate) fn short_digests(&self) -> String {
        let digests: Vec<String> = self.authorities.iter().map(|one| one.digest.short()).collect();
        digests.join(", ")
    }

    pub(crate) fn anchors(&self) -> Vec<TrustAnchor<'static>> {
        let anchor = |one: &CaCertificate| Some(anchor_from_trusted_cert(&one.der).ok()?.to_owned());
        self.authorities.iter().filter_map(anchor).collect()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, BundleError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(BundleError::Unreadable("something follows it".to_owned())),
        Err(error) => Err(BundleError::Unreadable(error.to_string())),
    }
}

/// Times before 1970 are as good as 1970 itself.
pub(crate) fn seconds(timestamp: i64) -> UnixTime {
    text::at(u64::try_from(timestamp).unwrap_or(0))
}

impl FromStr for CaDigest {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Self, BundleError> {
        let mut digest = [0; 32];
        // One way to write each digest, so that texts can be compared too.
        let is_plain = !text.contains(|c: char| c.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) if is_plain => Ok(Self(digest)),
            _ => Err(BundleError::Digest(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CaDigest {
    type Error = BundleError;

    fn try_from(text: String) -> Result<Self, BundleError> {
        text.parse()
    }
}

impl From<CaDigest> for String {
    fn from(digest: CaDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for CaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaDigest({})", self.short())
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaCertificate({} of {})", self.digest.short(), self.cluster)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({} of {})", self.short_digests(), self.cluster())
    }
}
