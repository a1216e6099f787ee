//! Names that many tasks have in common are kept once: a command or a snapshot brings each task its own. Pure.

use crate::model::{Task, TaskOrigin};

use super::ClusterState;

/// Gives a task that is new to the state the names of what it belongs to.
pub(super) fn share_names(state: &ClusterState, task: &mut Task) {
    if let Some(cluster) = state.clusters.get(&task.cluster) {
        task.cluster = cluster.key.clone();
    }
    if let Some(definition) = state.task_definitions.get(&task.task_definition) {
        task.task_definition = definition.key.clone();
    }
    if let TaskOrigin::Service { service, deployment } = &mut task.origin
        && let Some(known) = state.services.get(service)
    {
        *service = known.key.clone();
        if let Some(known) = known.deployment(deployment) {
            *deployment = known.id.clone();
        }
    }
}

/// Gives a task that is put into the state the texts of its containers that another task of its service has already: they have the same
/// containers, as long as the service deploys nothing else.
pub(super) fn share_containers(state: &ClusterState, task: &mut Task) {
    let sibling = task
        .service()
        .and_then(|service| state.tasks_of_service(service).next());
    if let Some(sibling) = sibling.filter(|sibling| sibling.id != task.id) {
        share_with(sibling, task);
    }
}

fn share_with(sibling: &Task, task: &mut Task) {
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
