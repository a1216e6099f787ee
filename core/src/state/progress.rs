//! What reconcilers found out, as commands carry it: of services and their deployments, of task sets, of moves. Pure data.

use serde::{Deserialize, Serialize};

use crate::model::{
    ClusterKey, ContainerInstanceId, Deployment, DeploymentId, DeploymentStatus, Lifecycle, MoveStatus, RolloutState,
    ServiceDeploymentStatus, ServiceEvent, ServiceKey, Timestamp, Traffic,
};

/// What a reconciler found out about a task set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSetProgress {
    /// Which.
    pub id: DeploymentId,
    /// Whether it has the tasks that it wants, and no other.
    pub steady: bool,
    /// Whether it was deleted and has no more tasks.
    pub is_gone: bool,
}

/// What a reconciler found out about a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceProgress {
    /// Which service.
    pub service: ServiceKey,
    /// How its deployments are; those not named stay as they are.
    pub deployments: Vec<DeploymentProgress>,
    /// Deployments that are over, to be dropped from the list.
    pub retired: Vec<DeploymentId>,
    /// A deployment that begins, back to the last that completed, since the primary one is given up. One that the service has still takes
    /// up its tasks again.
    pub rollback: Option<Deployment>,
    /// How the service deployment that is under way is now. With [`Feature::ServiceDeployments`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_deployment: Option<ServiceDeploymentProgress>,
    /// How its task sets are; those not named stay as they are. With [`Feature::TaskSets`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_sets: Vec<TaskSetProgress>,
    /// Where the service deployment that is under way is now. With [`Feature::DeploymentStrategies`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<LifecycleProgress>,
    /// Events to add, the oldest first.
    pub events: Vec<ServiceEvent>,
    /// Whether the service is in a steady state; `None` leaves as is.
    pub steady: Option<bool>,
    /// Whether a deleted service has no more tasks and is now `INACTIVE`.
    pub inactive: bool,
    /// New desired count of a daemon service: one task for each host that takes it.
    pub daemon_desired_count: Option<u32>,
    /// Hosts that a managed daemon, which is critical, has been away from for so long that other tasks are to leave them. With
    /// [`Feature::ManagedDaemons`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts_given_up: Vec<ContainerInstanceId>,
    /// Now.
    pub at: Timestamp,
}

impl ServiceProgress {
    /// A finding that says nothing yet.
    #[must_use]
    pub fn nothing_new(service: ServiceKey, at: Timestamp) -> Self {
        Self {
            service,
            deployments: vec![],
            retired: vec![],
            rollback: None,
            service_deployment: None,
            task_sets: vec![],
            lifecycle: None,
            events: vec![],
            steady: None,
            inactive: false,
            daemon_desired_count: None,
            hosts_given_up: vec![],
            at,
        }
    }
}

/// How a deployment is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentProgress {
    /// Which.
    pub id: DeploymentId,
    /// Its role.
    pub status: DeploymentStatus,
    /// How far it has come.
    pub rollout_state: RolloutState,
    /// Why it is there, in a sentence.
    pub rollout_state_reason: String,
    /// Whether one of its tasks is healthy, so that failures count from zero again. With
    /// [`Feature::ResetOnHealthyTask`](super::Feature) alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resets_failed_tasks: bool,
}

/// How a service deployment is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDeploymentProgress {
    /// Which; the newest of its service.
    pub id: DeploymentId,
    /// How far it has come.
    pub status: ServiceDeploymentStatus,
    /// Why, in a sentence; `None` leaves as is.
    pub reason: Option<String>,
    /// Whether the circuit breaker gave its revision up.
    pub by_circuit_breaker: bool,
}

/// Where a service deployment is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleProgress {
    /// Which; the newest of its service.
    pub id: DeploymentId,
    /// Its stage, one turn after the one that it was found in.
    pub lifecycle: Lifecycle,
    /// What each revision is to get of traffic from now on.
    pub traffic: Traffic,
    /// The revision that serves instead of the one that was chosen; nothing leaves as is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingRevision>,
}

/// The revision that serves until traffic is shifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingRevision {
    /// Which; nothing where none does.
    pub id: Option<DeploymentId>,
}

/// What a reconciler found out about moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebalanceProgress {
    /// The cluster.
    pub cluster: ClusterKey,
    /// Id of the rebalancing.
    pub rebalance: String,
    /// Moves, counted from 0, and how far each has come.
    pub moves: Vec<(u32, MoveStatus)>,
    /// Hosts that are `DRAINING` now, since their last task has moved.
    pub drained: Vec<ContainerInstanceId>,
    /// Whether nothing is left to do.
    pub ended: bool,
    /// Now.
    pub at: Timestamp,
}
