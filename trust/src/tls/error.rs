//! Why a handshake fails, in words that say which certificate, why, and what to do. Pure.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::identity::{ClusterId, Identity, IdentityError, Role};
use crate::text;
use crate::tls::HANDSHAKE_DEADLINE;

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It says nothing that could be understood.
    #[error("its certificate is not one of a Berth cluster")]
    Identity(#[from] IdentityError),
    /// No trusted authority signed it.
    #[error(
        "the certificate of {presented} is signed by no authority that is trusted here (trusted: {trusted}); if that is one of this \
         cluster's, join it again with a new token"
    )]
    UnknownAuthority {
        /// Whom the certificate names.
        presented: String,
        /// The digests of those that are trusted.
        trusted: String,
    },
    /// Its time is over.
    #[error(
        "the certificate of {presented} expired at {}, and it is {} here: check that host's clock; if it was off for long, join it \
         again with a new token",
        text::moment(*not_after), text::moment(*now)
    )]
    Expired {
        /// Whom the certificate names.
        presented: String,
        /// Its last second.
        not_after: UnixTime,
        /// The time.
        now: UnixTime,
    },
    /// Its time has not come.
    #[error(
        "the certificate of {presented} is valid from {} on, and it is {} here: check the clocks of both hosts",
        text::moment(*not_before), text::moment(*now)
    )]
    NotYetValid {
        /// Whom the certificate names.
        presented: String,
        /// Its first second.
        not_before: UnixTime,
        /// The time.
        now: UnixTime,
    },
    /// Otherwise unusable.
    #[error("the certificate of {presented} cannot be used: {reason}")]
    Unusable {
        /// Whom the certificate names.
        presented: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Of another cluster.
    #[error("{identity} is not of cluster {cluster}")]
    OtherCluster {
        /// Who it is.
        identity: Identity,
        /// This one.
        cluster: ClusterId,
    },
    /// It may not do that.
    #[error(
        "{identity} has no business here, where only {} may be: check the address and port that it was given",
        list(allowed)
    )]
    Role {
        /// Who it is.
        identity: Identity,
        /// Who would be let in.
        allowed: Vec<Role>,
    },
    /// Somebody else was to be there.
    #[error(
        "{identity} answered where {expected} was expected: check the address, and whether the member was replaced"
    )]
    NotTheExpected {
        /// Who it is.
        identity: Identity,
        /// Who was to be there.
        expected: Identity,
    },
    /// No longer of the cluster.
    #[error(
        "{identity} was removed from the cluster at {}: to bring the host back, join it again with a new token",
        text::moment(*since)
    )]
    Removed {
        /// Who it is.
        identity: Identity,
        /// Since when.
        since: UnixTime,
    },
    /// The host name is another.
    #[error(
        "the certificate of {presented} is not for {name}: use a name or address that it is for, or add this one to it"
    )]
    Name {
        /// Whom the certificate names.
        presented: String,
        /// The name that was wanted.
        name: String,
    },
    /// The join token is for another cluster.
    #[error(
        "the server does not show authority {expected}, the one of the join token: it is not a controller of that cluster, or the \
         cluster's authority was rotated since the token was made"
    )]
    NotThePinned {
        /// The token's.
        expected: String,
    },
}

/// Why there is no connection, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// This end refuses the other one.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The other end refuses this one.
    #[error("the other end refused this one's certificate ({alert:?}): {}", advice(*.alert))]
    RefusedByPeer {
        /// What it said.
        alert: AlertDescription,
    },
    /// The other end showed no certificate.
    #[error(
        "the other end showed no certificate, and this port takes none but hosts of the cluster: join it with a token"
    )]
    NoCertificate,
    /// Something else than TLS.
    #[error("the other end does not speak TLS: it sent plain text, or something else; use https and the right port")]
    NotTls,
    /// No common version or algorithm.
    #[error("the other end does not speak TLS 1.3 with algorithms that are spoken here: {0}")]
    Incompatible(String),
    /// Too slow.
    #[error("the handshake took longer than {}s", HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    /// Anything else that TLS objects to.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl Refusal {
    /// Whether the certificate may be accepted once a clock is right, or later.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYetValid { .. })
    }

    /// The error that makes rustls tell the other end why.
    pub(crate) fn to_rustls(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Identity(_) => CertificateError::BadEncoding,
            Self::UnknownAuthority { .. } | Self::NotThePinned { .. } | Self::OtherCluster { .. } => {
                CertificateError::UnknownIssuer
            }
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::Unusable { .. } => CertificateError::InvalidPurpose,
            Self::Role { .. } | Self::NotTheExpected { .. } => CertificateError::ApplicationVerificationFailure,
            Self::Removed { .. } => CertificateError::Revoked,
            Self::Name { .. } => CertificateError::NotValidForName,
        })
    }
}

impl HandshakeError {
    /// The meaning of an error that tokio-rustls gave; `refusal` is what this end's own check said.
    pub(crate) fn of_io(error: io::Error, refusal: Option<Refusal>) -> Self {
        if let Some(refusal) = refusal {
            return Self::Refused(refusal);
        }
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Io(error);
        };
        match tls {
            rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
                Self::RefusedByPeer { alert: *alert }
            }
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
                Self::Incompatible("it wants another version".to_owned())
            }
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::PeerIncompatible(reason) => Self::Incompatible(format!("{reason:?}")),
            other => Self::Tls(other.clone()),
        }
    }

    /// As an error of reading and writing, with what it was in it.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Io(error) => error.kind(),
            Self::Deadline => io::ErrorKind::TimedOut,
            Self::Refused(_) | Self::RefusedByPeer { .. } | Self::NoCertificate => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }

    /// What a refused handshake said, inside an error of reading, writing, connecting or calling, however deep.
    ///
    /// As text, since h2 keeps of an error no more than its kind and its text.
    #[must_use]
    pub fn reason_in(error: &(dyn std::error::Error + 'static)) -> Option<String> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.to_string());
            }
            match error.downcast_ref::<io::Error>() {
                // These are made by `into_io` alone: sockets are permitted or not before there is a connection.
                Some(io) if io.kind() == io::ErrorKind::PermissionDenied => return Some(io.to_string()),
                // An io::Error's own source skips what it wraps.
                Some(io) => next = io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
                None => next = error.source(),
            }
        }
        None
    }
}

impl HandshakeError {
    /// Whether what [`HandshakeError::reason_in`] found is that the other end knows this one as removed from the cluster.
    #[must_use]
    pub fn says_that_this_end_was_removed(reason: &str) -> bool {
        let removed = Self::RefusedByPeer {
            alert: AlertDescription::CertificateRevoked,
        };
        reason == removed.to_string()
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// What an alert about this end's certificate means here.
fn advice(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRevoked => "it was removed from the cluster; join again with a new token",
        AlertDescription::CertificateExpired => {
            "it expired or is not valid yet; check the clocks of both ends, or join again with a new token"
        }
        AlertDescription::UnknownCA => {
            "it is of another cluster, or of an authority that is trusted no longer; join again with a new token"
        }
        AlertDescription::AccessDenied => "its role may not use that port; check the address",
        AlertDescription::CertificateRequired => "it showed none; join the cluster first",
        _ => "it is not a certificate of a Berth cluster, or not for this use",
    }
}

fn list(roles: &[Role]) -> String {
    let names: Vec<String> = roles.iter().map(Role::to_string).collect();
    names.join(" and ")
}
