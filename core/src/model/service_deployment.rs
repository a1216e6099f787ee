//! Service revisions and service deployments: what a service has been, and how it came to be that.
//!
//! A revision is all that its tasks depend on; it never changes. A service deployment brings a service to a revision, or back to an
//! earlier one where that fails. Each begins with a revision of its own, so the two have one number: that of the
//! [`Deployment`](super::Deployment), which groups the tasks of the revision.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderStrategy, DaemonRevision, DeploymentConfiguration, DeploymentId, Lifecycle, LifecycleStage,
    MonitoredAlarms, NetworkConfiguration, TaskDefinitionKey, Timestamp, Traffic,
};

/// The image of one container of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerImage {
    /// The container.
    pub container: String,
    /// The image as the task definition names it.
    pub image: String,
    /// What that was when the service reached the revision; nothing before, and where no host said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
}

/// What a service deploys, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRevision {
    /// The deployment that its tasks are of.
    pub id: DeploymentId,
    /// What it runs.
    pub task_definition: TaskDefinitionKey,
    /// `EC2` or `FARGATE` where the caller named a launch type.
    pub launch_type: Option<String>,
    /// How its tasks are divided among capacity providers.
    pub capacity_provider_strategy: CapacityProviderStrategy,
    /// Where its tasks get their addresses from, if they have some of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    /// What it says of a managed daemon, where it is one of one. With [`Feature::ManagedDaemons`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<DaemonRevision>,
    /// Images of its containers.
    pub images: Vec<ContainerImage>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How far a service deployment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServiceDeploymentStatus {
    /// Nobody has begun with it.
    Pending,
    /// Tasks of its revision replace the others.
    InProgress,
    /// The service is at its revision.
    Successful,
    /// It is to be left where it is.
    StopRequested,
    /// It was left where it was: because it failed, was told to stop, or another took its place.
    Stopped,
    /// The service is to return to the last revision that it has reached.
    RollbackRequested,
    /// Tasks of that revision replace the others.
    RollbackInProgress,
    /// The service is at that revision again.
    RollbackSuccessful,
    /// The service could not return.
    RollbackFailed,
}

impl ServiceDeploymentStatus {
    /// Whether it stays as it is.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(
            self,
            Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed
        )
    }

    /// Whether the circuit breaker looks at the tasks of its revision.
    #[must_use]
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }

    /// Whether it may be `next` after this: what was asked for is done, and what is over is not taken up again.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Pending => false,
            Self::InProgress => self == Self::Pending,
            Self::Successful => self.is_forward(),
            Self::RollbackRequested => self.is_forward(),
            Self::RollbackInProgress => self.is_forward() || self == Self::RollbackRequested,
            Self::RollbackSuccessful => self == Self::RollbackInProgress,
            Self::RollbackFailed => !self.is_over() && self != Self::StopRequested,
            Self::StopRequested => self.is_forward() || self == Self::RollbackRequested,
            Self::Stopped => !self.is_over() && self != Self::RollbackRequested,
        }
    }
}

/// Tasks of one deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskCounts {
    /// Tasks that are wanted.
    pub requested: u32,
    /// Tasks that run.
    pub running: u32,
    /// Tasks that are about to.
    pub pending: u32,
}

/// A revision that the service had when a service deployment began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRevision {
    /// Its id; it may be forgotten before this is.
    pub id: DeploymentId,
    /// Its tasks when the service deployment was over.
    pub tasks: TaskCounts,
}

/// What the circuit breaker counted until the service deployment was over or turned back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountedFailures {
    /// Tasks of the revision that failed to start or to stay up.
    pub failed_tasks: u32,
    /// With how many the circuit breaker gives up.
    pub threshold: u32,
    /// Whether it did.
    pub triggered: bool,
}

/// The way back of a service deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRollback {
    /// Why.
    pub reason: String,
    /// Since when.
    pub started_at: Timestamp,
    /// The revision that it goes back to.
    pub revision: DeploymentId,
}

/// How a service was brought to a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDeployment {
    /// The revision that it was begun for.
    pub revision: ServiceRevision,
    /// How far it has come.
    pub status: ServiceDeploymentStatus,
    /// Why, in a sentence.
    pub status_reason: Option<String>,
    /// What the service was before, the newest first.
    pub sources: Vec<SourceRevision>,
    /// Tasks of its revision when it was over.
    pub tasks: TaskCounts,
    /// How it proceeds, or proceeded at the end.
    pub configuration: DeploymentConfiguration,
    /// Failures of its revision, once they are counted no more.
    pub failures: Option<CountedFailures>,
    /// The way back.
    pub rollback: Option<ServiceRollback>,
    /// The revision before it that serves until traffic is shifted; nothing where there is none, and where traffic is not shifted. With
    /// [`Feature::DeploymentStrategies`](crate::state::Feature) alone, as are the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<DeploymentId>,
    /// The stage that it is in or came to; nothing where it goes through none, and before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Which share of traffic each revision is to get, or got at the end.
    #[serde(default, skip_serializing_if = "is_undivided")]
    pub traffic: Traffic,
    /// Its alarms, where they are monitored. With [`Feature::Alarms`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<MonitoredAlarms>,
    /// When it began to be wanted.
    pub created_at: Timestamp,
    /// When somebody began with it.
    pub started_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// When it was left where it was.
    pub stopped_at: Option<Timestamp>,
}

fn is_undivided(traffic: &Traffic) -> bool {
    !traffic.is_divided()
}

impl ServiceDeployment {
    /// The number that it shares with its revision.
    #[must_use]
    pub fn id(&self) -> &DeploymentId {
        &self.revision.id
    }

    /// One that nobody has begun with.
    #[must_use]
    pub fn new(revision: ServiceRevision, configuration: DeploymentConfiguration) -> Self {
        let created_at = revision.created_at;
        Self {
            revision,
            status: ServiceDeploymentStatus::Pending,
            status_reason: None,
            sources: vec![],
            tasks: TaskCounts::default(),
            configuration,
            failures: None,
            rollback: None,
            serving: None,
            lifecycle: None,
            traffic: Traffic::default(),
            alarms: None,
            created_at,
            started_at: None,
            updated_at: created_at,
            finished_at: None,
            stopped_at: None,
        }
    }

    /// Whether an alarm went off while it was on its way.
    #[must_use]
    pub fn has_triggered_alarms(&self) -> bool {
        let monitored = self.alarms.as_ref();
        monitored.is_some_and(|monitored| !monitored.triggered.is_empty())
    }

    /// Whether its alarms are not monitored, although it has some: one of them was off when it began.
    #[must_use]
    pub fn ignores_alarms(&self) -> bool {
        let alarms = self.configuration.alarms.as_ref();
        self.alarms.is_none() && alarms.is_some_and(|alarms| alarms.enable)
    }

    /// The stage that it is in or came to.
    #[must_use]
    pub fn stage(&self) -> Option<LifecycleStage> {
        self.lifecycle.as_ref().map(|lifecycle| lifecycle.stage)
    }

    /// Whether it is on its way to its revision, and not so far that this may have tasks.
    #[must_use]
    pub fn is_before_scale_up(&self) -> bool {
        let is_early = self.stage().is_none_or(|stage| stage < LifecycleStage::ScaleUp);
        self.status.is_forward() && self.configuration.has_stages() && is_early
    }
}

impl DeploymentId {
    const PREFIX: &str = "ecs-svc/";

    /// The number in it, by which ARNs of service deployments and revisions name them.
    #[must_use]
    pub fn number(&self) -> &str {
        self.as_str().strip_prefix(Self::PREFIX).unwrap_or(self.as_str())
    }

    /// The id with this number.
    #[must_use]
    pub fn of_number(number: &str) -> Self {
        Self::from(format!("{}{number}", Self::PREFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ServiceDeploymentStatus; 9] = [
        ServiceDeploymentStatus::Pending,
        ServiceDeploymentStatus::InProgress,
        ServiceDeploymentStatus::Successful,
        ServiceDeploymentStatus::StopRequested,
        ServiceDeploymentStatus::Stopped,
        ServiceDeploymentStatus::RollbackRequested,
        ServiceDeploymentStatus::RollbackInProgress,
        ServiceDeploymentStatus::RollbackSuccessful,
        ServiceDeploymentStatus::RollbackFailed,
    ];

    #[test]
    fn service_deployment_that_is_over_stays_so_and_one_that_is_not_can_be_stopped_or_is_rolled_back() {
        use ServiceDeploymentStatus as S;
        for status in ALL {
            assert!(!status.may_become(status), "{status:?}");
            let next: Vec<S> = ALL.into_iter().filter(|next| status.may_become(*next)).collect();
            assert_eq!(next.is_empty(), status.is_over(), "{status:?}: {next:?}");
        }
        assert!(
            !S::RollbackRequested.may_become(S::Successful),
            "the request would be lost"
        );
        assert!(
            !S::StopRequested.may_become(S::RollbackInProgress),
            "the request would be lost"
        );
    }
}
