//! In which order the containers of a task start: ECS's `dependsOn` of a container definition.

use serde::{Deserialize, Serialize};

/// What a container has to be before one that depends on it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DependencyCondition {
    /// Started.
    Start,
    /// Over, however it ended.
    Complete,
    /// Over, with exit code 0.
    Success,
    /// Healthy, by its health check.
    Healthy,
}

impl DependencyCondition {
    /// ECS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }

    /// Whether it asks for the end of a container.
    #[must_use]
    pub fn asks_for_an_end(self) -> bool {
        matches!(self, Self::Complete | Self::Success)
    }
}

/// Something that a container waits for before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerDependency {
    /// Which container of the same task.
    pub container_name: String,
    /// What that has to be.
    pub condition: DependencyCondition,
}
