//! The check of the other end's certificate, in one handshake. Pure but for the moment that it reads from the live values.
//!
//! Owns the order of the checks: signed by a trusted authority, valid now, for this use, of this cluster, of a role that may be
//! here, and not removed. It must not know what happens to a connection afterwards.

use std::sync::OnceLock;

use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::bundle::{Bundle, CaDigest};
use crate::identity::{Identity, Role};
use crate::tls::{LiveTrust, Refusal, crypto_provider};

/// Who is to be at the other end.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Anyone of one of these roles.
    Roles(Vec<Role>),
    /// This one and no other.
    Exactly(Identity),
    /// A server of this role whose certificate is for this host name or address too.
    Named(Role, ServerName<'static>),
}

/// The check of one handshake, and what came out.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    rule: Rule,
    /// Whether a client may show no certificate.
    is_optional: bool,
    outcome: OnceLock<Result<Identity, Refusal>>,
}

#[derive(Debug)]
enum Rule {
    Trusted { trust: LiveTrust, expected: Expected },
    Pinned(CaDigest),
}

impl PeerVerifier {
    pub(crate) fn trusted(trust: LiveTrust, expected: Expected, is_optional: bool) -> Self {
        Self {
            rule: Rule::Trusted { trust, expected },
            is_optional,
            outcome: OnceLock::new(),
        }
    }

    pub(crate) fn pinned(digest: CaDigest) -> Self {
        Self {
            rule: Rule::Pinned(digest),
            is_optional: false,
            outcome: OnceLock::new(),
        }
    }

    /// Who the other end is, if it showed a certificate and was accepted.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.outcome.get()?.as_ref().ok().cloned()
    }

    /// Why the other end was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.outcome.get()?.as_ref().err().cloned()
    }

    fn check(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let checked = match &self.rule {
            Rule::Trusted { trust, expected } => check_trusted(trust, expected, own, above, now, usage),
            Rule::Pinned(digest) => check_pinned(*digest, own, above, now),
        };
        let answer = checked.as_ref().map(|_| ()).map_err(Refusal::to_rustls);
        // A handshake checks one certificate; were it to check a second one, the first outcome would stand.
        self.outcome.get_or_init(|| checked);
        answer
    }
}

fn check_trusted(
    trust: &LiveTrust,
    expected: &Expected,
    own: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<Identity, Refusal> {
    let trust = trust.now();
    let trusted = || trust.bundle().short_digests();
    check_chain(own, above, trust.anchors(), trusted, now, usage)?;
    let identity = Identity::of_certificate(own)?;
    trust.admit(&identity)?;
    let allowed = match expected {
        Expected::Roles(roles) => roles.clone(),
        Expected::Exactly(one) => vec![one.role()],
        Expected::Named(role, _) => vec![*role],
    };
    if !allowed.contains(&identity.role()) {
        return Err(Refusal::Role { identity, allowed });
    }
    match expected {
        Expected::Exactly(one) if *one != identity => {
            let expected = one.clone();
            return Err(Refusal::NotTheExpected { identity, expected });
        }
        Expected::Named(_, name) => check_name(own, name)?,
        _ => {}
    }
    Ok(identity)
}

/// Nobody is trusted yet: the other end is a controller of the cluster whose authority has this digest, or it is refused.
fn check_pinned(
    digest: CaDigest,
    own: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Identity, Refusal> {
    let expected = || digest.to_string();
    let is_pinned = |one: &&CertificateDer<'_>| CaDigest::of_certificate(one).is_ok_and(|found| found == digest);
    let pinned = above.iter().find(is_pinned);
    let anchor = pinned.and_then(|one| anchor_from_trusted_cert(one).ok());
    let anchor = anchor.ok_or_else(|| Refusal::NotThePinned { expected: expected() })?;
    check_chain(own, above, &[anchor], expected, now, KeyUsage::server_auth())?;
    let identity = Identity::of_certificate(own)?;
    if identity.role() != Role::Controller {
        let allowed = vec![Role::Controller];
        return Err(Refusal::Role { identity, allowed });
    }
    Ok(identity)
}

/// Checks that the authorities vouch for a chain now, for whatever use its holder's role has.
///
/// # Errors
/// Any [`Refusal`] but those that depend on what it is used for.
pub fn verify_chain(chain: &[CertificateDer<'_>], authorities: &Bundle, now: UnixTime) -> Result<Identity, Refusal> {
    let Some((own, above)) = chain.split_first() else {
        return Err(unusable("nobody", "there is no certificate"));
    };
    let identity = Identity::of_certificate(own)?;
    let usage = match identity.role() {
        Role::Api => KeyUsage::server_auth(),
        Role::Controller | Role::Agent | Role::Operator => KeyUsage::client_auth(),
    };
    let trusted = || authorities.short_digests();
    check_chain(own, above, &authorities.anchors(), trusted, now, usage)?;
    if identity.cluster() != authorities.cluster() {
        let cluster = authorities.cluster().clone();
        return Err(Refusal::OtherCluster { identity, cluster });
    }
    Ok(identity)
}

fn check_chain(
    own: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    trusted: impl Fn() -> String,
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), Refusal> {
    let parsed = EndEntityCert::try_from(own).map_err(|error| unusable("the other end", &error.to_string()))?;
    let algorithms = algorithms().all;
    let verified = parsed.verify_for_usage(algorithms, anchors, above, now, usage, None, None);
    let Err(error) = verified else { return Ok(()) };
    let presented = Identity::of_certificate(own).map_or_else(|_| "the other end".to_owned(), |one| one.to_string());
    Err(match error {
        webpki::Error::CertExpired { time, not_after } => Refusal::Expired {
            presented,
            not_after,
            now: time,
        },
        webpki::Error::CertNotValidYet { time, not_before } => Refusal::NotYetValid {
            presented,
            not_before,
            now: time,
        },
        webpki::Error::UnknownIssuer => Refusal::UnknownAuthority {
            presented,
            trusted: trusted(),
        },
        other => unusable(&presented, &other.to_string()),
    })
}

fn check_name(own: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Refusal> {
    let presented = || Identity::of_certificate(own).map_or_else(|_| "the server".to_owned(), |one| one.to_string());
    let parsed = EndEntityCert::try_from(own).map_err(|error| unusable(&presented(), &error.to_string()))?;
    parsed
        .verify_is_valid_for_subject_name(name)
        .map_err(|_| Refusal::Name {
            presented: presented(),
            name: name.to_str().into_owned(),
        })
}

fn unusable(presented: &str, reason: &str) -> Refusal {
    Refusal::Unusable {
        presented: presented.to_owned(),
        reason: reason.to_owned(),
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    crypto_provider().signature_verification_algorithms
}

/// Never reached, since TLS 1.2 is not offered; refused all the same.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.is_optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(own, above, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(own, above, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
