//! Container instances: hosts, as a cluster sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AgentId, Attributes, CapacityProviderName, ClusterKey, ContainerInstanceId, DaemonAbsence, Ports, Power, Resources,
    ServiceName, Tags, Timestamp, attribute_names,
};

/// TCP ports that every host keeps for itself: SSH, Docker and the agent's own (ECS's defaults).
pub const RESERVED_TCP_PORTS: [u16; 6] = [22, 2375, 2376, 51678, 51679, 51680];

/// Whether a host takes new tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContainerInstanceStatus {
    /// Takes tasks.
    Active,
    /// Takes none; service tasks move away.
    Draining,
    /// Deregistered; kept for a while so that it can still be described.
    Inactive,
}

/// What an agent says of its host when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDescription {
    /// Host name, also shown as `ec2InstanceId`.
    pub host_name: String,
    /// CPU and memory offered to tasks.
    pub capacity: Resources,
    /// Attributes that the agent reports; users may add more.
    pub attributes: Attributes,
    /// Agent's version.
    pub agent_version: String,
    /// Container runtime and its version, such as `containerd 1.6.20` or `simulated`.
    pub runtime_version: String,
    /// The capacity provider whose pool it belongs to, if any. With [`Feature::CapacityProviders`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<CapacityProviderName>,
    /// What there is to say of an agent that speaks ECS's own API; `None` for Berth's. With [`Feature::EcsAgents`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecs_agent: Option<EcsAgent>,
}

/// An agent that speaks ECS's own API: it registers its host by `RegisterContainerInstance`, asks what it is to run as any client does, and says by
/// `SubmitTaskStateChange` and its like what became of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcsAgent {
    /// The hash of its version, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// A host that has registered into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerInstance {
    /// Its id.
    pub id: ContainerInstanceId,
    /// The one cluster that it belongs to.
    pub cluster: ClusterKey,
    /// The agent's own identity: the same agent gets the same container instance again.
    pub agent: AgentId,
    /// What the agent said of the host.
    pub host: HostDescription,
    /// Attributes put by users; they win over the agent's.
    pub user_attributes: Attributes,
    /// Whether it takes tasks.
    pub status: ContainerInstanceStatus,
    /// Whether its agent has a session now.
    pub agent_connected: bool,
    /// When `agent_connected` last changed.
    pub connection_changed_at: Timestamp,
    /// When something was last heard of its agent, as of the end of its last session.
    pub last_heard_at: Timestamp,
    /// When it was given up; `None` once its agent is back.
    pub lost_at: Option<Timestamp>,
    /// Host ports that a task could not have since a program which is no task holds them, as the agent says now.
    #[serde(default, skip_serializing_if = "Ports::is_empty")]
    pub foreign_ports: Ports,
    /// Whether it is awake. Another than by default with [`Feature::ManagedScaling`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Power::is_blank")]
    pub power: Power,
    /// Critical daemons that have left it, by the names of their keys, as long as it is not known that they serve again. With
    /// [`Feature::ManagedDaemons`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent_daemons: BTreeMap<ServiceName, DaemonAbsence>,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// Counts the changes of this record, as ECS's `version`.
    pub version: u64,
    /// Tags.
    pub tags: Tags,
}

impl ContainerInstanceStatus {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

impl ContainerInstance {
    /// The attribute `name`: `None` if absent, `Some(None)` if present without a value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Option<&str>> {
        self.user_attributes
            .get(name)
            .or_else(|| self.host.attributes.get(name))
            .map(Option::as_deref)
    }

    /// The zone that the host is in, `None` if it did not say.
    #[must_use]
    pub fn availability_zone(&self) -> Option<&str> {
        self.attribute(super::attribute_names::AVAILABILITY_ZONE).flatten()
    }

    /// Whether its agent can put it to sleep. Agents alone can say so.
    #[must_use]
    pub fn offers_sleep(&self) -> bool {
        self.host.attributes.contains_key(attribute_names::SLEEP)
    }

    /// All attributes, those of users over those of the agent.
    #[must_use]
    pub fn all_attributes(&self) -> Attributes {
        let mut all = self.host.attributes.clone();
        all.extend(self.user_attributes.clone());
        all
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        self.cluster.container_instance_arn(self.id)
    }
}
