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
    /// Whether and how its hosts are woken and put to sleep; `None` where nobody ever said. With
    /// [`Feature::ManagedScaling`](crate::state::Feature) alone, as are the next three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_scaling: Option<ManagedScaling>,
    /// Whether hosts with tasks are never put to sleep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed_termination_protection: bool,
    /// Whether hosts are drained before they sleep, and before their machines shut down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed_draining: bool,
    /// Whether it was updated since it was created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updated: bool,
    /// Tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
}

/// How the hosts of a pool are woken and put to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedScaling {
    /// Whether they are.
    pub enabled: bool,
    /// The part of the hosts that are awake which is to be in use, in percent.
    pub target_capacity: u32,
    /// Hosts that are woken at once at least.
    pub minimum_step: u32,
    /// And at most.
    pub maximum_step: u32,
    /// Seconds for which a host that woke is not put to sleep.
    pub warmup_secs: u32,
}

/// Changes to it; `None` leaves as is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedScalingChanges {
    /// Whether hosts are woken and put to sleep.
    pub enabled: Option<bool>,
    /// Part in use, in percent.
    pub target_capacity: Option<u32>,
    /// Least hosts at once.
    pub minimum_step: Option<u32>,
    /// Most hosts at once.
    pub maximum_step: Option<u32>,
    /// Seconds after a host woke.
    pub warmup_secs: Option<u32>,
}

/// Settings of a capacity provider that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnworkableScaling {
    /// At least so many are more than at most so many.
    #[error("the minimumScalingStepSize {0} is larger than the maximumScalingStepSize {1}")]
    Steps(u32, u32),
    /// Nothing would be protected.
    #[error("managedTerminationProtection cannot be ENABLED without managed scaling, which it is a rule for")]
    Protection,
}

impl Default for ManagedScaling {
    /// ECS's numbers.
    fn default() -> Self {
        Self {
            enabled: false,
            target_capacity: 100,
            minimum_step: 1,
            maximum_step: 10_000,
            warmup_secs: 300,
        }
    }
}

impl ManagedScaling {
    /// With changes.
    #[must_use]
    pub fn with(self, changes: &ManagedScalingChanges) -> Self {
        Self {
            enabled: changes.enabled.unwrap_or(self.enabled),
            target_capacity: changes.target_capacity.unwrap_or(self.target_capacity),
            minimum_step: changes.minimum_step.unwrap_or(self.minimum_step),
            maximum_step: changes.maximum_step.unwrap_or(self.maximum_step),
            warmup_secs: changes.warmup_secs.unwrap_or(self.warmup_secs),
        }
    }
}

impl CapacityProvider {
    /// How its hosts are woken and put to sleep, if they are.
    #[must_use]
    pub fn scaling(&self) -> Option<&ManagedScaling> {
        self.managed_scaling.as_ref().filter(|scaling| scaling.enabled)
    }

    /// Whether what was said of its hosts can be done.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn check(&self) -> Result<(), UnworkableScaling> {
        if let Some(scaling) = &self.managed_scaling
            && scaling.minimum_step > scaling.maximum_step
        {
            return Err(UnworkableScaling::Steps(scaling.minimum_step, scaling.maximum_step));
        }
        match self.scaling() {
            None if self.managed_termination_protection => Err(UnworkableScaling::Protection),
            _ => Ok(()),
        }
    }
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
