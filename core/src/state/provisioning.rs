//! Tasks outside services that wait for a host of their capacity provider: how they come to, and how they get one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    CapacityProviderName, ClusterKey, ContainerInstanceId, DesiredStatus, PlacementRecord, Task, TaskId, TaskStatus,
    Timestamp,
};

use super::tasks::{check_room, count_change_of_host, put_changed};
use super::{ClusterState, Event, Feature, Rejection};

/// Tasks of a cluster that can wait for a host at once (ECS's quota "Tasks in the PROVISIONING state per cluster").
pub const MAX_PROVISIONING_TASKS: usize = 500;

/// Where a task goes that waits for a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceTask {
    /// The task.
    pub task: TaskId,
    /// Its host.
    pub container_instance: ContainerInstanceId,
    /// How the host was chosen.
    pub placement: Option<PlacementRecord>,
}

/// Whether a task that has no host can wait for one.
pub(super) fn check(state: &ClusterState, task: &Task) -> Result<(), Rejection> {
    let provider = provider_of(state, task);
    let is_whole = task.provision_until.is_some()
        && task.service().is_none()
        && task.last_status == TaskStatus::Provisioning
        && task.desired_status == DesiredStatus::Running;
    let (Some(provider), true) = (provider, is_whole) else {
        return Err(Rejection::Stale(format!("task {} was not given a host", task.id)));
    };
    if !state
        .active_cluster(&task.cluster)?
        .capacity_providers
        .contains(provider)
    {
        let key = task.cluster.scope.capacity_provider(provider.as_str());
        return Err(Rejection::CapacityProviderNotAssociated(key));
    }
    if state.provisioning_count(&task.cluster) >= MAX_PROVISIONING_TASKS {
        return Err(Rejection::TooManyProvisioningTasks(task.cluster.clone()));
    }
    Ok(())
}

fn provider_of<'t>(state: &ClusterState, task: &'t Task) -> Option<&'t CapacityProviderName> {
    let provider = task.capacity_provider.as_ref();
    provider.filter(|_| state.uses(Feature::ProvisioningTasks))
}

/// Gives all of the tasks their hosts or none: those that have got one are put back as they were where another cannot get its own.
pub(super) fn place(
    state: &mut ClusterState,
    placements: &[PlaceTask],
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut before: Vec<Arc<Task>> = vec![];
    let mut events = vec![];
    for placement in placements {
        match place_one(state, placement, at) {
            Ok((waited, event)) => {
                before.push(waited);
                events.push(event);
            }
            Err(rejection) => {
                before
                    .into_iter()
                    .for_each(|waited| state.put_task(Arc::unwrap_or_clone(waited)));
                return Err(rejection);
            }
        }
    }
    for placement in placements {
        count_change_of_host(state, Some(placement.container_instance));
    }
    Ok(events)
}

fn place_one(state: &mut ClusterState, placement: &PlaceTask, at: Timestamp) -> Result<(Arc<Task>, Event), Rejection> {
    let waiting = state.task(placement.task).filter(|task| task.is_provisioning());
    let Some(waited) = waiting.cloned() else {
        return Err(Rejection::Stale(format!("task {} waits for no host", placement.task)));
    };
    check_room(state, placement.container_instance, &waited)?;
    let task = Task {
        container_instance: Some(placement.container_instance),
        placement: placement.placement.clone(),
        last_status: TaskStatus::Pending,
        provision_until: None,
        placed_at: Some(at.max(waited.created_at)),
        ..Task::clone(&waited)
    };
    let event = put_changed(state, task);
    Ok((waited, event))
}

impl ClusterState {
    /// Tasks of a cluster that wait for a host, in the order of their ids.
    pub fn provisioning_tasks(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.index.provisioning.get(cluster);
        ids.into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// How many tasks of a cluster wait for a host.
    #[must_use]
    pub fn provisioning_count(&self, cluster: &ClusterKey) -> usize {
        self.index.provisioning.get(cluster).map_or(0, imbl::OrdSet::len)
    }

    /// Clusters with tasks that wait for a host.
    pub fn clusters_that_provision(&self) -> impl Iterator<Item = &ClusterKey> {
        self.index.provisioning.keys()
    }
}
