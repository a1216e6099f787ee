//! What the shell tells the lifecycle. Pure data.

use serde::{Deserialize, Serialize};

use crate::model::{DesiredStatus, HealthStatus, NetworkBinding, NetworkInterface, Timestamp};

/// Something that happened; containers go by their name within the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observation {
    /// The controllers want this of the task. `Stopped` is final, and is taken in every state.
    Assigned(DesiredStatus),
    /// The host has been cut off from every controller for as long as its cluster lets tasks run on. Taken as final as a
    /// stop that is wanted.
    Fenced {
        /// For how long, in milliseconds: the cluster's setting.
        after_ms: u32,
    },
    /// An image is present.
    ImagePulled {
        /// Container.
        container: String,
        /// Digest that the image's name resolved to.
        digest: String,
    },
    /// An image cannot be had.
    ImagePullFailed {
        /// Container.
        container: String,
        /// Why, beginning with ECS's name of the error.
        reason: String,
    },
    /// The task's network is there.
    NetworkReady {
        /// Ports as bound, each with the container that it belongs to.
        bindings: Vec<(String, NetworkBinding)>,
        /// The interface with the task's own address, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<NetworkInterface>,
    },
    /// The task's network cannot be set up.
    NetworkFailed {
        /// Why, beginning with ECS's name of the error.
        reason: String,
    },
    /// A container is there, not yet started.
    ContainerCreated {
        /// Container.
        container: String,
    },
    /// A container's process has been started.
    ContainerStarted {
        /// Container.
        container: String,
        /// Id at the container runtime.
        runtime_id: String,
    },
    /// A container could not be created or started.
    ContainerFailed {
        /// Container.
        container: String,
        /// Why, beginning with ECS's name of the error.
        reason: String,
    },
    /// A container's process has ended.
    ContainerExited {
        /// Container.
        container: String,
        /// Its exit code; 128 + signal where a signal ended it, `None` where it cannot be known.
        exit_code: Option<i32>,
        /// What there is to say beyond the code.
        reason: Option<String>,
        /// When it ended, or when that was found out.
        at: Timestamp,
    },
    /// The health of a container is another than before; of one without a health check it is ignored.
    HealthChanged {
        /// Container.
        container: String,
        /// What its health check says.
        status: HealthStatus,
    },
    /// A container could not be sent its stop signal or SIGKILL.
    StopFailed {
        /// Container.
        container: String,
        /// Why.
        reason: String,
    },
    /// A container is gone.
    ContainerRemoved {
        /// Container.
        container: String,
    },
    /// A container could not be removed.
    RemoveFailed {
        /// Container.
        container: String,
        /// Why.
        reason: String,
    },
    /// The task's network is gone.
    NetworkTornDown,
    /// The task's network could not be released.
    TearDownFailed {
        /// Why.
        reason: String,
    },
    /// Time has passed; the shell sends it once [`super::TaskState::wake_at`] is reached.
    Tick,
    /// The agent has restarted: whatever was under way is forgotten, and these containers of the task were found.
    Recovered {
        /// The task's containers that the runtime knows.
        containers: Vec<FoundContainer>,
    },
}

/// A container that was found after an agent restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundContainer {
    /// Name within the task.
    pub name: String,
    /// Id at the container runtime.
    pub runtime_id: String,
    /// Where it is.
    pub state: FoundState,
}

/// Where a found container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundState {
    /// Created, and never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited {
        /// Exit code, `None` where it cannot be known.
        exit_code: Option<i32>,
        /// What there is to say beyond the code.
        reason: Option<String>,
        /// When it ended, or when that was found out.
        at: Timestamp,
    },
}
