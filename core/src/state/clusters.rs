//! Commands on clusters.

use std::sync::Arc;

use crate::model::{Cluster, ClusterKey, ClusterStatus, ServiceStatus, Timestamp};

use super::{ClusterState, Event, Rejection, UpdateCluster, capacity_providers};

pub(super) fn create(state: &mut ClusterState, cluster: &Cluster) -> Result<Vec<Event>, Rejection> {
    if state.active_cluster(&cluster.key).is_ok() {
        return Ok(vec![]);
    }
    capacity_providers::check_of_cluster(state, cluster)?;
    state.clusters.insert(cluster.key.clone(), Arc::new(cluster.clone()));
    Ok(vec![Event::ClusterCreated(cluster.key.clone())])
}

pub(super) fn update(state: &mut ClusterState, update: &UpdateCluster) -> Result<Vec<Event>, Rejection> {
    let mut cluster = Cluster::clone(state.active_cluster(&update.cluster)?);
    for setting in &update.settings {
        cluster.settings.retain(|s| s.name != setting.name);
        cluster.settings.push(setting.clone());
    }
    cluster.host_settings = cluster.host_settings.with(&update.host_settings)?;
    cluster.settings.sort_by(|a, b| a.name.cmp(&b.name));
    state.clusters.insert(update.cluster.clone(), Arc::new(cluster));
    Ok(vec![Event::ClusterUpdated(update.cluster.clone())])
}

pub(super) fn delete(
    state: &mut ClusterState,
    key: &ClusterKey,
    at: Option<Timestamp>,
) -> Result<Vec<Event>, Rejection> {
    let mut cluster = Cluster::clone(state.active_cluster(key)?);
    if state.container_instances_of(key).next().is_some() {
        return Err(Rejection::ClusterContainsContainerInstances(key.clone()));
    }
    if state
        .services_and_daemons_of(key)
        .any(|s| s.status != ServiceStatus::Inactive)
    {
        return Err(Rejection::ClusterContainsServices(key.clone()));
    }
    if state.tasks_of_cluster(key).any(|t| !t.is_stopped()) {
        return Err(Rejection::ClusterContainsTasks(key.clone()));
    }
    cluster.status = ClusterStatus::Inactive;
    cluster.inactive_since = at;
    state.clusters.insert(key.clone(), Arc::new(cluster));
    Ok(vec![Event::ClusterDeleted(key.clone())])
}

/// Leaves out clusters of which something is still remembered.
pub(super) fn forget(state: &mut ClusterState, clusters: &[ClusterKey]) {
    for key in clusters {
        let is_over = state.cluster(key).is_some_and(|c| c.status == ClusterStatus::Inactive);
        if is_over && !state.remembers_contents_of(key) {
            state.clusters.remove(key);
            state.rebalances.remove(key);
        }
    }
}
