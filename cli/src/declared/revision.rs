//! Which revision the family stands for that a file names. Pure.

use serde_json::Value;

use super::resource::Resource;
use crate::cluster::last_part;

/// The revision that a family stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Revision {
    /// This one, as `family:revision`.
    Active(String),
    /// The one that is registered with the family that files declare.
    ToBeRegistered,
}

impl Revision {
    /// One that there is, as it is described.
    pub(super) fn active(described: &Value) -> Self {
        let arns = ["taskDefinitionArn", "daemonTaskDefinitionArn"];
        let arn = arns.iter().find_map(|member| described[*member].as_str());
        Self::Active(last_part(arn.unwrap_or_default()).to_owned())
    }

    /// As a request names it: the family, where it is only known once it is registered.
    pub(super) fn in_request(&self, resource: &Resource) -> String {
        match self {
            Self::Active(revision) => revision.clone(),
            Self::ToBeRegistered => resource
                .text(resource.kind.runs().1)
                .map(last_part)
                .unwrap_or_default()
                .to_owned(),
        }
    }

    pub(super) fn in_words(&self, resource: &Resource) -> String {
        match self {
            Self::Active(revision) => revision.clone(),
            Self::ToBeRegistered => format!("{} (its new revision)", self.in_request(resource)),
        }
    }
}
