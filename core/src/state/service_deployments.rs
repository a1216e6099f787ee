//! What services remember of their deployments: revisions and service deployments begin, proceed, are stopped and forgotten. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ContainerImage, CountedFailures, Deployment, DeploymentId, DeploymentStatus, DesiredStatus, RolloutState, Service,
    ServiceDeployment, ServiceDeploymentStatus, ServiceKey, ServiceRevision, ServiceRollback, ServiceStatus,
    SourceRevision, Task, TaskCounts, TaskDefinitionKey, TaskStatus, Timestamp,
};

use super::command::StopType;
use super::progress::ServiceDeploymentProgress;
use super::{ClusterState, Event, Feature, Rejection, alarms, lifecycle, services};

/// Service deployments that a service remembers, and the revisions that they are for: as many as one DescribeServiceDeployments takes. ECS
/// keeps them for 90 days; here each is in memory on every member, and there are many services.
pub const MAX_SERVICE_DEPLOYMENTS: usize = 20;

/// Why service deployments stop that did not fail, and that nobody told to.
const SUPERSEDED: &str = "A newer service deployment took its place.";
const DELETED: &str = "The service was deleted.";
const DELETED_DAEMON: &str = "The daemon was deleted.";

/// Remembers that a deployment of `service` began, its primary one; what was under way is superseded.
pub(super) fn begin(state: &ClusterState, service: &mut Service, at: Timestamp) {
    if !state.uses(Feature::ServiceDeployments) {
        return;
    }
    abandon(state, service, SUPERSEDED, at);
    let Some(primary) = service.primary() else { return };
    let mut revision = revision(state, service, primary);
    // Each is younger than the one before, whatever clocks say: lists go by that.
    if let Some(previous) = service.current_service_deployment() {
        revision.created_at = revision.created_at.max(previous.created_at.plus_ms(1));
    }
    let mut begun = ServiceDeployment::new(revision, service.deployment_configuration.clone());
    begun.sources = sources(service);
    lifecycle::prepare(state, service, &mut begun);
    alarms::monitor(state, &service.key.cluster.scope, &mut begun);
    service.service_deployments.push_front(Arc::new(begun));
    forget_surplus(service);
}

/// Remembers that a managed daemon is being deleted, which is a deployment that leaves nothing of it.
pub(super) fn begin_deletion(state: &ClusterState, daemon: &mut Service, id: &DeploymentId, at: Timestamp) {
    abandon(state, daemon, DELETED_DAEMON, at);
    let Some(last) = daemon.current_service_deployment() else {
        return;
    };
    let revision = ServiceRevision {
        id: id.clone(),
        created_at: at.max(last.created_at.plus_ms(1)),
        ..last.revision.clone()
    };
    let mut begun = ServiceDeployment::new(revision, last.configuration.clone());
    begun.sources = daemon.deployments.iter().map(source).collect();
    daemon.service_deployments.push_front(Arc::new(begun));
    forget_surplus(daemon);
}

/// Leaves what is under way where it is, since the service is deleted.
pub(super) fn end_with_service(state: &ClusterState, service: &mut Service, at: Timestamp) {
    abandon(state, service, DELETED, at);
}

fn abandon(state: &ClusterState, service: &mut Service, reason: &str, at: Timestamp) {
    let Some(current) = service.service_deployment_under_way() else {
        return;
    };
    let id = current.id().clone();
    let found = ServiceDeploymentProgress {
        id,
        status: ServiceDeploymentStatus::Stopped,
        reason: Some(reason.to_owned()),
        by_circuit_breaker: false,
    };
    proceed(state, service, &found, None, at);
}

/// What is under way proceeds by the configuration that the service has now, but for the stages that it goes through.
pub(super) fn set_configuration(service: &mut Service) {
    let Some(current) = service.service_deployments.front_mut() else {
        return;
    };
    let configuration = service.deployment_configuration.on_the_way_of(&current.configuration);
    if !current.status.is_over() && current.configuration != configuration {
        Arc::make_mut(current).configuration = configuration;
    }
}

/// What a reconciler found out about the service deployment that is under way, and, with it, that the service returns to `rollback`.
pub(super) fn record(
    state: &ClusterState,
    service: &mut Service,
    found: &ServiceDeploymentProgress,
    rollback: Option<&Deployment>,
    at: Timestamp,
) -> Result<(), Rejection> {
    let stale = |what: &str| Rejection::Stale(format!("service deployment {} {what}", found.id.number()));
    let current = service.current_service_deployment().filter(|d| *d.id() == found.id);
    let current = current.ok_or_else(|| stale("is not the newest"))?;
    if !current.status.may_become(found.status) {
        return Err(stale("was told otherwise meanwhile"));
    }
    let returns = found.status == ServiceDeploymentStatus::RollbackInProgress;
    let to = rollback.map(|to| &to.id);
    if returns && to.is_none_or(|to| service.service_deployment(to).is_none()) {
        return Err(stale("has no revision to return to"));
    }
    proceed(state, service, found, to, at);
    Ok(())
}

/// Changes the newest service deployment, and keeps of its tasks what will not be known later.
fn proceed(
    state: &ClusterState,
    service: &mut Service,
    found: &ServiceDeploymentProgress,
    rollback: Option<&DeploymentId>,
    at: Timestamp,
) {
    let Some(mut current) = service.service_deployments.front().map(|d| ServiceDeployment::clone(d)) else {
        return;
    };
    if !found.status.is_forward() && current.failures.is_none() {
        let failed = service.deployment(current.id()).map_or(0, |d| d.failed_tasks);
        let breaker = current.configuration.circuit_breaker;
        current.failures = Some(CountedFailures {
            failed_tasks: failed,
            threshold: breaker.threshold_for(service.desired_count),
            triggered: found.by_circuit_breaker,
        });
    }
    current.status = found.status;
    if found.reason.is_some() {
        current.status_reason.clone_from(&found.reason);
    }
    current.updated_at = at;
    current.started_at = current.started_at.or(Some(at));
    if let Some(revision) = rollback {
        current.rollback = Some(ServiceRollback {
            reason: found.reason.clone().unwrap_or_default(),
            started_at: at,
            revision: revision.clone(),
        });
    }
    lifecycle::follow(&mut current, at);
    if found.status.is_over() {
        current.finished_at = Some(at);
        let counts = state.task_counts(&service.key);
        current.tasks = counts.of(service, current.id());
        for source in &mut current.sources {
            source.tasks = counts.of(service, &source.id);
        }
        if found.status == ServiceDeploymentStatus::Successful {
            let id = current.id().clone();
            let tasks = || state.live_tasks_of_service(&service.key);
            name_digests(
                &mut current.revision.images,
                tasks().filter(|t| t.deployment() == Some(&id)),
            );
        }
    }
    if found.status == ServiceDeploymentStatus::Stopped {
        current.stopped_at = Some(at);
    }
    service.service_deployments.set(0, Arc::new(current));
}

/// Asks for the end of a service deployment.
pub(super) fn stop(
    state: &mut ClusterState,
    key: &ServiceKey,
    id: &DeploymentId,
    stop: StopType,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    use ServiceDeploymentStatus as S;
    let not_found = || Rejection::ServiceDeploymentNotFound(key.clone(), id.clone());
    let service = state.service(key).ok_or_else(not_found)?;
    let found = service.service_deployment(id).ok_or_else(not_found)?;
    if found.status.is_over() {
        return Err(Rejection::ServiceDeploymentOver(key.clone(), id.clone()));
    }
    let requested = match stop {
        StopType::Rollback => S::RollbackRequested,
        StopType::Abort => S::StopRequested,
    };
    // What stops or returns already goes on (ECS's rule).
    if !found.status.may_become(requested) {
        return Ok(vec![]);
    }
    if stop == StopType::Rollback && service.last_reached().is_none() {
        return Err(Rejection::NoRevisionToReturnTo(key.clone()));
    }
    let mut service = Service::clone(service);
    let requested = ServiceDeploymentProgress {
        id: id.clone(),
        status: requested,
        reason: None,
        by_circuit_breaker: false,
    };
    record(state, &mut service, &requested, None, at)?;
    Ok(services::put(state, service))
}

/// Gives services that are older than service deployments those that follow from what they have.
pub(super) fn derive(state: &mut ClusterState) {
    let without =
        |service: &&Arc<Service>| service.status != ServiceStatus::Inactive && service.service_deployments.is_empty();
    let older: Vec<Service> = state
        .services
        .values()
        .filter(without)
        .map(|s| Service::clone(s))
        .collect();
    for mut service in older {
        let known = service.deployments.iter();
        let mut derived: Vec<ServiceDeployment> = known.map(|d| from_deployment(state, &service, d)).collect();
        if let Some(lost) = &service.last_completed {
            let reached = derived
                .iter()
                .position(|d| d.status == ServiceDeploymentStatus::Successful);
            if reached.is_none_or(|at| derived[at].revision.task_definition != *lost) {
                let place = reached.unwrap_or(derived.len());
                derived.insert(place, from_last_completed(state, &service, lost));
            }
        }
        service.service_deployments = derived.into_iter().map(Arc::new).collect();
        forget_surplus(&mut service);
        state.services.insert(service.key.clone(), Arc::new(service));
    }
}

fn from_deployment(state: &ClusterState, service: &Service, deployment: &Deployment) -> ServiceDeployment {
    let is_primary = deployment.status == DeploymentStatus::Primary && service.status == ServiceStatus::Active;
    let status = match deployment.rollout_state {
        RolloutState::Completed => ServiceDeploymentStatus::Successful,
        RolloutState::InProgress if is_primary => ServiceDeploymentStatus::InProgress,
        RolloutState::InProgress | RolloutState::Failed => ServiceDeploymentStatus::Stopped,
    };
    let over_at = status.is_over().then_some(deployment.updated_at);
    ServiceDeployment {
        status,
        status_reason: Some(deployment.rollout_state_reason.clone()),
        started_at: Some(deployment.created_at),
        updated_at: deployment.updated_at,
        finished_at: over_at,
        stopped_at: over_at.filter(|_| status == ServiceDeploymentStatus::Stopped),
        ..ServiceDeployment::new(
            revision(state, service, deployment),
            service.deployment_configuration.clone(),
        )
    }
}

/// What completed last and has no tasks any more. Its number is the moment at which the service was created, which no other has.
fn from_last_completed(state: &ClusterState, service: &Service, lost: &TaskDefinitionKey) -> ServiceDeployment {
    let id = DeploymentId::of_number(&service.created_at.0.to_string());
    let mut deployment = Deployment::new(id, lost.clone(), service.created_at);
    deployment.rollout_state = RolloutState::Completed;
    deployment.rollout_state_reason = format!("ECS deployment {} completed.", deployment.id);
    from_deployment(state, service, &deployment)
}

fn revision(state: &ClusterState, service: &Service, deployment: &Deployment) -> ServiceRevision {
    let definition = state.task_definition(&deployment.task_definition);
    let containers = definition.iter().flat_map(|definition| &definition.containers);
    let images = containers.map(|container| ContainerImage {
        container: container.name.clone(),
        image: container.image.clone(),
        digest: None,
    });
    ServiceRevision {
        id: deployment.id.clone(),
        task_definition: deployment.task_definition.clone(),
        launch_type: service.launch_type.clone(),
        capacity_provider_strategy: service.capacity_provider_strategy.clone(),
        network_configuration: service.network_configuration.clone(),
        daemon: service.daemon_revision(),
        images: images.collect(),
        created_at: deployment.created_at,
    }
}

/// The revisions that a service has beside the primary one.
fn sources(service: &Service) -> Vec<SourceRevision> {
    service.deployments.iter().skip(1).map(source).collect()
}

fn source(deployment: &Deployment) -> SourceRevision {
    SourceRevision {
        id: deployment.id.clone(),
        tasks: TaskCounts::default(),
    }
}

/// Says of images what hosts found them to be.
pub(super) fn name_digests<'t>(images: &mut [ContainerImage], tasks: impl Iterator<Item = &'t Arc<Task>>) {
    for container in tasks.flat_map(|task| &task.containers) {
        let unknown = images.iter_mut().filter(|image| image.digest.is_none());
        for image in unknown.filter(|image| *image.container == *container.name) {
            image.digest.clone_from(&container.image_digest);
        }
    }
}

/// Forgets the oldest service deployments, but for the newest, those whose tasks the service may have, and the one that it returns to.
fn forget_surplus(service: &mut Service) {
    let mut surplus = service
        .service_deployments
        .len()
        .saturating_sub(MAX_SERVICE_DEPLOYMENTS);
    if surplus == 0 {
        return;
    }
    let returns_to = service.last_reached().map(|revision| revision.id.clone());
    let mut kept: Vec<Arc<ServiceDeployment>> = vec![];
    for (age, deployment) in service.service_deployments.iter().enumerate().rev() {
        let is_needed =
            age == 0 || Some(deployment.id()) == returns_to.as_ref() || service.deployment(deployment.id()).is_some();
        if surplus > 0 && !is_needed {
            surplus -= 1;
        } else {
            kept.push(Arc::clone(deployment));
        }
    }
    service.service_deployments = kept.into_iter().rev().collect();
}

/// The tasks of a service and of each of its deployments that has any, from one look at them.
#[derive(Clone, Debug, Default)]
pub struct ServiceTaskCounts<'s> {
    /// All of them.
    pub all: TaskCounts,
    by_deployment: BTreeMap<&'s DeploymentId, TaskCounts>,
}

impl ServiceTaskCounts<'_> {
    /// Those of one deployment of `service`; of the primary one, as many are requested as the service wants.
    #[must_use]
    pub fn of(&self, service: &Service, deployment: &DeploymentId) -> TaskCounts {
        let mut counts = self.by_deployment.get(deployment).copied().unwrap_or_default();
        if service.primary().is_some_and(|primary| primary.id == *deployment) {
            counts.requested = service.desired_count;
        }
        counts
    }
}

fn add(counts: &mut TaskCounts, task: &Task) {
    let is_wanted = task.desired_status == DesiredStatus::Running;
    counts.requested += u32::from(is_wanted);
    counts.running += u32::from(task.last_status == TaskStatus::Running);
    counts.pending += u32::from(task.last_status < TaskStatus::Running && is_wanted);
}

impl ClusterState {
    /// The counts of a service's tasks.
    #[must_use]
    pub fn task_counts(&self, service: &ServiceKey) -> ServiceTaskCounts<'_> {
        let mut counts = ServiceTaskCounts::default();
        for task in self.live_tasks_of_service(service) {
            add(&mut counts.all, task);
            if let Some(deployment) = task.deployment() {
                add(counts.by_deployment.entry(deployment).or_default(), task);
            }
        }
        counts
    }

    /// The images of a revision of `service`; where it has not been reached, with the digests that hosts have told of its tasks so far.
    #[must_use]
    pub fn images_of(&self, service: &ServiceKey, revision: &ServiceRevision) -> Vec<ContainerImage> {
        let mut images = revision.images.clone();
        if images.iter().any(|image| image.digest.is_none()) {
            let tasks = self.tasks_of_service(service);
            name_digests(&mut images, tasks.filter(|t| t.deployment() == Some(&revision.id)));
        }
        images
    }
}
