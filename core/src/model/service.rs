//! Services and their deployments.

use std::sync::Arc;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderStrategy, DeploymentConfiguration, DeploymentController, DeploymentId, ManagedDaemon,
    NetworkConfiguration, PlacementConstraint, PlacementStrategy, PlatformVersion, ServiceDeployment,
    ServiceDeploymentStatus, ServiceKey, ServiceRevision, Tags, TaskDefinitionKey, TaskSet, Timestamp, attribute_names,
};

/// Whether a service is kept at its desired count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// Kept at its desired count.
    Active,
    /// Deleted, with tasks that have not stopped yet.
    Draining,
    /// Deleted, and without tasks.
    Inactive,
}

/// How many tasks a service wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SchedulingStrategy {
    /// A number of them.
    Replica,
    /// One on each host.
    Daemon,
}

/// What a daemon service, which has one task on each host, has no use for (ECS's rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedByDaemon {
    /// There are as many tasks as hosts.
    #[error("a daemon service has no desired count")]
    DesiredCount,
    /// There is no host to prefer.
    #[error("a daemon service has no placement strategy")]
    PlacementStrategy,
    /// It has a task on each host, whichever pool the host is in.
    #[error("a daemon service has no capacity provider strategy")]
    CapacityProviderStrategy,
    /// No host has two tasks anyway.
    #[error("a daemon service has no distinctInstance constraint")]
    DistinctInstance,
    /// A task set has a share of the desired count.
    #[error("a daemon service has no task sets")]
    TaskSets,
}

/// Why the tasks of a service cannot be brought back to evenness over availability zones (ECS's rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoZoneRebalancing {
    /// It has a task on each host.
    #[error("a daemon service has a task on each host")]
    Daemon,
    /// Its task sets are nobody's but the deployer's.
    #[error("the service is deployed by task sets")]
    TaskSets,
    /// Something else comes first.
    #[error("its first placement strategy does not spread over availability zones")]
    OtherStrategy,
    /// There may be no replacement beside the task that moves.
    #[error("its maximumPercent is 100")]
    FullMaximum,
}

/// Where a service's tasks get tags from, beside their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PropagateTags {
    /// Nowhere.
    None,
    /// Their task definition.
    TaskDefinition,
    /// Their service.
    Service,
}

/// Role of a deployment within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeploymentStatus {
    /// The newest: what the service should be.
    Primary,
    /// Older, with tasks that are being replaced.
    Active,
    /// Older, and without tasks.
    Inactive,
}

/// How far a deployment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RolloutState {
    /// Under way.
    InProgress,
    /// At its desired count, alone.
    Completed,
    /// Stopped by the circuit breaker.
    Failed,
}

/// Failures to start in a row, and when the next try may be: kept in the replicated state, so that a new leader
/// neither forgets nor doubles a back-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBackoff {
    /// Tasks of the deployment that failed to start or to stay up, one soon after the other.
    pub consecutive_failures: u32,
    /// When the last of them failed.
    pub last_failure_at: Timestamp,
    /// No new task before this moment.
    pub not_before: Timestamp,
}

/// One version of what a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Its role.
    pub status: DeploymentStatus,
    /// What it runs.
    pub task_definition: TaskDefinitionKey,
    /// How far it has come.
    pub rollout_state: RolloutState,
    /// Why it is there, in a sentence.
    pub rollout_state_reason: String,
    /// Tasks that failed to start or to stay up since one was healthy last, or since the beginning where the circuit breaker is not to
    /// reset.
    pub failed_tasks: u32,
    /// Back-off of starts.
    pub backoff: StartBackoff,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Deployment {
    /// One that begins now, and is the primary.
    #[must_use]
    pub fn new(id: DeploymentId, task_definition: TaskDefinitionKey, now: Timestamp) -> Self {
        Self {
            rollout_state_reason: format!("ECS deployment {id} in progress."),
            id,
            status: DeploymentStatus::Primary,
            task_definition,
            rollout_state: RolloutState::InProgress,
            failed_tasks: 0,
            backoff: StartBackoff::default(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// What happened to a service, in ECS's own sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEvent {
    /// UUID.
    pub id: String,
    /// When.
    pub created_at: Timestamp,
    /// What.
    pub message: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its key.
    pub key: ServiceKey,
    /// Whether it is kept at its desired count.
    pub status: ServiceStatus,
    /// Replica or daemon.
    pub scheduling_strategy: SchedulingStrategy,
    /// Tasks wanted; for a daemon service, as many as hosts.
    pub desired_count: u32,
    /// `EC2` or `FARGATE` where the caller named a launch type.
    pub launch_type: Option<String>,
    /// How its tasks are divided among capacity providers; they go to any host where it is empty. With
    /// [`Feature::CapacityProviders`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_provider_strategy: CapacityProviderStrategy,
    /// The platform version that it asks for, where its tasks are of the launch type `FARGATE`. With
    /// [`Feature::FargatePlatform`](crate::state::Feature) alone, unless it is the newest.
    #[serde(default, skip_serializing_if = "PlatformVersion::is_latest")]
    pub platform_version: PlatformVersion,
    /// Where its tasks get their addresses from, if they have some of their own. With
    /// [`Feature::TaskNetworkInterfaces`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    /// Constraints on its tasks, beside those of their definition.
    pub placement_constraints: Vec<PlacementConstraint>,
    /// Preferences for its tasks.
    pub placement_strategy: Vec<PlacementStrategy>,
    /// Who decides what it runs.
    #[serde(default, skip_serializing_if = "DeploymentController::is_ecs")]
    pub deployment_controller: DeploymentController,
    /// What it runs where something outside the cluster decides that, the oldest first. With
    /// [`Feature::TaskSets`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_sets: Vec<TaskSet>,
    /// Whether its tasks are brought back to evenness over availability zones. With
    /// [`Feature::ZoneRebalancing`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zone_rebalancing: bool,
    /// What it has as a managed daemon, if it is one. With [`Feature::ManagedDaemons`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_daemon: Option<Box<ManagedDaemon>>,
    /// How deployments proceed.
    pub deployment_configuration: DeploymentConfiguration,
    /// Deployments, the primary first, then from new to old; none where something outside the cluster decides what it runs.
    pub deployments: Vec<Deployment>,
    /// Task definition of the last deployment that completed: where a rollback goes, without
    /// [`Feature::ServiceDeployments`](crate::state::Feature).
    pub last_completed: Option<TaskDefinitionKey>,
    /// What has been deployed, the newest first. With [`Feature::ServiceDeployments`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Vector::is_empty")]
    pub service_deployments: Vector<Arc<ServiceDeployment>>,
    /// The last 100 events, the newest first.
    pub events: Vector<ServiceEvent>,
    /// Whether the last thing said was that a steady state was reached.
    pub steady: bool,
    /// Seconds from a task's start in which its health checks may fail; `None` means 0. With
    /// [`Feature::ContainerHealth`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_secs: Option<u32>,
    /// Where tasks get tags from.
    pub propagate_tags: PropagateTags,
    /// Whether tasks are tagged with cluster and service.
    pub enable_ecs_managed_tags: bool,
    /// Tags.
    pub tags: Tags,
    /// When it was created.
    pub created_at: Timestamp,
    /// ARN of the identity that created it.
    pub created_by: String,
    /// Digest of the request that created it: the same request again is no error and changes nothing.
    pub request_digest: String,
    /// When it became `INACTIVE`.
    pub inactive_since: Option<Timestamp>,
}

impl Service {
    /// The deployment called `id`.
    #[must_use]
    pub fn deployment(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.iter().find(|d| d.id == *id)
    }

    /// The primary deployment; absent only in a service that is deleted or has task sets.
    #[must_use]
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments
            .first()
            .filter(|d| d.status == DeploymentStatus::Primary)
    }

    /// The deployment that new tasks are of: the primary one; where that has failed, the newest older one that has not and is there
    /// still. So a revision that does not start, with none that completed before it to return to, leaves what runs alive. As long as the
    /// primary one is not to have tasks yet, it is the one that serves until then.
    #[must_use]
    pub fn starting_deployment(&self) -> Option<&Deployment> {
        let primary = self.primary()?;
        if let Some(current) = self.current_service_deployment().filter(|d| d.is_before_scale_up()) {
            return match &current.serving {
                Some(serving) => self.deployment(serving),
                None => self.older_deployment(),
            };
        }
        if primary.rollout_state != RolloutState::Failed {
            return Some(primary);
        }
        self.older_deployment().or(Some(primary))
    }

    /// The newest deployment before the primary one that was not given up.
    fn older_deployment(&self) -> Option<&Deployment> {
        let runs_on = |d: &&Deployment| d.status == DeploymentStatus::Active && d.rollout_state != RolloutState::Failed;
        self.deployments.iter().find(runs_on)
    }

    /// The newest of its service deployments, which alone can be under way.
    #[must_use]
    pub fn current_service_deployment(&self) -> Option<&ServiceDeployment> {
        self.service_deployments.front().map(Arc::as_ref)
    }

    /// The service deployment that is not over, if one is.
    #[must_use]
    pub fn service_deployment_under_way(&self) -> Option<&ServiceDeployment> {
        self.current_service_deployment().filter(|d| !d.status.is_over())
    }

    /// The service deployment called `id`, as long as it is remembered.
    #[must_use]
    pub fn service_deployment(&self, id: &DeploymentId) -> Option<&ServiceDeployment> {
        let mut all = self.service_deployments.iter();
        all.find(|deployment| deployment.id() == id).map(Arc::as_ref)
    }

    /// The service with what tasks of one of its revisions depend on.
    #[must_use]
    pub fn as_of(&self, revision: &DeploymentId) -> Self {
        let mut service = self.clone();
        if let Some(revision) = self.service_deployment(revision).map(|known| &known.revision) {
            service
                .capacity_provider_strategy
                .clone_from(&revision.capacity_provider_strategy);
            service.launch_type.clone_from(&revision.launch_type);
            service
                .network_configuration
                .clone_from(&revision.network_configuration);
            if let Some(daemon) = &revision.daemon {
                service.take_daemon_revision(daemon);
            }
        }
        service
    }

    /// The last revision that it has reached: where a rollback of what is under way goes.
    #[must_use]
    pub fn last_reached(&self) -> Option<&ServiceRevision> {
        let mut all = self.service_deployments.iter();
        let reached = all.find(|deployment| deployment.status == ServiceDeploymentStatus::Successful)?;
        Some(&reached.revision)
    }

    /// Whether its tasks can be brought back to evenness over availability zones, should it ask for that.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check_zone_rebalancing(&self) -> Result<(), NoZoneRebalancing> {
        let zones_first = match self.placement_strategy.first() {
            None => true,
            Some(PlacementStrategy::Spread { field }) => {
                field.strip_prefix("attribute:") == Some(attribute_names::AVAILABILITY_ZONE)
            }
            Some(_) => false,
        };
        match self.scheduling_strategy {
            SchedulingStrategy::Daemon => Err(NoZoneRebalancing::Daemon),
            SchedulingStrategy::Replica if self.is_external() => Err(NoZoneRebalancing::TaskSets),
            SchedulingStrategy::Replica if !zones_first => Err(NoZoneRebalancing::OtherStrategy),
            SchedulingStrategy::Replica if self.deployment_configuration.maximum_percent <= 100 => {
                Err(NoZoneRebalancing::FullMaximum)
            }
            SchedulingStrategy::Replica => Ok(()),
        }
    }

    /// Whether its scheduling strategy supports how its tasks are to be placed.
    ///
    /// # Errors
    /// What it does not support.
    pub fn check_placement(&self) -> Result<(), UnsupportedByDaemon> {
        let distinct = || {
            self.placement_constraints
                .contains(&PlacementConstraint::DistinctInstance)
        };
        match self.scheduling_strategy {
            SchedulingStrategy::Replica => Ok(()),
            SchedulingStrategy::Daemon if !self.placement_strategy.is_empty() => {
                Err(UnsupportedByDaemon::PlacementStrategy)
            }
            SchedulingStrategy::Daemon if !self.capacity_provider_strategy.is_empty() && !self.is_managed_daemon() => {
                Err(UnsupportedByDaemon::CapacityProviderStrategy)
            }
            SchedulingStrategy::Daemon if self.is_external() => Err(UnsupportedByDaemon::TaskSets),
            SchedulingStrategy::Daemon if distinct() => Err(UnsupportedByDaemon::DistinctInstance),
            SchedulingStrategy::Daemon => Ok(()),
        }
    }
}
