//! The errors of a runtime, worded as ECS words them in `stoppedReason` and a container's `reason`.
//!
//! Knows nothing of what raised them. Pure.

use berth_core::model::TransportProtocol;

/// What went wrong with a container, its image or its network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The image is not there and could not be fetched.
    #[error("CannotPullContainerError: {0}")]
    CannotPullContainer(String),
    /// The container could not be made of its image and definition.
    #[error("CannotCreateContainerError: {0}")]
    CannotCreateContainer(String),
    /// The container's process could not be started.
    #[error("CannotStartContainerError: {0}")]
    CannotStartContainer(String),
    /// The container could not be signalled.
    #[error("CannotStopContainerError: {0}")]
    CannotStopContainer(String),
    /// The container, or something that it held, could not be removed.
    #[error("CannotRemoveContainerError: {0}")]
    CannotRemoveContainer(String),
    /// The task's network could not be set up.
    #[error("ResourceInitializationError: {0}")]
    ResourceInitialization(String),
    /// A host port that the task needs is held by a program that is no task of this host.
    #[error("ResourceInitializationError: {why}")]
    PortHeld {
        /// Its protocol.
        protocol: TransportProtocol,
        /// The port.
        port: u16,
        /// Who holds it.
        why: String,
    },
    /// The runtime knows no such container.
    #[error("CannotInspectContainerError: there is no container {0} on this host")]
    NoSuchContainer(String),
    /// The runtime could not be asked; nothing is known about the container.
    #[error("the container runtime cannot be reached: {0}")]
    Unavailable(String),
}

impl RuntimeError {
    /// Whether the runtime itself was away, so that the same order may well succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_error_shown_begins_with_the_name_that_ecs_uses() {
        let error = RuntimeError::CannotPullContainer("manifest unknown".to_owned());
        assert_eq!(error.to_string(), "CannotPullContainerError: manifest unknown");
        assert!(!error.is_transient());
        assert!(RuntimeError::Unavailable("connection refused".to_owned()).is_transient());
    }
}
