//! Names, ids and the keys made of them. Each is its own type, so that a family is never taken for a cluster.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// Twelve-digit account id.
    AccountId
);
name!(
    /// Region such as `us-east-1`; regions are isolated from each other.
    Region
);
name!(
    /// Short name of a cluster.
    ClusterName
);
name!(
    /// Short name of a service.
    ServiceName
);
name!(
    /// Family of a task definition.
    Family
);
name!(
    /// Id of a deployment, `ecs-svc/` and 19 digits.
    DeploymentId
);
name!(
    /// Short name of a capacity provider.
    CapacityProviderName
);
name!(
    /// Name of an alarm.
    AlarmName
);
name!(
    /// Stable identity that an agent keeps across its own restarts.
    AgentId
);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let well_formed =
                    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if !well_formed {
                    return Err(InvalidId(text.to_owned()));
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

/// Text that is not an id of 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id of 32 lower-case hexadecimal digits")]
pub struct InvalidId(String);

hex_id!(
    /// Id of a task.
    TaskId
);
hex_id!(
    /// Id of a container instance (a host, as the cluster sees it).
    ContainerInstanceId
);

/// The account and region that a resource lives in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Account.
    pub account: AccountId,
    /// Region.
    pub region: Region,
}

impl Scope {
    /// A scope from its two parts.
    #[must_use]
    pub fn new(account: &str, region: &str) -> Self {
        Self {
            account: account.into(),
            region: region.into(),
        }
    }

    /// The key of the cluster `name` in this scope.
    #[must_use]
    pub fn cluster(&self, name: &str) -> ClusterKey {
        ClusterKey {
            scope: self.clone(),
            name: name.into(),
        }
    }
}

/// A cluster, uniquely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterKey {
    /// Account and region.
    pub scope: Scope,
    /// Name within them.
    pub name: ClusterName,
}

impl ClusterKey {
    /// The key of the service `name` in this cluster.
    #[must_use]
    pub fn service(&self, name: &str) -> ServiceKey {
        ServiceKey {
            cluster: self.clone(),
            name: name.into(),
        }
    }
}

/// A service, uniquely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKey {
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Name within the cluster.
    pub name: ServiceName,
}

/// A revision of a task definition, uniquely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinitionKey {
    /// Account and region.
    pub scope: Scope,
    /// Family.
    pub family: Family,
    /// Revision, counted from 1.
    pub revision: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_id_in_text_and_back_is_the_same() {
        let id = TaskId(0xabc);
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse::<TaskId>().expect("valid"), id);
        let json = serde_json::to_string(&id).expect("serializes");
        assert_eq!(serde_json::from_str::<TaskId>(&json).expect("deserializes"), id);
    }

    #[test]
    fn task_id_of_another_length_or_case_is_refused() {
        assert!("abc".parse::<TaskId>().is_err());
        assert!("ABCDEF00ABCDEF00ABCDEF00ABCDEF00".parse::<TaskId>().is_err());
    }
}
