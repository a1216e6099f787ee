//! Capacity providers: pools of hosts that services and tasks can be bound to.

use serde::{Deserialize, Serialize};

use super::{CapacityProviderName, Scope, Tags, Timestamp};

/// A capacity provider, uniquely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityProviderKey {
    /// Account and region.
    pub scope: Scope,
    /// Name within them.
    pub name: CapacityProviderName,
}

/// A pool of hosts: those whose agents say that they belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityProvider {
    /// Its key.
    pub key: CapacityProviderKey,
    /// What the caller wrote as `autoScalingGroupArn`, which names the pool as the key does.
    pub auto_scaling_group_arn: String,
    /// Tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
}

/// How much of what runs goes to one capacity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityProviderStrategyItem {
    /// The capacity provider.
    pub capacity_provider: CapacityProviderName,
    /// Its part of the tasks beyond the base, in proportion to the weights of the others.
    pub weight: u32,
    /// Tasks that go to it before any go by weight.
    pub base: u32,
}

/// How tasks are divided among capacity providers, each of which is there once.
pub type CapacityProviderStrategy = Vec<CapacityProviderStrategyItem>;

/// Beginnings of names that ECS keeps for its own capacity providers.
const RESERVED_PREFIXES: [&str; 3] = ["aws", "ecs", "fargate"];
/// Longest name (ECS: 255 characters).
const MAX_NAME: usize = 255;

impl CapacityProviderName {
    /// Whether a capacity provider can have this name (ECS's rule): letters, digits, underscores and hyphens, and none of ECS's own beginnings.
    #[must_use]
    pub fn is_allowed(name: &str) -> bool {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let lower = name.to_ascii_lowercase();
        (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(fits)
            && !RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
    }
}

impl CapacityProviderKey {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        let Scope { account, region } = &self.scope;
        format!("arn:aws:ecs:{region}:{account}:capacity-provider/{}", self.name)
    }
}

impl Scope {
    /// The key of the capacity provider `name` in this scope.
    #[must_use]
    pub fn capacity_provider(&self, name: &str) -> CapacityProviderKey {
        CapacityProviderKey {
            scope: self.clone(),
            name: name.into(),
        }
    }
}
