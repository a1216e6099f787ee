//! Clusters.

use serde::{Deserialize, Serialize};

use super::{CapacityProviderName, CapacityProviderStrategy, ClusterKey, HostSettings, Tags, Timestamp};

/// Whether a cluster takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClusterStatus {
    /// In use.
    Active,
    /// Deleted; kept for a while so that it can still be described.
    Inactive,
}

/// A named setting such as `containerInsights`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSetting {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its key.
    pub key: ClusterKey,
    /// Whether it is in use.
    pub status: ClusterStatus,
    /// Settings, in name order.
    pub settings: Vec<ClusterSetting>,
    /// How it keeps in touch with its hosts.
    pub host_settings: HostSettings,
    /// Capacity providers that its services and tasks can use, in the order in which they were given. With
    /// [`Feature::CapacityProviders`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_providers: Vec<CapacityProviderName>,
    /// What services and tasks use that name neither a launch type nor a strategy; none where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_capacity_provider_strategy: CapacityProviderStrategy,
    /// Tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it became `INACTIVE`; nothing if that was before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_since: Option<Timestamp>,
}

impl Cluster {
    /// An active cluster with neither settings of its own nor tags.
    #[must_use]
    pub fn new(key: ClusterKey, created_at: Timestamp) -> Self {
        Self {
            key,
            status: ClusterStatus::Active,
            settings: vec![],
            host_settings: HostSettings::default(),
            capacity_providers: vec![],
            default_capacity_provider_strategy: vec![],
            tags: Tags::new(),
            created_at,
            inactive_since: None,
        }
    }
}
