//! What an agent that speaks ECS's own API says of a task: only what changed, where a [`TaskReport`] is always the whole picture.

use serde::{Deserialize, Serialize};

use super::{ContainerStatus, NetworkBinding, TaskId, TaskStatus, Timestamp};

/// What changed of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateChange {
    /// Which task.
    pub task: TaskId,
    /// Where it is now; `None` leaves as is, here and below.
    pub status: Option<TaskStatus>,
    /// Why, in a sentence.
    pub reason: Option<String>,
    /// Containers that changed.
    pub containers: Vec<ContainerChange>,
    /// When image fetching began.
    pub pull_started_at: Option<Timestamp>,
    /// When image fetching ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the last container ended.
    pub execution_stopped_at: Option<Timestamp>,
    /// Now.
    pub at: Timestamp,
}

/// What changed of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerChange {
    /// Name within the task.
    pub name: String,
    /// Where it is now; `None` leaves as is, here and below.
    pub status: Option<ContainerStatus>,
    /// Digest of its image.
    pub image_digest: Option<String>,
    /// Id at the container runtime.
    pub runtime_id: Option<String>,
    /// Exit code.
    pub exit_code: Option<i32>,
    /// What went wrong, in a sentence.
    pub reason: Option<String>,
    /// Ports as bound, all of them.
    pub network_bindings: Option<Vec<NetworkBinding>>,
}

impl StateChange {
    /// One that says nothing yet.
    #[must_use]
    pub fn nothing_new(task: TaskId, at: Timestamp) -> Self {
        Self {
            task,
            status: None,
            reason: None,
            containers: vec![],
            pull_started_at: None,
            pull_stopped_at: None,
            execution_stopped_at: None,
            at,
        }
    }
}
