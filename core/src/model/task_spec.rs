//! What a host is told to run: a task definition with the task's overrides merged in, and nothing to look up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ContainerDefinition, ContainerDependency, CpuUnits, FARGATE, HealthCheck, MemoryMib, PortMapping, RestartPolicy,
    Task, TaskDefinition, TaskId,
};

/// How a task reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkMode {
    /// An empty network namespace.
    None,
    /// The host's own network.
    Host,
    /// A bridge with address translation.
    Bridge,
    /// An address of the task's own, whose ports are the containers' own. With
    /// [`Feature::TaskNetworkInterfaces`](crate::state::Feature) alone.
    Awsvpc,
}

/// A task, ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Task id.
    pub task: TaskId,
    /// Task ARN.
    pub task_arn: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Family of its task definition.
    pub family: String,
    /// Revision of its task definition.
    pub revision: u32,
    /// Network mode.
    pub network_mode: NetworkMode,
    /// Task-level CPU limit, a hard quota on all containers together.
    pub cpu: Option<CpuUnits>,
    /// Task-level memory limit on all containers together.
    pub memory: Option<MemoryMib>,
    /// Whether it is of the launch type `FARGATE`, whose containers the host may run by something stronger.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fargate: bool,
    /// Containers in the order of the task definition.
    pub containers: Vec<ContainerSpec>,
}

/// A container of a [`TaskSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name within the task.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// CPU share.
    pub cpu: CpuUnits,
    /// Hard memory limit.
    pub memory: Option<MemoryMib>,
    /// Soft memory limit.
    pub memory_reservation: Option<MemoryMib>,
    /// Whether its exit stops the task.
    pub essential: bool,
    /// Entry point; empty means the image's.
    pub entry_point: Vec<String>,
    /// Command; empty means the image's.
    pub command: Vec<String>,
    /// Environment; a later value of a name wins.
    pub environment: Vec<(String, String)>,
    /// Working directory.
    pub working_directory: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Ports.
    pub port_mappings: Vec<PortMapping>,
    /// Seconds from the stop signal to SIGKILL.
    pub stop_timeout_secs: u32,
    /// Labels put on the container.
    pub docker_labels: BTreeMap<String, String>,
    /// When it is started again in place once it has ended; `None` means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// How it is found out whether it is healthy; `None` means not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// What other containers of the task have to be before it starts; it stops before they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ContainerDependency>,
    /// Seconds from its start within which it has to be what others wait for; `None` means however long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_secs: Option<u32>,
}

/// Seconds from the stop signal to SIGKILL where the task definition says nothing (ECS's `stopTimeout` default).
const DEFAULT_STOP_TIMEOUT_SECS: u32 = 30;

impl TaskSpec {
    /// The spec of `task`, whose definition is `definition`.
    #[must_use]
    pub fn of(task: &Task, definition: &TaskDefinition) -> Self {
        Self {
            task: task.id,
            task_arn: task.arn(),
            cluster: task.cluster.name.as_str().to_owned(),
            family: definition.key.family.own_name().to_owned(),
            revision: definition.key.revision,
            network_mode: definition.network_mode,
            cpu: task.overrides.cpu.or(definition.cpu),
            memory: task.overrides.memory.or(definition.memory),
            fargate: task.launch_type.as_deref() == Some(FARGATE),
            containers: definition.containers.iter().map(|c| container_spec(task, c)).collect(),
        }
    }
}

fn container_spec(task: &Task, definition: &ContainerDefinition) -> ContainerSpec {
    let overrides = task.overrides.containers.iter().find(|o| o.name == definition.name);
    let mut environment = definition.environment.clone();
    environment.extend(overrides.iter().flat_map(|o| o.environment.iter().cloned()));
    ContainerSpec {
        name: definition.name.clone(),
        image: definition.image.clone(),
        cpu: overrides.and_then(|o| o.cpu).unwrap_or(definition.cpu),
        memory: overrides.and_then(|o| o.memory).or(definition.memory),
        memory_reservation: overrides
            .and_then(|o| o.memory_reservation)
            .or(definition.memory_reservation),
        essential: definition.essential,
        entry_point: definition.entry_point.clone(),
        command: overrides
            .and_then(|o| o.command.clone())
            .unwrap_or_else(|| definition.command.clone()),
        environment,
        working_directory: definition.working_directory.clone(),
        user: definition.user.clone(),
        port_mappings: definition.port_mappings.clone(),
        stop_timeout_secs: definition.stop_timeout_secs.unwrap_or(DEFAULT_STOP_TIMEOUT_SECS),
        docker_labels: definition.docker_labels.clone(),
        restart_policy: definition.restart_policy.clone(),
        health_check: definition
            .health_check
            .clone()
            .filter(|check| check.arguments().is_some()),
        depends_on: definition.depends_on.clone(),
        start_timeout_secs: definition.start_timeout_secs,
    }
}
