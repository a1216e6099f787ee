//! Commands on the protection of tasks from the schedulers of their services.

use std::sync::Arc;

use crate::model::{DesiredStatus, ServiceKey, Task, TaskId, Timestamp};

use super::{ClusterState, Event, tasks};

pub(super) fn update(
    state: &mut ClusterState,
    tasks: &[TaskId],
    protected_until: Option<Timestamp>,
    at: Timestamp,
) -> Vec<Event> {
    let mut events = vec![];
    for id in tasks {
        let Some(task) = state.task(*id).filter(|task| can_be_protected(task)) else {
            continue;
        };
        let is_same = task.protected_until == protected_until;
        if is_same || (protected_until.is_some() && is_blocked(state, task, at)) {
            continue;
        }
        let task = Task {
            protected_until,
            ..Task::clone(task)
        };
        events.push(tasks::put_changed(state, task));
    }
    events
}

fn can_be_protected(task: &Task) -> bool {
    task.service().is_some() && task.desired_status == DesiredStatus::Running
}

/// Whether with the task more would be protected than its service wants, so that no deployment could come to an end (ECS's rule).
fn is_blocked(state: &ClusterState, task: &Task, at: Timestamp) -> bool {
    let Some(service) = task.service().and_then(|key| state.service(key)) else {
        return true;
    };
    let others = state.live_tasks_of_service(&service.key);
    let others = others.filter(|other| other.id != task.id && other.is_protected(at));
    let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
    !task.is_protected(at) && others.count() >= desired
}

/// Ends the protection of all tasks of a service.
pub(super) fn end_all_of_service(state: &mut ClusterState, service: &ServiceKey) -> Vec<Event> {
    let live = state.live_tasks_of_service(service);
    let protected: Vec<Arc<Task>> = live.filter(|task| task.protected_until.is_some()).cloned().collect();
    let ended = protected.into_iter().map(|task| Task {
        protected_until: None,
        ..Arc::unwrap_or_clone(task)
    });
    ended.map(|task| tasks::put_changed(state, task)).collect()
}
