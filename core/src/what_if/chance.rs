//! What of a prediction is drawn, and so one possible outcome among others: what `random` says, and which of two hosts that are as good has the
//! lower id, where one of them is yet to join. Pure.

use std::collections::BTreeSet;

use super::outlook::{HostName, Move, name_of, wanted};
use crate::explain;
use crate::model::{ClusterKey, ContainerInstanceId, PlacementStrategy, Service, Task, Timestamp};
use crate::reconcile;
use crate::state::ClusterState;

/// The groups of `moves` for whose tasks hosts are drawn.
pub(super) fn groups(before: &ClusterState, after: &ClusterState, cluster: &ClusterKey, moves: &[Move]) -> Vec<String> {
    let is_drawn = |group: &str| service_of(after, cluster, group).is_some_and(is_drawn);
    let drawn = moves.iter().filter(|found| match (&found.from, &found.to) {
        (_, Some(_)) => found.one_of.len() > 1,
        // One task fewer: of which host is drawn, unless the host itself is the reason, or all go.
        (Some(from), None) => {
            takes_tasks(after, from.id) && is_drawn(&found.group) && has_tasks(after, cluster, &found.group)
        }
        (None, None) => false,
    });
    let mut groups: BTreeSet<String> = drawn.map(|found| found.group.clone()).collect();
    let moved: BTreeSet<&str> = moves.iter().map(|found| found.group.as_str()).collect();
    let tasks = wanted(after, cluster).filter(|task| moved.contains(task.group.as_str()));
    let tied = tasks.filter(|task| before.task(task.id).is_none() && is_tied_with_new(before, task));
    groups.extend(tied.map(|task| task.group.clone()));
    groups.into_iter().collect()
}

fn has_tasks(after: &ClusterState, cluster: &ClusterKey, group: &str) -> bool {
    wanted(after, cluster).any(|task| task.group == group)
}

/// Whether nothing but the id chose the task's host before another, one of which is yet to join and has no id.
fn is_tied_with_new(before: &ClusterState, task: &Task) -> bool {
    let record = task.placement.as_ref().map(|record| record.read());
    let Some((second, score)) = record.as_ref().and_then(|record| record.runner_up.as_ref()) else {
        return false;
    };
    let is_new = |id: ContainerInstanceId| before.container_instance(id).is_none();
    let is_even = record.as_ref().is_some_and(|record| record.chosen == *score);
    is_even && (is_new(*second) || task.container_instance.is_some_and(is_new))
}

fn service_of<'s>(state: &'s ClusterState, cluster: &ClusterKey, group: &str) -> Option<&'s Service> {
    let name = group.strip_prefix("service:")?;
    state.service(&cluster.service(name)).map(|service| &**service)
}

fn is_drawn(service: &Service) -> bool {
    service.placement_strategy.contains(&PlacementStrategy::Random)
}

fn takes_tasks(state: &ClusterState, id: ContainerInstanceId) -> bool {
    let host = state.container_instance(id);
    host.is_some_and(|host| host.agent_connected && !state.is_draining(id))
}

/// Where tasks of the group may be if chance decides: hosts that could take one before, and take tasks after.
pub(super) fn one_of(
    before: &ClusterState,
    after: &ClusterState,
    cluster: &ClusterKey,
    group: &str,
    now: Timestamp,
) -> Vec<HostName> {
    let service = service_of(after, cluster, group).filter(|service| is_drawn(service));
    let Some(task) = service.and_then(|service| reconcile::next_task(after, service, now)) else {
        return vec![];
    };
    let is_new = |id: ContainerInstanceId| before.container_instance(id).is_none();
    let fits_before = explain::answers(before, &task).hosts;
    let fits_before = fits_before
        .iter()
        .filter(|host| host.takes_it())
        .map(|host| host.host.id);
    let new = after
        .container_instances_of(cluster)
        .map(|host| host.id)
        .filter(|id| is_new(*id));
    let mut hosts: Vec<HostName> = fits_before
        .chain(new)
        .filter(|id| takes_tasks(after, *id))
        .map(|id| name_of(after, id))
        .collect();
    hosts.sort();
    hosts
}
