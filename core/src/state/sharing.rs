//! What many tasks have in common is kept once: a command or a snapshot brings each task its own. Pure.

use std::sync::Arc;

use crate::model::{Task, TaskOrigin};

use super::ClusterState;

/// Tasks of a service among which one like another is looked for: enough where two revisions run beside each other, and no burden where
/// there are thousands.
const SIBLINGS: usize = 4;

/// Gives a task that is put into the state what another of its deployment has already: its blueprint, if it is the same, and the texts of its
/// containers. One that is new and the first of its kind gets the names of what it belongs to.
pub(super) fn share(state: &ClusterState, task: &mut Task, is_new: bool) {
    let (id, deployment) = (task.id, task.deployment());
    let siblings = task
        .service()
        .into_iter()
        .flat_map(|key| state.live_tasks_of_service(key));
    let sibling = siblings
        .take(SIBLINGS)
        .find(|sibling| sibling.id != id && sibling.deployment() == deployment)
        .cloned();
    if let Some(sibling) = &sibling {
        share_with(sibling, task);
    }
    if is_new && !sibling.is_some_and(|sibling| Arc::ptr_eq(&sibling.blueprint, &task.blueprint)) {
        share_names(state, task);
    }
}

fn share_names(state: &ClusterState, task: &mut Task) {
    let blueprint = task.blueprint_mut();
    if let Some(cluster) = state.clusters.get(&blueprint.cluster) {
        blueprint.cluster = cluster.key.clone();
    }
    if let Some(definition) = state.task_definitions.get(&blueprint.task_definition) {
        blueprint.task_definition = definition.key.clone();
    }
    if let TaskOrigin::Service { service, deployment } = &mut blueprint.origin
        && let Some(known) = state.services.get(service)
    {
        *service = known.key.clone();
        let of_task_set = known.task_set(deployment).map(|set| &set.id);
        if let Some(known) = known.deployment(deployment).map(|d| &d.id).or(of_task_set) {
            *deployment = known.clone();
        }
    }
}

fn share_with(sibling: &Task, task: &mut Task) {
    if task.blueprint == sibling.blueprint {
        task.blueprint = Arc::clone(&sibling.blueprint);
    }
    if task.capacity_provider == sibling.capacity_provider {
        task.capacity_provider.clone_from(&sibling.capacity_provider);
    }
    for (theirs, own) in sibling.containers.iter().zip(&mut task.containers) {
        if theirs.name == own.name {
            own.name = theirs.name.clone();
        }
        if theirs.image == own.image {
            own.image = theirs.image.clone();
        }
        if theirs.image_digest == own.image_digest {
            own.image_digest.clone_from(&theirs.image_digest);
        }
    }
}
