//! What managed daemons say, from the page "Daemon events" of ECS's developer guide: how far their deployments are, and where their tasks do not
//! start. Pure.

use super::Subject;
use crate::model::{
    CapacityProviderName, ContainerInstanceId, DeploymentId, Service, ServiceDeployment, ServiceDeploymentStatus,
    ServiceKey, ServiceStatus, StopCode, Task, TaskDefinitionKey, TaskId, TaskStatus, Timestamp,
};
use crate::placement;
use crate::state::{ClusterState, TaskChange};

/// What a daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonNews {
    /// One of its deployments began or has come further.
    Deployment {
        /// Its id.
        id: DeploymentId,
        /// How far it is.
        status: ServiceDeploymentStatus,
        /// Why, in a sentence.
        reason: Option<String>,
        /// Whether it brings the revision that has its number; that which deletes the daemon brings none.
        has_target: bool,
    },
    /// Its task does not start on a host.
    TaskStartImpaired {
        /// The revision.
        revision: DeploymentId,
        /// What that runs.
        task_definition: TaskDefinitionKey,
        /// The host; nothing where no sentence names one.
        host: Option<ContainerInstanceId>,
        /// The capacity provider of the host.
        capacity_provider: Option<CapacityProviderName>,
        /// The task, if there was one.
        task: Option<TaskId>,
        /// Why, in a sentence.
        reason: String,
    },
}

/// What is to be said of a daemon that was as `before` and is as `now`.
pub(super) fn changes(
    state: &ClusterState,
    before: Option<&Service>,
    now: &Service,
    at: Timestamp,
) -> Vec<(Timestamp, Subject)> {
    let subject = |news: DaemonNews| Subject::Daemon {
        daemon: now.key.clone(),
        news,
    };
    let is_news = |deployment: &&ServiceDeployment| {
        let known = before.and_then(|before| before.service_deployment(deployment.id()));
        known.is_none_or(|known| known.status != deployment.status)
    };
    // From old to new: one that was superseded is told before the one that took its place.
    let deployments = now.service_deployments.iter().rev().map(AsRef::as_ref);
    let mut said: Vec<(Timestamp, Subject)> = deployments
        .filter(is_news)
        .map(|deployment| (at, subject(news_of(now, deployment))))
        .collect();
    for event in super::service::new_sentences(before, now).into_iter().rev() {
        let Some((closest, primary)) = placement::closest_of(&event.message).zip(now.primary()) else {
            continue;
        };
        let host = closest.host.and_then(|id| state.container_instance(id));
        let news = DaemonNews::TaskStartImpaired {
            revision: primary.id.clone(),
            task_definition: primary.task_definition.clone(),
            host: closest.host,
            capacity_provider: host.and_then(|host| now.pool_of(host)),
            task: None,
            reason: closest.reason,
        };
        said.push((event.created_at, subject(news)));
    }
    said
}

fn news_of(daemon: &Service, deployment: &ServiceDeployment) -> DaemonNews {
    let newest = daemon.current_service_deployment();
    let is_newest = newest.is_some_and(|newest| newest.id() == deployment.id());
    DaemonNews::Deployment {
        id: deployment.id().clone(),
        status: deployment.status,
        reason: deployment.status_reason.clone(),
        has_target: daemon.status == ServiceStatus::Active || !is_newest,
    }
}

/// What a task of a daemon says that ends before it ever ran, by itself.
pub(super) fn failed_to_run(daemon: &ServiceKey, task: &Task, change: &TaskChange) -> Option<Subject> {
    let never_ran = change.from.is_some_and(|from| from < TaskStatus::Running) && change.to > TaskStatus::Running;
    let by_itself = matches!(
        task.stop_code,
        Some(StopCode::TaskFailedToStart | StopCode::EssentialContainerExited)
    );
    let revision = task.deployment().filter(|_| never_ran && by_itself)?;
    let reason = task.stopped_reason.as_deref().unwrap_or_default();
    Some(Subject::Daemon {
        daemon: daemon.clone(),
        news: DaemonNews::TaskStartImpaired {
            revision: revision.clone(),
            task_definition: task.task_definition.clone(),
            host: task.container_instance,
            capacity_provider: task.capacity_provider.clone(),
            task: Some(task.id),
            reason: format!("Task failed to reach RUNNING status: {reason}"),
        },
    })
}
