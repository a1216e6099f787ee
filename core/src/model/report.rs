//! What an agent reports of a task: the observed half of desired against observed.

use serde::{Deserialize, Serialize};

use super::{
    ContainerInstanceId, HealthStatus, NetworkInterface, StopCode, TaskId, TaskStatus, Timestamp, TransportProtocol,
};

/// Where a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContainerStatus {
    /// Not started yet.
    Pending,
    /// Its process runs.
    Running,
    /// Ended, or never to be started.
    Stopped,
}

impl ContainerStatus {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A container port as bound on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkBinding {
    /// Address that it is bound to.
    pub bind_ip: String,
    /// Port inside the container.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Protocol.
    pub protocol: TransportProtocol,
}

/// A container, as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerReport {
    /// Name within the task.
    pub name: String,
    /// Where it is.
    pub status: ContainerStatus,
    /// Digest of its image.
    pub image_digest: Option<String>,
    /// Id at the container runtime.
    pub runtime_id: Option<String>,
    /// Exit code, where it has ended and the code is known.
    pub exit_code: Option<i32>,
    /// What went wrong, in a sentence.
    pub reason: Option<String>,
    /// Ports as bound.
    pub network_bindings: Vec<NetworkBinding>,
    /// What its health check says; `None` where it has none. Only of tasks that were given one, and so never to controllers that do not know of
    /// health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
}

/// What one host says of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostReports {
    /// The host.
    pub container_instance: ContainerInstanceId,
    /// The reports.
    pub reports: Vec<TaskReport>,
    /// When they came in.
    pub at: Timestamp,
}

/// A task, as its host sees it: always the whole picture, so that a later report replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// Where it is.
    pub status: TaskStatus,
    /// Its containers.
    pub containers: Vec<ContainerReport>,
    /// When image fetching began.
    pub pull_started_at: Option<Timestamp>,
    /// When image fetching ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the task reached `RUNNING`.
    pub started_at: Option<Timestamp>,
    /// When the last container ended.
    pub execution_stopped_at: Option<Timestamp>,
    /// When the task reached `STOPPED`.
    pub stopped_at: Option<Timestamp>,
    /// Why it stopped, as a code, where the host is the one who knows.
    pub stop_code: Option<StopCode>,
    /// Why it stopped, in a sentence, where the host is the one who knows.
    pub stopped_reason: Option<String>,
    /// What the health checks of its essential containers say together; `None` where none has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// The interface with its own address; `None` where it has none, and so never to controllers that do not know of such tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<NetworkInterface>,
}

impl TaskReport {
    /// One that says how far the task has come, and nothing else.
    #[must_use]
    pub fn new(task: TaskId, status: TaskStatus) -> Self {
        Self {
            task,
            status,
            containers: vec![],
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
            health: None,
            network_interface: None,
        }
    }
}
