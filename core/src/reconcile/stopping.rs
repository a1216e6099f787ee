//! Tasks that a service no longer wants. Pure.

use std::sync::Arc;

use crate::model::{Service, StopCode, Task, TaskId};
use crate::state::Command;

use super::pass::Pass;

/// Task ids in one command, far below the bytes that a command may have.
pub(super) const MAX_TASKS_PER_COMMAND: usize = 500;

/// Why unhealthy tasks stop (ECS's sentence).
const FAILED_HEALTH_CHECKS: &str = "Task failed container health checks";

/// Why tasks on a host that is draining stop, to follow ECS's sentence.
pub(super) const SINCE_DRAINING: &str = ": its container instance is draining";

/// Stops `tasks` for the reason that ECS gives whenever a service has more tasks than it wants.
pub(super) fn stop(pass: &mut Pass<'_>, service: &Service, tasks: &[Arc<Task>]) -> Vec<TaskId> {
    stop_since(pass, service, tasks, "")
}

/// Stops `tasks`, and says why beyond ECS's sentence.
pub(super) fn stop_since(pass: &mut Pass<'_>, service: &Service, tasks: &[Arc<Task>], since: &str) -> Vec<TaskId> {
    let by = service.deployments.first().map_or("none", |d| d.id.as_str());
    stop_because(
        pass,
        tasks,
        &format!("Scaling activity initiated by (deployment {by}){since}"),
    )
}

/// Stops `tasks` since their health checks have failed.
pub(super) fn stop_unhealthy(pass: &mut Pass<'_>, tasks: &[Arc<Task>]) -> Vec<TaskId> {
    stop_because(pass, tasks, FAILED_HEALTH_CHECKS)
}

/// Stops `tasks` for a reason of its own.
pub(super) fn stop_because(pass: &mut Pass<'_>, tasks: &[Arc<Task>], reason: &str) -> Vec<TaskId> {
    let ids: Vec<TaskId> = tasks.iter().map(|t| t.id).collect();
    stop_all(pass, &ids, StopCode::ServiceSchedulerInitiated, reason)
}

/// Stops these tasks, by commands that stay small; returns those that were stopped.
pub(super) fn stop_all(pass: &mut Pass<'_>, tasks: &[TaskId], stop_code: StopCode, reason: &str) -> Vec<TaskId> {
    let mut stopped = vec![];
    for ids in tasks.chunks(MAX_TASKS_PER_COMMAND) {
        let command = Command::StopTasks {
            tasks: ids.to_vec(),
            stop_code,
            reason: reason.to_owned(),
            at: pass.now,
        };
        if pass.decide(command) {
            stopped.extend(ids);
        }
    }
    stopped
}
