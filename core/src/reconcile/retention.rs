//! Forgets what has been over for long: stopped tasks, deleted services and task definitions, hosts that
//! left. Pure.

use std::collections::BTreeMap;

use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, Service, ServiceKey, TaskDefinitionKey, TaskId, Timestamp,
};
use crate::state::Command;

use super::agenda::Subject;
use super::pass::Pass;

/// How long what is over can still be described.
pub const RETAIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Stopped tasks kept for each cluster; a service that fails in a loop must not fill the state within a day.
pub const MAX_STOPPED_TASKS_PER_CLUSTER: usize = 5_000;

/// Time between two looks at the stopped tasks.
const LOOK_EVERY_MS: i64 = 60_000;

/// Tasks in one command.
const MAX_TASKS_PER_COMMAND: usize = 500;

/// Looks at the stopped tasks and at the task definitions that are being deleted.
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
        pass.decide(forget(tasks.to_vec(), vec![], vec![]));
    }
    let unused = |key: &&TaskDefinitionKey| !pass.state.uses_task_definition(key);
    let task_definitions: Vec<_> = pass.state.deleting_task_definitions().filter(unused).cloned().collect();
    if !task_definitions.is_empty() {
        pass.decide(Command::ForgetTaskDefinitions { task_definitions });
    }
    if pass.state.stopped_task_count() > 0 || pass.state.deleting_task_definitions().next().is_some() {
        let next = pass.now.plus_ms(LOOK_EVERY_MS);
        pass.agenda.wake(Subject::StoppedTasks, next);
    }
}

fn expired(pass: &Pass<'_>) -> Vec<TaskId> {
    let is_old = |at: Option<Timestamp>| at.is_none_or(|at| pass.now.ms_since(at) >= RETAIN_MS);
    pass.state
        .stopped_tasks()
        .take_while(|t| is_old(t.stopped_at))
        .map(|t| t.id)
        .collect()
}

/// The oldest stopped tasks beyond what each cluster may keep.
fn surplus(pass: &Pass<'_>, expired: &[TaskId]) -> Vec<TaskId> {
    if pass.state.stopped_task_count() <= MAX_STOPPED_TASKS_PER_CLUSTER {
        return vec![];
    }
    let mut excess: BTreeMap<&ClusterKey, usize> = BTreeMap::new();
    let kept = || pass.state.stopped_tasks().skip(expired.len());
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
        pass.decide(forget(vec![], vec![service.key.clone()], vec![]));
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
        pass.decide(forget(vec![], vec![], vec![host.id]));
    }
}

fn forget(tasks: Vec<TaskId>, services: Vec<ServiceKey>, container_instances: Vec<ContainerInstanceId>) -> Command {
    Command::Forget {
        tasks,
        services,
        container_instances,
    }
}
