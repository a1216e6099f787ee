//! Who a certificate speaks for: one role and id in one Berth cluster, as a URI in the certificate. Pure.
//!
//! Owns the form `berth://CLUSTER-ID/ROLE/ID` and its strict reading: whatever is not exactly that is no identity. It must not know
//! whether the certificate is to be believed ([`crate::tls`] does) nor what a role may do.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

/// Longest cluster id or holder's id: both also stand in the subject of certificates, where X.509 allows 64 characters.
pub const MAX_ID_LENGTH: usize = 64;

/// What identities begin with.
const SCHEME: &str = "berth://";

/// The id of a Berth cluster: lower-case letters, digits and hyphens. Never the name of an ECS cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

/// The id of a holder within its role: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HolderId(String);

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A member of the Raft group; its id is the member's number.
    Controller,
    /// The agent of a host; its id is the one that it drew for itself.
    Agent,
    /// The server of the AWS-compatible API. Its certificate also has the names under which clients reach it.
    Api,
    /// A person or a program that operates the cluster.
    Operator,
}

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    cluster: ClusterId,
    role: Role,
    id: HolderId,
}

/// Why a text or a certificate names no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an id.
    #[error(
        "{0:?} is no cluster id: it must have 1 to {MAX_ID_LENGTH} lower-case letters, digits and hyphens, and begin with \
         a letter or digit"
    )]
    Cluster(String),
    /// Not an id.
    #[error(
        "{0:?} is no id of a certificate's holder: it must have 1 to {MAX_ID_LENGTH} letters, digits, '.', '_' and '-', and \
         begin with a letter or digit"
    )]
    Holder(String),
    /// Not the number of a member.
    #[error("{0:?} is no id of a controller: it must be the number of a member, such as 1")]
    Member(String),
    /// A role that this version does not know.
    #[error("{0:?} is no role; there are: controller, agent, api, operator")]
    Role(String),
    /// Not of the form of identities.
    #[error("{0:?} is no identity: it must have the form berth://CLUSTER-ID/ROLE/ID")]
    Form(String),
    /// A certificate of somebody else's making.
    #[error(
        "the certificate names no identity: it needs exactly one URI among its subject alternative names, and has {0}"
    )]
    Names(usize),
    /// Not a certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Controller, Self::Agent, Self::Api, Self::Operator];

    /// The role as it is written in identities and tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
            Self::Api => "api",
            Self::Operator => "operator",
        }
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| IdentityError::Role(text.to_owned()))
    }
}

impl Identity {
    /// The identity of a holder.
    ///
    /// # Errors
    /// [`IdentityError::Member`] if it is a controller's and its id is not a number as Rust prints it.
    pub fn new(cluster: ClusterId, role: Role, id: HolderId) -> Result<Self, IdentityError> {
        let identity = Self { cluster, role, id };
        if role == Role::Controller && identity.member_id().is_none() {
            return Err(IdentityError::Member(identity.id.0));
        }
        Ok(identity)
    }

    /// The identity of a member of the Raft group.
    #[must_use]
    pub fn controller(cluster: ClusterId, member: u64) -> Self {
        Self {
            cluster,
            role: Role::Controller,
            id: HolderId(member.to_string()),
        }
    }

    /// The identity in a certificate, which says nothing yet about whether the certificate is to be believed.
    ///
    /// # Errors
    /// Any [`IdentityError`]; in particular for certificates without a URI, or with several.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed =
            EndEntityCert::try_from(certificate).map_err(|error| IdentityError::Unreadable(error.to_string()))?;
        let mut uris = parsed.valid_uri_names();
        match (uris.next(), uris.count()) {
            (Some(uri), 0) => uri.parse(),
            (None, _) => Err(IdentityError::Names(0)),
            (Some(_), more) => Err(IdentityError::Names(more + 1)),
        }
    }

    /// The Berth cluster that it belongs to.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// What the holder is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Which one of its role it is.
    #[must_use]
    pub fn id(&self) -> &HolderId {
        &self.id
    }

    /// The number of the Raft group's member, if it is a controller.
    #[must_use]
    pub fn member_id(&self) -> Option<u64> {
        let number = self.id.0.parse::<u64>().ok()?;
        // "007" and "+7" would be second names of member 7.
        (self.role == Role::Controller && number.to_string() == self.id.0).then_some(number)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Form(text.to_owned());
        let rest = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let mut parts = rest.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(cluster), Some(role), Some(id), None) => Self::new(cluster.parse()?, role.parse()?, id.parse()?),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.role, self.id)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClusterId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if is_id(text, is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::Cluster(text.to_owned()))
        }
    }
}

impl FromStr for HolderId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if is_id(text, |c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::Holder(text.to_owned()))
        }
    }
}

fn is_id(text: &str, is_allowed: impl Fn(char) -> bool) -> bool {
    (1..=MAX_ID_LENGTH).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_allowed)
}

/// Text forms that go through [`FromStr`] and [`fmt::Display`], for serde.
macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = IdentityError;

            fn try_from(text: String) -> Result<Self, IdentityError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
text_conversions!(ClusterId, HolderId, Identity);

impl ClusterId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HolderId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_read_back_as_it_is_written() {
        for text in [
            "berth://home-1/controller/18446744073709551615",
            "berth://home/agent/0f3c5d",
            "berth://home/operator/anna.k",
            "berth://home/api/1",
        ] {
            let identity: Identity = text.parse().expect("an identity");
            assert_eq!(identity.to_string(), text);
            let json = serde_json::to_string(&identity).expect("written");
            assert_eq!(serde_json::from_str::<Identity>(&json).expect("read"), identity);
        }
    }

    #[test]
    fn whatever_is_not_exactly_an_identity_is_refused() {
        for text in [
            "",
            "berth://",
            "berth://home/agent",
            "berth://home/agent/",
            "berth://home/agent/a/b",
            "berth://home/agent/a?x",
            "berth://home/agent/a b",
            "berth://home/agent/%61",
            "berth://home//a",
            "berth:///agent/a",
            "berth://Home/agent/a",
            "BERTH://home/agent/a",
            "https://home/agent/a",
            " berth://home/agent/a",
            "berth://home/Agent/a",
            "berth://home/admin/a",
            "berth://home/controller/one",
            "berth://home/controller/01",
            "berth://home/controller/-1",
            "berth://home/controller/18446744073709551616",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?} was taken for an identity");
        }
        let long = format!("berth://home/agent/{}", "a".repeat(65));
        assert!(long.parse::<Identity>().is_err());
    }

    #[test]
    fn unknown_role_is_refused_with_the_roles_that_there_are() {
        let error = "berth://home/admin/a".parse::<Identity>().expect_err("refused");
        assert_eq!(
            error.to_string(),
            "\"admin\" is no role; there are: controller, agent, api, operator"
        );
    }

    #[test]
    fn member_id_is_the_controllers_alone() {
        let cluster: ClusterId = "home".parse().expect("an id");
        assert_eq!(Identity::controller(cluster, 3).member_id(), Some(3));
        let agent: Identity = "berth://home/agent/3".parse().expect("an identity");
        assert_eq!(agent.member_id(), None);
    }
}
