//! Forgets what has been over for long: stopped tasks, deleted services, task definitions and clusters, hosts that left. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    Cluster, ClusterKey, ClusterStatus, ContainerInstance, ContainerInstanceId, Service, ServiceKey, TaskDefinitionKey,
    TaskId, Timestamp,
};
use crate::state::{Command, Feature};

use super::agenda::Subject;
use super::pass::Pass;

/// How long what is over can still be described; of stopped tasks, that is a setting of their cluster.
pub const RETAIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Stopped tasks kept for each cluster, however long it wants them kept: a service that fails in a loop must not fill the state.
pub const MAX_STOPPED_TASKS_PER_CLUSTER: usize = 5_000;

/// Time between two looks at the stopped tasks.
const LOOK_EVERY_MS: i64 = 60_000;

/// Tasks in one command.
const MAX_TASKS_PER_COMMAND: usize = 500;

/// Task definitions in one command: the longest key takes about half a KiB of the 1 MiB that a command may have.
const MAX_TASK_DEFINITIONS_PER_COMMAND: usize = 500;

/// Clusters in one command, whose keys are as long.
const MAX_CLUSTERS_PER_COMMAND: usize = 500;

/// Looks at the stopped tasks, at the task definitions that are being deleted, and at the deleted clusters.
pub(super) fn reconcile(pass: &mut Pass<'_>) {
    let expired = expired(pass);
    let surplus = surplus(pass, &expired);
    for tasks in expired
        .iter()
        .chain(&surplus)
        .copied()
        .collect::<Vec<_>>()
        .chunks(MAX_TASKS_PER_COMMAND)
    {
        pass.decide(forget(tasks.to_vec(), vec![], vec![], vec![]));
    }
    // What daemons have run can be described as deleted for a while.
    let is_recent = |key: &TaskDefinitionKey| {
        let deleted_at = pass.state.task_definition(key).and_then(|known| known.deregistered_at);
        key.family.of_daemons().is_some() && deleted_at.is_some_and(|at| pass.now.ms_since(at) < RETAIN_MS)
    };
    let deleting = pass.state.deleting_task_definitions().filter(|key| !is_recent(key));
    let deleting: BTreeSet<&TaskDefinitionKey> = deleting.collect();
    let used = pass.state.used_task_definitions(&deleting);
    let unused: Vec<_> = deleting
        .into_iter()
        .filter(|key| !used.contains(key))
        .cloned()
        .collect();
    for task_definitions in unused.chunks(MAX_TASK_DEFINITIONS_PER_COMMAND) {
        let task_definitions = task_definitions.to_vec();
        pass.decide(Command::ForgetTaskDefinitions { task_definitions });
    }
    forget_clusters(pass);
    let is_over = |cluster: &Arc<Cluster>| cluster.status == ClusterStatus::Inactive;
    let waits = pass.state.stopped_task_count() > 0
        || pass.state.deleting_task_definitions().next().is_some()
        || pass.state.all_clusters().any(is_over);
    if waits {
        let next = pass.now.plus_ms(LOOK_EVERY_MS);
        pass.agenda.wake(Subject::Retention, next);
    }
}

/// Deleted clusters: forgets those whose time has come and of which nothing else is remembered.
fn forget_clusters(pass: &mut Pass<'_>) {
    if !pass.state.uses(Feature::ForgottenClusters) {
        return;
    }
    let is_old = |c: &Cluster| pass.now.ms_since(c.inactive_since.unwrap_or(c.created_at)) >= RETAIN_MS;
    let over = pass.state.all_clusters();
    let over = over.filter(|c| c.status == ClusterStatus::Inactive && is_old(c));
    let over = over.filter(|c| !pass.state.remembers_contents_of(&c.key));
    let over: Vec<ClusterKey> = over.map(|c| c.key.clone()).collect();
    for clusters in over.chunks(MAX_CLUSTERS_PER_COMMAND) {
        pass.decide(forget(vec![], vec![], vec![], clusters.to_vec()));
    }
}

/// Stopped tasks that their cluster has kept for as long as it wants to.
fn expired(pass: &Pass<'_>) -> BTreeSet<TaskId> {
    let kept_ms = |cluster: &ClusterKey| i64::from(pass.state.host_settings(cluster).stopped_tasks_kept_ms);
    let is_old = |at: Option<Timestamp>, kept_ms| at.is_none_or(|at| pass.now.ms_since(at) >= kept_ms);
    let Some(shortest) = pass.state.all_clusters().map(|cluster| kept_ms(&cluster.key)).min() else {
        return BTreeSet::new();
    };
    pass.state
        .stopped_tasks()
        .take_while(|t| is_old(t.stopped_at, shortest))
        .filter(|t| is_old(t.stopped_at, kept_ms(&t.cluster)))
        .map(|t| t.id)
        .collect()
}

/// The oldest stopped tasks beyond what each cluster may keep.
fn surplus(pass: &Pass<'_>, expired: &BTreeSet<TaskId>) -> Vec<TaskId> {
    if pass.state.stopped_task_count() <= MAX_STOPPED_TASKS_PER_CLUSTER {
        return vec![];
    }
    let mut excess: BTreeMap<&ClusterKey, usize> = BTreeMap::new();
    let kept = || pass.state.stopped_tasks().filter(|task| !expired.contains(&task.id));
    for task in kept() {
        *excess.entry(&task.cluster).or_default() += 1;
    }
    excess
        .values_mut()
        .for_each(|count| *count = count.saturating_sub(MAX_STOPPED_TASKS_PER_CLUSTER));
    let mut surplus = vec![];
    for task in kept() {
        if let Some(left) = excess.get_mut(&task.cluster).filter(|left| **left > 0) {
            *left -= 1;
            surplus.push(task.id);
        }
    }
    surplus
}

/// A deleted service: forgets it when its time has come.
pub(super) fn inactive_service(pass: &mut Pass<'_>, service: &Service) {
    let due = service.inactive_since.unwrap_or(service.created_at).plus_ms(RETAIN_MS);
    if due > pass.now {
        pass.wake_service(&service.key, due);
    } else {
        pass.decide(forget(vec![], vec![service.key.clone()], vec![], vec![]));
    }
}

/// A host that left: forgets it when its time has come and none of its tasks is remembered.
pub(super) fn inactive_host(pass: &mut Pass<'_>, host: &ContainerInstance) {
    let due = host.connection_changed_at.plus_ms(RETAIN_MS);
    if due > pass.now {
        pass.agenda.wake(Subject::Host(host.id), due);
    } else if pass.state.tasks_of_instance(host.id).next().is_some() {
        let next = pass.now.plus_ms(LOOK_EVERY_MS);
        pass.agenda.wake(Subject::Host(host.id), next);
    } else {
        pass.decide(forget(vec![], vec![], vec![host.id], vec![]));
    }
}

fn forget(
    tasks: Vec<TaskId>,
    services: Vec<ServiceKey>,
    container_instances: Vec<ContainerInstanceId>,
    clusters: Vec<ClusterKey>,
) -> Command {
    Command::Forget {
        tasks,
        services,
        container_instances,
        clusters,
    }
}
