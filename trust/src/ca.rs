//! One certificate authority of a cluster: made, kept as text, and signing. Draws keys and serial numbers; is told the time.
//!
//! Owns what is in certificates: names, times, and what each role's may be used for. It must not know how several authorities
//! follow each other ([`crate::rotation`]) nor who may have a certificate.
//!
//! ECDSA on P-256 with SHA-256: every TLS library and every AWS SDK takes it (browsers and older Javas refuse Ed25519), and its
//! signatures cost a fraction of RSA's.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::bundle::{BundleError, CaCertificate, CaDigest};
use crate::identity::{ClusterId, Identity, Role};
use crate::pem;
use crate::request::{HolderKey, RequestError, SigningRequest};
use crate::text;

/// How long an authority is valid: longer than anyone forgets to rotate it, short enough that it ends.
pub const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Shortest lifetime of a holder's certificate: less would be renewed all the time.
pub const MIN_LIFETIME: Duration = Duration::from_secs(3600);

/// Lifetime of a holder's certificate if nothing else is asked for.
///
/// A holder that is removed is refused at once; the lifetime bounds how long a stolen key works. It also is the
/// longest time for which a host may be off and come back without a new token.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest lifetime of a holder's certificate.
pub const MAX_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Certificates are valid from this long before they are signed, for holders whose clock is behind.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Most names of one certificate, so that one stays small enough for a handshake's first flight.
pub const MAX_NAMES: usize = 32;

/// An authority with its key: whoever has it can make any certificate of the cluster.
pub struct Authority {
    certificate: CaCertificate,
    key: HolderKey,
}

/// What a signer grants, whatever the request says.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who the holder is.
    pub identity: Identity,
    /// Names and addresses under which clients that know nothing of identities reach the holder; for [`Role::Api`].
    pub names: Vec<ServerName<'static>>,
}

/// Why an authority cannot be made or read, or does not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The key of the authority is unusable.
    #[error("the key of the cluster's authority is unusable")]
    Key(#[from] RequestError),
    /// The certificate of the authority is unusable.
    #[error("the certificate of the cluster's authority is unusable")]
    Certificate(#[from] BundleError),
    /// Key and certificate do not belong together.
    #[error("the key does not belong to the certificate of authority {0}")]
    Mismatch(CaDigest),
    /// The authority's own time is over.
    #[error(
        "authority {digest} of cluster {cluster} expired at {}: nobody can be given a certificate; rotate with `berth ca rotate`",
        text::moment(*not_after)
    )]
    Expired {
        /// Which one.
        digest: CaDigest,
        /// Of which cluster.
        cluster: ClusterId,
        /// Since when.
        not_after: UnixTime,
    },
    /// The holder belongs elsewhere.
    #[error("authority of cluster {cluster} cannot sign for {identity}: that is another cluster")]
    OtherCluster {
        /// The authority's.
        cluster: ClusterId,
        /// The holder's.
        identity: Identity,
    },
    /// A lifetime out of bounds.
    #[error(
        "a certificate cannot be valid for {}s: it must be from {}s to {}s",
        .0.as_secs(), MIN_LIFETIME.as_secs(), MAX_LIFETIME.as_secs()
    )]
    Lifetime(Duration),
    /// Too many names.
    #[error("a certificate cannot have {0} names; it can have {MAX_NAMES}")]
    TooManyNames(usize),
    /// Not a name that certificates can have.
    #[error("{0:?} cannot be a name in a certificate: it must be a host name or an IP address")]
    Name(String),
    /// The library failed.
    #[error("the certificate for {subject} could not be signed")]
    Sign {
        /// For whom.
        subject: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
}

impl Authority {
    /// Makes an authority, valid for [`CA_LIFETIME`].
    ///
    /// # Errors
    /// [`CaError::Key`] or [`CaError::Sign`].
    pub fn create(cluster: &ClusterId, now: UnixTime) -> Result<Self, CaError> {
        let key = HolderKey::draw()?;
        let parameters = parameters_of_ca(cluster, key.pair(), now, later(now, CA_LIFETIME))?;
        let signed = parameters.self_signed(key.pair()).map_err(sign_error(cluster))?;
        Ok(Self {
            certificate: CaCertificate::from_der(signed.into())?,
            key,
        })
    }

    /// Reads an authority.
    ///
    /// # Errors
    /// [`CaError::Key`], [`CaError::Certificate`] or [`CaError::Mismatch`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CaError> {
        let certificate = CaCertificate::from_der(pem::one_certificate(certificate).map_err(BundleError::from)?)?;
        let key = HolderKey::from_pem(key)?;
        if CaDigest::of_public_key(&key.pair().subject_public_key_info()) != certificate.digest() {
            return Err(CaError::Mismatch(certificate.digest()));
        }
        Ok(Self { certificate, key })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The key as text: the most secret thing that a cluster has.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// Signs a certificate for a holder; it ends when the authority's own ends, if that is sooner.
    ///
    /// # Errors
    /// Any [`CaError`] of signing.
    pub fn issue(
        &self,
        request: &SigningRequest,
        grant: &Grant,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, CaError> {
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&lifetime) {
            return Err(CaError::Lifetime(lifetime));
        }
        if grant.identity.cluster() != self.certificate.cluster() {
            return Err(CaError::OtherCluster {
                cluster: self.certificate.cluster().clone(),
                identity: grant.identity.clone(),
            });
        }
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject_of(&grant.identity);
        parameters.subject_alt_names = alternative_names(grant)?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = purposes(grant.identity.role());
        parameters.use_authority_key_identifier_extension = true;
        let ends = later(now, lifetime);
        self.sign(parameters, &request.public_key, now, ends, &grant.identity)
    }

    /// Signs another authority of the same cluster, so that whoever trusts only this one trusts that one too.
    ///
    /// # Errors
    /// Any [`CaError`] of signing.
    pub fn cross_sign(&self, other: &Self, now: UnixTime) -> Result<CertificateDer<'static>, CaError> {
        let cluster = self.certificate.cluster();
        let ends = other.certificate.not_after();
        let mut parameters = parameters_of_ca(other.certificate.cluster(), other.key.pair(), now, ends)?;
        parameters.use_authority_key_identifier_extension = true;
        self.sign(parameters, other.key.pair(), now, ends, cluster)
    }

    fn sign(
        &self,
        mut parameters: CertificateParams,
        key: &impl PublicKeyData,
        now: UnixTime,
        ends: UnixTime,
        subject: &impl fmt::Display,
    ) -> Result<CertificateDer<'static>, CaError> {
        let own_end = self.certificate.not_after();
        if now > own_end {
            return Err(CaError::Expired {
                digest: self.certificate.digest(),
                cluster: self.certificate.cluster().clone(),
                not_after: own_end,
            });
        }
        parameters.not_before = text::calendar(earlier(now, CLOCK_TOLERANCE));
        parameters.not_after = text::calendar(ends.min(own_end));
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), self.key.pair()).map_err(sign_error(subject))?;
        let signed = parameters.signed_by(key, &issuer).map_err(sign_error(subject))?;
        Ok(signed.into())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.certificate)
    }
}

fn parameters_of_ca(
    cluster: &ClusterId,
    key: &KeyPair,
    now: UnixTime,
    ends: UnixTime,
) -> Result<CertificateParams, CaError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, "Berth");
    // Told apart by more than the key identifier, so that every library finds the right one of two at once.
    let digest = CaDigest::of_public_key(&key.subject_public_key_info());
    parameters
        .distinguished_name
        .push(DnType::OrganizationalUnitName, digest.short());
    parameters.distinguished_name.push(DnType::CommonName, cluster.as_str());
    parameters.not_before = text::calendar(earlier(now, CLOCK_TOLERANCE));
    parameters.not_after = text::calendar(ends);
    // One authority may stand below: the next one, while it is being introduced.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

/// For people who read the certificate; programs read the URI.
fn subject_of(identity: &Identity) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, identity.cluster().as_str());
    name.push(DnType::OrganizationalUnitName, identity.role().as_str());
    name.push(DnType::CommonName, identity.id().as_str());
    name
}

fn alternative_names(grant: &Grant) -> Result<Vec<SanType>, CaError> {
    if grant.names.len() > MAX_NAMES {
        return Err(CaError::TooManyNames(grant.names.len()));
    }
    let unusable = |name: &str| CaError::Name(name.to_owned());
    let uri = grant.identity.to_string();
    let mut names = vec![SanType::URI(uri.clone().try_into().map_err(|_| unusable(&uri))?)];
    for name in &grant.names {
        names.push(match name {
            ServerName::DnsName(host) => {
                let host = host.as_ref();
                SanType::DnsName(host.try_into().map_err(|_| unusable(host))?)
            }
            ServerName::IpAddress(address) => SanType::IpAddress((*address).into()),
            other => return Err(unusable(&other.to_str())),
        });
    }
    Ok(names)
}

/// Controllers call each other; agents and operators only call, the API is only called.
fn purposes(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    match role {
        Role::Controller => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Role::Agent | Role::Operator => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Role::Api => vec![ExtendedKeyUsagePurpose::ServerAuth],
    }
}

fn sign_error(subject: &impl fmt::Display) -> impl FnOnce(rcgen::Error) -> CaError {
    let subject = subject.to_string();
    move |source| CaError::Sign { subject, source }
}

fn later(time: UnixTime, by: Duration) -> UnixTime {
    text::at(time.as_secs().saturating_add(by.as_secs()))
}

fn earlier(time: UnixTime, by: Duration) -> UnixTime {
    text::at(time.as_secs().saturating_sub(by.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn authority(cluster: &str) -> Authority {
        Authority::create(&cluster.parse().expect("an id"), text::at(NOW)).expect("an authority")
    }

    fn request() -> SigningRequest {
        let der = HolderKey::draw().expect("a key").request().expect("a request");
        SigningRequest::from_der(&der).expect("read")
    }

    fn grant(identity: &str) -> Grant {
        Grant {
            identity: identity.parse().expect("an identity"),
            names: Vec::new(),
        }
    }

    #[test]
    fn authority_is_read_back_from_its_text() {
        let made = authority("home");
        let read = Authority::from_pem(&made.certificate().to_pem(), &made.key_pem()).expect("read");
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.certificate().cluster().as_str(), "home");
    }

    #[test]
    fn authority_with_the_key_of_another_is_refused() {
        let (one, other) = (authority("home"), authority("home"));
        let error = Authority::from_pem(&one.certificate().to_pem(), &other.key_pem()).expect_err("refused");
        assert!(matches!(error, CaError::Mismatch(_)), "{error}");
    }

    #[test]
    fn authority_shown_in_a_log_shows_no_key() {
        let shown = format!("{:?}", authority("home"));
        assert!(
            shown.starts_with("Authority(CaCertificate(") && shown.len() < 80,
            "{shown}"
        );
    }

    #[test]
    fn certificate_speaks_for_the_identity_that_was_granted() {
        let grant = grant("berth://home/agent/a1");
        let signed = authority("home").issue(&request(), &grant, text::at(NOW), MIN_LIFETIME);
        let identity = Identity::of_certificate(&signed.expect("signed")).expect("an identity");
        assert_eq!(identity, grant.identity);
    }

    #[test]
    fn certificate_for_another_cluster_is_not_signed() {
        let grant = grant("berth://other/agent/a1");
        let error = authority("home")
            .issue(&request(), &grant, text::at(NOW), MIN_LIFETIME)
            .expect_err("refused");
        assert!(matches!(error, CaError::OtherCluster { .. }), "{error}");
    }

    #[test]
    fn lifetime_out_of_bounds_is_refused_with_the_bounds() {
        let grant = grant("berth://home/agent/a1");
        for lifetime in [
            MIN_LIFETIME - Duration::from_secs(1),
            MAX_LIFETIME + Duration::from_secs(1),
        ] {
            let error = authority("home")
                .issue(&request(), &grant, text::at(NOW), lifetime)
                .expect_err("refused")
                .to_string();
            assert!(error.contains("from 3600s to 7776000s"), "{error}");
        }
    }

    #[test]
    fn expired_authority_does_not_sign_and_says_what_to_do() {
        let late = text::at(NOW + CA_LIFETIME.as_secs() + 1);
        let error = authority("home")
            .issue(&request(), &grant("berth://home/agent/a1"), late, MIN_LIFETIME)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("expired at 2037-") && error.contains("berth ca rotate"),
            "{error}"
        );
    }
}
