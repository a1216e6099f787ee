//! What the lifecycle asks its shell to do. Pure data.

use serde::{Deserialize, Serialize};

/// Something to do on the host; containers go by their name within the task.
///
/// Each may come again after an agent restart, so carrying it out twice must come to the same as once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeAction {
    /// Make the container's image present. Answered by `ImagePulled` or `ImagePullFailed`.
    PullImage {
        /// Container.
        container: String,
    },
    /// Set up the task's network and bind its ports. Answered by `NetworkReady` or `NetworkFailed`.
    SetUpNetwork,
    /// Create the container. Answered by `ContainerCreated` or `ContainerFailed`.
    CreateContainer {
        /// Container.
        container: String,
    },
    /// Start the container. Answered by `ContainerStarted` or `ContainerFailed`.
    StartContainer {
        /// Container.
        container: String,
    },
    /// Start the container again, whose process has ended, with its files as that left them; one that runs stays as it is. Answered
    /// by `ContainerStarted` or `ContainerFailed`.
    RestartContainer {
        /// Container.
        container: String,
    },
    /// Wait for the container's end. Answered by `ContainerExited`.
    WatchContainer {
        /// Container.
        container: String,
    },
    /// Send the container its stop signal. Answered, if at all, by `StopFailed`.
    StopContainer {
        /// Container.
        container: String,
    },
    /// Send SIGKILL to the container. Answered, if at all, by `StopFailed`.
    KillContainer {
        /// Container.
        container: String,
    },
    /// Remove the container; its logs stay. Answered by `ContainerRemoved` or `RemoveFailed`.
    RemoveContainer {
        /// Container.
        container: String,
    },
    /// Release the task's network. Answered by `NetworkTornDown` or `TearDownFailed`.
    TearDownNetwork,
}
