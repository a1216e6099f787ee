//! Task definitions: what to run, in numbered revisions that never change.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Container, ContainerDependency, ContainerStatus, CpuUnits, HealthCheck, MemoryMib, NetworkMode,
    PlacementConstraint, Resources, RestartPolicy, RuntimePlatform, Tags, TaskDefinitionKey, Timestamp,
};

/// Whether new tasks may use a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskDefinitionStatus {
    /// New tasks and services may use it.
    Active,
    /// Deregistered: what runs goes on, services that use it keep using it, nothing new may.
    Inactive,
    /// To be forgotten once no task or service that is remembered uses it.
    DeleteInProgress,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TransportProtocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl TransportProtocol {
    /// As it is written everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// One of its ports in words, such as `8080/tcp`.
    #[must_use]
    pub fn port(self, number: u16) -> String {
        format!("{number}/{}", self.as_str())
    }
}

/// Ports of a host, by protocol.
pub type Ports = BTreeSet<(TransportProtocol, u16)>;

/// A container port and where on the host it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Port inside the container.
    pub container_port: u16,
    /// Port on the host; `None` (ECS: 0 or absent) takes a free one in bridge mode and equals the container port in host mode.
    pub host_port: Option<u16>,
    /// Protocol.
    pub protocol: TransportProtocol,
    /// Name of the mapping, for people and for Service Connect.
    pub name: Option<String>,
}

/// One container of a task definition. Only members that are honoured are here; others are refused at registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerDefinition {
    /// Name, unique within the task definition.
    pub name: String,
    /// Image reference as the user wrote it.
    pub image: String,
    /// CPU share, relative to other containers; 0 if not given.
    pub cpu: CpuUnits,
    /// Hard limit.
    pub memory: Option<MemoryMib>,
    /// Soft limit, which placement reserves.
    pub memory_reservation: Option<MemoryMib>,
    /// Whether its exit stops the task.
    pub essential: bool,
    /// Replaces the image's entry point; empty means the image's.
    pub entry_point: Vec<String>,
    /// Replaces the image's command; empty means the image's.
    pub command: Vec<String>,
    /// Environment, in the order given.
    pub environment: Vec<(String, String)>,
    /// Working directory; `None` means the image's.
    pub working_directory: Option<String>,
    /// `user`, `user:group`, `uid` or `uid:gid`; `None` means the image's.
    pub user: Option<String>,
    /// Ports.
    pub port_mappings: Vec<PortMapping>,
    /// Seconds between the stop signal and SIGKILL; `None` means 30.
    pub stop_timeout_secs: Option<u32>,
    /// Labels put on the container.
    pub docker_labels: BTreeMap<String, String>,
    /// When it is started again in place once it has ended; `None` means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// How it is found out whether it is healthy; `None` means not at all. With
    /// [`Feature::ContainerHealth`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// What other containers of the task have to be before it starts; it stops before they do. With
    /// [`Feature::ContainerHealth`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ContainerDependency>,
    /// Seconds from its start within which it has to be what others wait for; `None` means however long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_secs: Option<u32>,
}

/// A revision of a task definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinition {
    /// Family and revision.
    pub key: TaskDefinitionKey,
    /// Whether new tasks may use it.
    pub status: TaskDefinitionStatus,
    /// Its containers, 1 to 10.
    pub containers: Vec<ContainerDefinition>,
    /// Network mode as resolved; `None` was given means bridge.
    pub network_mode: NetworkMode,
    /// Whether the user named the network mode.
    pub network_mode_given: bool,
    /// Task-level CPU limit.
    pub cpu: Option<CpuUnits>,
    /// Task-level memory limit.
    pub memory: Option<MemoryMib>,
    /// The platform that it is made for, as far as it says so. With [`Feature::FargatePlatform`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_platform: Option<RuntimePlatform>,
    /// Constraints on every task of this definition (`memberOf` only).
    pub placement_constraints: Vec<PlacementConstraint>,
    /// `requiresCompatibilities` as given.
    pub requires_compatibilities: Vec<String>,
    /// Tags.
    pub tags: Tags,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When it was deregistered.
    pub deregistered_at: Option<Timestamp>,
    /// ARN of the identity that registered it.
    pub registered_by: String,
    /// Members of the request that ask for nothing, in the words of whoever shows the definition; no one else reads them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub also_given: String,
}

impl TaskDefinition {
    /// What placement reserves: task-level values where given, else the sum over containers of the CPU share and of
    /// `memoryReservation`, or `memory` where there is none (ECS's rule).
    #[must_use]
    pub fn reservation(&self) -> Resources {
        let cpu = self.containers.iter().fold(0u32, |sum, c| sum.saturating_add(c.cpu.0));
        let memory = self.containers.iter().fold(0u32, |sum, c| {
            sum.saturating_add(c.memory_reservation.or(c.memory).unwrap_or_default().0)
        });
        Resources {
            cpu: self.cpu.unwrap_or(CpuUnits(cpu)),
            memory: self.memory.unwrap_or(MemoryMib(memory)),
        }
    }

    /// Host ports that a task of this definition takes on whichever host it runs.
    #[must_use]
    pub fn fixed_host_ports(&self) -> Ports {
        let mappings = self.containers.iter().flat_map(|c| &c.port_mappings);
        mappings
            .filter_map(|m| self.fixed_host_port(m).map(|port| (m.protocol, port)))
            .collect()
    }

    /// The host port that a mapping takes on whichever host the task runs.
    #[must_use]
    pub fn fixed_host_port(&self, mapping: &PortMapping) -> Option<u16> {
        match self.network_mode {
            NetworkMode::Host => Some(mapping.host_port.unwrap_or(mapping.container_port)),
            NetworkMode::Bridge => mapping.host_port,
            NetworkMode::None | NetworkMode::Awsvpc => None,
        }
    }

    /// The containers of a task that has not begun.
    #[must_use]
    pub fn pending_containers(&self) -> Vec<Container> {
        let pending = |name: &str, image: &str| Container {
            name: name.into(),
            image: image.into(),
            image_digest: None,
            runtime_id: None,
            last_status: ContainerStatus::Pending,
            exit_code: None,
            reason: None,
            network_bindings: vec![],
            health: None,
        };
        self.containers.iter().map(|c| pending(&c.name, &c.image)).collect()
    }

    /// The container called `name`.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerDefinition> {
        self.containers.iter().find(|c| c.name == name)
    }
}
