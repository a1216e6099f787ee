//! Commands on task sets. Pure.

use crate::model::{DeploymentId, Scale, Service, ServiceKey, TaskSet, TaskSetStatus, Timestamp};

use super::progress::TaskSetProgress;
use super::{ClientToken, ClusterState, Event, MAX_TAGS, Rejection, capacity_providers, services};

/// Most task sets that one service can have (ECS: 5).
pub const MAX_TASK_SETS: usize = 5;

pub(super) fn create(
    state: &mut ClusterState,
    key: &ServiceKey,
    task_set: &TaskSet,
    client_token: Option<&ClientToken>,
) -> Result<Vec<Event>, Rejection> {
    if let Some(token) = client_token
        && state.remembered_request(token)?.is_some()
    {
        return Ok(vec![Event::RequestRepeated { tasks: vec![] }]);
    }
    let mut service = external(state, key)?;
    if service.task_sets.len() >= MAX_TASK_SETS {
        return Err(Rejection::TooManyTaskSets(key.clone()));
    }
    if service.runs(&task_set.id) {
        return Err(Rejection::Stale(format!("id {} is in use already", task_set.id)));
    }
    state.active_task_definition(&task_set.task_definition)?;
    capacity_providers::check_associated(state, &key.cluster, &task_set.capacity_provider_strategy)?;
    if task_set.tags.len() > MAX_TAGS {
        return Err(Rejection::TooManyTags);
    }
    if let Some(token) = client_token {
        state.tokens.remember(token, vec![]);
    }
    service.task_sets.push(task_set.clone());
    Ok(put(state, service))
}

pub(super) fn update(
    state: &mut ClusterState,
    key: &ServiceKey,
    id: &DeploymentId,
    scale: Scale,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut service = external(state, key)?;
    let found = find(&mut service, id)?;
    found.scale = scale;
    found.updated_at = at;
    Ok(put(state, service))
}

pub(super) fn make_primary(
    state: &mut ClusterState,
    key: &ServiceKey,
    id: &DeploymentId,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut service = external(state, key)?;
    find(&mut service, id)?;
    for set in &mut service.task_sets {
        let status = match (set.id == *id, set.status) {
            (true, _) => TaskSetStatus::Primary,
            (false, TaskSetStatus::Primary) => TaskSetStatus::Active,
            (false, other) => other,
        };
        if set.status != status {
            set.status = status;
            set.updated_at = at;
        }
    }
    Ok(put(state, service))
}

pub(super) fn delete(
    state: &mut ClusterState,
    key: &ServiceKey,
    id: &DeploymentId,
    force: bool,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut service = external(state, key)?;
    if service
        .task_set(id)
        .is_some_and(|set| set.status == TaskSetStatus::Draining)
    {
        return Ok(vec![]);
    }
    let wanted = service.desired_count;
    let found = find(&mut service, id)?;
    if found.computed_desired_count(wanted) > 0 && !force {
        return Err(Rejection::TaskSetScaledAboveZero(key.clone(), id.clone()));
    }
    found.status = TaskSetStatus::Draining;
    found.updated_at = at;
    Ok(put(state, service))
}

/// What a reconciler found out about task sets of `service`.
pub(super) fn record(
    state: &ClusterState,
    service: &mut Service,
    found: &[TaskSetProgress],
    at: Timestamp,
) -> Result<(), Rejection> {
    for found in found {
        let is_it = |set: &&mut TaskSet| set.id == found.id;
        let stale = |what: &str| Rejection::Stale(format!("task set {} {what}", found.id));
        let set = service
            .task_sets
            .iter_mut()
            .find(is_it)
            .ok_or_else(|| stale("is gone"))?;
        if found.is_gone && set.status != TaskSetStatus::Draining {
            return Err(stale("is not deleted"));
        }
        if set.steady != found.steady {
            set.steady = found.steady;
            set.steady_at = at;
        }
        if found.is_gone {
            let mut tasks = state.live_tasks_of_service(&service.key);
            if tasks.any(|task| task.deployment() == Some(&found.id)) {
                return Err(stale("still has tasks"));
            }
            service.task_sets.retain(|set| set.id != found.id);
        }
    }
    Ok(())
}

/// An active service that has task sets instead of deployments.
fn external(state: &ClusterState, key: &ServiceKey) -> Result<Service, Rejection> {
    let service = state.active_service(key)?;
    match service.is_external() {
        true => Ok(Service::clone(service)),
        false => Err(Rejection::NoTaskSets(key.clone())),
    }
}

/// One of its task sets that is not deleted.
fn find<'a>(service: &'a mut Service, id: &DeploymentId) -> Result<&'a mut TaskSet, Rejection> {
    let key = service.key.clone();
    let mut kept = service
        .task_sets
        .iter_mut()
        .filter(|set| set.status != TaskSetStatus::Draining);
    kept.find(|set| set.id == *id)
        .ok_or_else(|| Rejection::TaskSetNotFound(key, id.clone()))
}

fn put(state: &mut ClusterState, mut service: Service) -> Vec<Event> {
    service.steady = false;
    services::put(state, service)
}
