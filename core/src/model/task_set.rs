//! Task sets: what the services run whose deployments something outside the cluster controls (ECS's deployment controller `EXTERNAL`).

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderStrategy, Deployment, DeploymentId, DeploymentStatus, NetworkConfiguration, PlatformVersion,
    RolloutState, Service, StartBackoff, Tags, TaskDefinitionKey, Timestamp,
};

/// Who decides what a service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentController {
    /// The cluster, by deployments.
    #[default]
    Ecs,
    /// Something outside of it, by task sets.
    External,
}

impl DeploymentController {
    pub(super) fn is_ecs(&self) -> bool {
        *self == Self::Ecs
    }
}

/// What a task set is to its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskSetStatus {
    /// The one that serves.
    Primary,
    /// Another one.
    Active,
    /// Deleted, with tasks that have not stopped yet.
    Draining,
}

/// How many tasks a task set wants, as a share of what its service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Scale {
    /// Millionths of a percent.
    millionths: u32,
}

/// What no share of a service's tasks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scale is between 0 and 100 percent")]
pub struct NotAScale;

impl Scale {
    /// No task.
    pub const NONE: Self = Self { millionths: 0 };

    /// As many tasks as the service wants: what a task set has that names no scale.
    pub const WHOLE: Self = Self {
        millionths: Self::OF_ONE_PERCENT * 100,
    };

    const OF_ONE_PERCENT: u32 = 1_000_000;

    /// So many percent, to the nearest millionth.
    ///
    /// # Errors
    /// [`NotAScale`] below 0, above 100, and for what is no number.
    pub fn of_percent(percent: f64) -> Result<Self, NotAScale> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(NotAScale);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 100,000,000"
        )]
        let millionths = (percent * f64::from(Self::OF_ONE_PERCENT)).round() as u32;
        Ok(Self { millionths })
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.millionths) / f64::from(Self::OF_ONE_PERCENT)
    }

    /// Of so many tasks this share, rounded up (ECS's rule).
    #[must_use]
    pub fn of(self, tasks: u32) -> u32 {
        let share = (u64::from(tasks) * u64::from(self.millionths)).div_ceil(u64::from(Self::WHOLE.millionths));
        u32::try_from(share).unwrap_or(tasks)
    }

    /// Of so many this share, rounded down.
    #[must_use]
    pub fn rounded_down(self, of: u32) -> u32 {
        let share = u64::from(of) * u64::from(self.millionths) / u64::from(Self::WHOLE.millionths);
        u32::try_from(share).unwrap_or(of)
    }
}

impl TryFrom<u32> for Scale {
    type Error = NotAScale;

    fn try_from(millionths: u32) -> Result<Self, NotAScale> {
        let scale = Self { millionths };
        (scale <= Self::WHOLE).then_some(scale).ok_or(NotAScale)
    }
}

impl From<Scale> for u32 {
    fn from(scale: Scale) -> Self {
        scale.millionths
    }
}

/// One version of what a service runs whose deployments are controlled from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSet {
    /// Its id, which its tasks name as their deployment.
    pub id: DeploymentId,
    /// What it is to its service.
    pub status: TaskSetStatus,
    /// What the deployer calls it.
    pub external_id: Option<String>,
    /// The idempotency token of the request that created it.
    pub client_token: Option<String>,
    /// What it runs.
    pub task_definition: TaskDefinitionKey,
    /// `EC2` or `FARGATE` where the caller named a launch type.
    pub launch_type: Option<String>,
    /// How its tasks are divided among capacity providers; they go to any host where it is empty.
    pub capacity_provider_strategy: CapacityProviderStrategy,
    /// The platform version that it asks for, where its tasks are of the launch type `FARGATE`. With
    /// [`Feature::FargatePlatform`](crate::state::Feature) alone, unless it is the newest.
    #[serde(default, skip_serializing_if = "PlatformVersion::is_latest")]
    pub platform_version: PlatformVersion,
    /// Where its tasks get their addresses from, if they have some of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    /// How many of the service's tasks it runs.
    pub scale: Scale,
    /// Whether it has all of them, and no other.
    pub steady: bool,
    /// Since when.
    pub steady_at: Timestamp,
    /// Tasks that failed to start or to stay up.
    pub failed_tasks: u32,
    /// Back-off of starts.
    pub backoff: StartBackoff,
    /// Tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
    /// When somebody last changed it.
    pub updated_at: Timestamp,
}

impl TaskSet {
    /// How many tasks it wants, where its service wants `desired_count`.
    #[must_use]
    pub fn computed_desired_count(&self, desired_count: u32) -> u32 {
        match self.status {
            TaskSetStatus::Draining => 0,
            TaskSetStatus::Primary | TaskSetStatus::Active => self.scale.of(desired_count),
        }
    }
}

impl Service {
    /// Whether something outside the cluster decides what it runs, by task sets.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.deployment_controller == DeploymentController::External
    }

    /// The task set called `id`.
    #[must_use]
    pub fn task_set(&self, id: &DeploymentId) -> Option<&TaskSet> {
        self.task_sets.iter().find(|set| set.id == *id)
    }

    /// Whether it has a deployment or a task set called `id`.
    #[must_use]
    pub fn runs(&self, id: &DeploymentId) -> bool {
        self.deployment(id).is_some() || self.task_set(id).is_some()
    }

    /// The service as one of its task sets is run: as if that were its one deployment, and its share of the tasks all that it wants.
    #[must_use]
    pub fn of_task_set(&self, set: &TaskSet) -> Self {
        let deployment = Deployment {
            id: set.id.clone(),
            status: DeploymentStatus::Primary,
            task_definition: set.task_definition.clone(),
            rollout_state: RolloutState::Completed,
            rollout_state_reason: String::new(),
            failed_tasks: set.failed_tasks,
            backoff: set.backoff,
            created_at: set.created_at,
            updated_at: set.updated_at,
        };
        Self {
            desired_count: set.computed_desired_count(self.desired_count),
            launch_type: set.launch_type.clone(),
            capacity_provider_strategy: set.capacity_provider_strategy.clone(),
            platform_version: set.platform_version,
            network_configuration: set.network_configuration.clone(),
            deployments: vec![deployment],
            task_sets: vec![],
            ..self.clone()
        }
    }

    /// What ECS calls it in a sentence: by its name, and where it stands for one of its task sets, by that as well.
    pub(crate) fn spoken(&self) -> String {
        match self.primary().filter(|_| self.is_external()) {
            Some(set) => format!("{}, taskSet {}", self.key.name, set.id),
            None => self.key.name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_tasks_is_rounded_up() {
        let of = |percent, tasks| Scale::of_percent(percent).expect("a scale").of(tasks);
        assert_eq!((of(12.0, 10), of(20.0, 10), of(0.0, 10)), (2, 2, 0));
        assert_eq!((of(100.0, u32::MAX), of(0.000_001, 1)), (u32::MAX, 1));
        assert_eq!(of(33.333_333, 3), 1);
    }

    #[test]
    fn scale_is_shown_as_it_was_given_and_nothing_but_a_share_is_one() {
        for percent in [0.0, 0.1, 12.5, 33.333_333, 100.0] {
            assert_eq!(Scale::of_percent(percent).expect("a scale").percent(), percent);
        }
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Scale::of_percent(percent), Err(NotAScale));
        }
        assert!(serde_json::from_str::<Scale>("100000001").is_err());
        let kept = serde_json::to_string(&Scale::WHOLE).expect("serializes");
        assert_eq!(serde_json::from_str::<Scale>(&kept).expect("reads"), Scale::WHOLE);
    }
}
