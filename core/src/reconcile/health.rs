//! Tasks of services whose health checks fail: when they are to be replaced, and when they stop. Pure.
//!
//! A task that is unhealthy is replaced once the grace period of its service is over. One that was healthy before runs on until its replacement
//! is, as long as that can start beside it: it may still be of use, and what makes it fail may make every replacement fail. One that never was
//! healthy stops at once.

use std::sync::Arc;

use crate::model::{DesiredStatus, HealthStatus, Service, Task, TaskId, TaskStatus, Timestamp};
use crate::state::Command;

use super::limits::Limits;
use super::pass::Pass;
use super::service::nothing_new;
use super::tally::{Tally, is_running, runs_since};
use super::{deployment, events, stopping};

/// Finds tasks that are to be replaced from now on, says so, and has the service looked at again when the grace period of others is over.
pub(super) fn find_failed(pass: &mut Pass<'_>, service: &Service) {
    let (mut failed, mut spared) = (vec![], None::<Timestamp>);
    for task in pass.state.live_tasks_of_service(&service.key).filter(|t| is_failing(t)) {
        let until = grace_ends(service, task);
        if until <= pass.now {
            failed.push(task.id);
        } else {
            spared = Some(spared.map_or(until, |first| first.min(until)));
        }
    }
    if let Some(until) = spared {
        pass.wake_service(&service.key, until);
    }
    let mut found: Vec<TaskId> = vec![];
    for tasks in failed.chunks(stopping::MAX_TASKS_PER_COMMAND) {
        let (tasks, at) = (tasks.to_vec(), pass.now);
        if pass.decide(Command::RecordFailedHealthChecks {
            tasks: tasks.clone(),
            at,
        }) {
            found.extend(tasks);
        }
    }
    if !found.is_empty() {
        // Before what comes of it: they may be the ones with which the deployment is given up.
        let mut progress = nothing_new(pass, service);
        progress.events = deployment::as_events(pass, events::failed_health_checks(&service.key.name, &found));
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
}

/// Whether the health checks of a task that is wanted fail, and that has not been found yet.
fn is_failing(task: &Arc<Task>) -> bool {
    let unhealthy = task
        .health
        .is_some_and(|health| health.status == HealthStatus::Unhealthy && health.failed_at.is_none());
    unhealthy && task.desired_status == DesiredStatus::Running && task.last_status == TaskStatus::Running
}

/// Until when the health checks of a task may fail: ECS ignores them for a while after a task has first started.
fn grace_ends(service: &Service, task: &Task) -> Timestamp {
    let seconds = service.health_check_grace_period_secs.unwrap_or(0);
    runs_since(task).plus_ms(i64::from(seconds) * 1_000)
}

/// Stops unhealthy tasks that are not needed: those that never were healthy, and those in whose place others serve. Where a replacement cannot
/// start beside them, as `unstarted` cannot, they make room for it: as far as `minimumHealthyPercent` allows, or else one by one.
pub(super) fn stop_unhealthy(pass: &mut Pass<'_>, service: &Service, tally: &Tally, unstarted: usize) -> Vec<TaskId> {
    let (mut victims, kept): (Vec<_>, Vec<_>) = tally
        .unhealthy
        .iter()
        .cloned()
        .partition(|task| task.was_never_healthy() || !is_running(task));
    let desired = usize::try_from(service.desired_count).unwrap_or(usize::MAX);
    let healthy = tally.healthy(pass.now);
    let surplus = kept.len().saturating_sub(desired.saturating_sub(healthy));
    let is_quiet = tally.stopping.is_empty() && tally.all_settled(pass.now);
    let by_minimum = (healthy + kept.len()).saturating_sub(Limits::of(service).lower);
    let room = if surplus > 0 {
        0
    } else {
        by_minimum.max(usize::from(is_quiet)).min(unstarted)
    };
    victims.extend(kept.into_iter().take(surplus + room));
    stopping::stop_unhealthy(pass, &victims)
}
