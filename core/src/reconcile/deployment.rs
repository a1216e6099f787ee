//! How far a deployment has come: completed, held back by its failures, given up by the circuit breaker, retired. Pure.

use crate::model::{Deployment, DeploymentStatus, RolloutState, Service, ServiceEvent, ServiceKey};
use crate::state::{Command, DeploymentProgress, Feature, backoff_delay_ms};

use super::events;
use super::pass::Pass;
use super::service::nothing_new;
use super::tally::Tally;

/// A sentence that says the same as before is said again after this long: often enough to show that it still holds,
/// seldom enough to leave room for others among the 100 that a service keeps.
const REPEAT_AFTER_MS: i64 = 5 * 60 * 1_000;

/// A wait after failures that is at least this long is spoken of each time: what was said of the one before is followed by tasks that
/// were started and failed.
const LONG_WAIT_MS: i64 = 30 * 1_000;

/// The circuit breaker's threshold: half of the desired count, within these bounds (ECS).
const FAILURE_THRESHOLD_PERCENT: u32 = 50;
const MIN_FAILURE_THRESHOLD: u32 = 3;
const MAX_FAILURE_THRESHOLD: u32 = 200;

/// Gives up a deployment whose tasks keep failing, and returns to the last that completed if the service wants that.
pub(super) fn trip_circuit_breaker(pass: &mut Pass<'_>, service: &Service) {
    let breaker = service.deployment_configuration.circuit_breaker;
    let Some(primary) = service.primary() else { return };
    let has_failed = breaker.enable
        && primary.rollout_state == RolloutState::InProgress
        && primary.failed_tasks >= failure_threshold(service.desired_count);
    if !has_failed || resets_failures(pass, service, &Tally::of(&pass.state, service)) {
        return;
    }
    let mut said = vec![events::deployment_failed(&service.key.name, &primary.id)];
    let mut progress = nothing_new(pass, service);
    let mut reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
    if breaker.rollback {
        progress.rollback = rollback(pass, service, primary);
        if progress.rollback.is_none() {
            reason.push_str(" There is no completed deployment to roll back to.");
        }
    }
    progress.deployments = vec![DeploymentProgress {
        id: primary.id.clone(),
        status: DeploymentStatus::Primary,
        rollout_state: RolloutState::Failed,
        rollout_state_reason: reason,
        resets_failed_tasks: false,
    }];
    if let Some(rollback) = &progress.rollback {
        said.push(events::rolling_back(&service.key.name, &rollback.id));
    }
    progress.events = as_events(pass, said);
    pass.decide(Command::RecordServiceProgress(Box::new(progress)));
}

/// Whether failures of the primary deployment are not counted now, since one of its tasks is healthy.
fn resets_failures(pass: &Pass<'_>, service: &Service, tally: &Tally) -> bool {
    let breaker = service.deployment_configuration.circuit_breaker;
    // Where the primary one was given up, what is healthy is of the one that stands in for it.
    let is_kept = service
        .primary()
        .is_some_and(|p| p.rollout_state != RolloutState::Failed);
    let may_reset = pass.state.uses(Feature::ResetOnHealthyTask) && breaker.resets_on_healthy_task();
    is_kept && may_reset && tally.any_settled(pass.now)
}

fn failure_threshold(desired: u32) -> u32 {
    let half = u64::from(desired) * u64::from(FAILURE_THRESHOLD_PERCENT);
    let half = u32::try_from(half.div_ceil(100)).unwrap_or(u32::MAX);
    half.clamp(MIN_FAILURE_THRESHOLD, MAX_FAILURE_THRESHOLD)
}

/// A deployment of what completed last. `None` where nothing has, or where that is what fails now: rolling back to it
/// again would go in circles.
fn rollback(pass: &mut Pass<'_>, service: &Service, failed: &Deployment) -> Option<Deployment> {
    let target = service
        .last_completed
        .clone()
        .filter(|t| *t != failed.task_definition)?;
    let id = pass.ids.deployment_id();
    Some(Deployment {
        rollout_state_reason: format!("ECS deployment circuit breaker: rolling back to deploymentId {id}."),
        ..Deployment::new(id, target, pass.now)
    })
}

/// Whether no task of `primary` may start now: it was given up, or waits after failures. If so, what is to be said.
pub(super) fn held_back(pass: &mut Pass<'_>, service: &Service, primary: &Deployment) -> Option<Vec<String>> {
    if primary.rollout_state == RolloutState::Failed {
        return Some(vec![]);
    }
    if primary.backoff.not_before <= pass.now {
        return None;
    }
    pass.wake_service(&service.key, primary.backoff.not_before);
    let sentence = events::unable_to_start_consistently(&service.key.name);
    let delay_ms = backoff_delay_ms(primary.backoff.consecutive_failures);
    let said = if delay_ms >= LONG_WAIT_MS {
        let waits_since = primary.backoff.not_before.plus_ms(-delay_ms);
        let said = events::last_said(service, &sentence).is_some_and(|(_, at)| at >= waits_since);
        (!said).then_some(sentence)
    } else {
        unless_said(pass, service, sentence)
    };
    Some(said.into_iter().collect())
}

/// Records where the deployments of a service stand now that tasks were started and stopped, and what is to be said.
pub(super) fn conclude(pass: &mut Pass<'_>, key: &ServiceKey, mut said: Vec<String>) {
    let Some(service) = pass.state.service(key).cloned() else {
        return;
    };
    let Some(primary) = service.primary() else { return };
    let tally = Tally::of(&pass.state, &service);
    if let Some(at) = tally.next_to_settle(pass.now) {
        pass.wake_service(key, at);
    }
    let mut progress = nothing_new(pass, &service);
    let stands_in = service.starting_deployment().map(|d| &d.id);
    let empty = |d: &&Deployment| {
        d.status != DeploymentStatus::Primary && !tally.deployments.contains(&d.id) && stands_in != Some(&d.id)
    };
    progress.retired = service.deployments.iter().filter(empty).map(|d| d.id.clone()).collect();
    let alone = progress.retired.len() + 1 == service.deployments.len();
    let resets_failed_tasks = primary.failed_tasks > 0 && resets_failures(pass, &service, &tally);
    let reached = alone && tally.has_reached(service.desired_count, pass.now);
    if reached && primary.rollout_state == RolloutState::InProgress {
        said.push(events::deployment_completed(&key.name, &primary.id));
        progress.deployments = vec![DeploymentProgress {
            id: primary.id.clone(),
            status: DeploymentStatus::Primary,
            rollout_state: RolloutState::Completed,
            rollout_state_reason: format!("ECS deployment {} completed.", primary.id),
            resets_failed_tasks,
        }];
    } else if resets_failed_tasks {
        progress.deployments = vec![DeploymentProgress {
            id: primary.id.clone(),
            status: primary.status,
            rollout_state: primary.rollout_state,
            rollout_state_reason: primary.rollout_state_reason.clone(),
            resets_failed_tasks,
        }];
    }
    let steady = reached && primary.rollout_state != RolloutState::Failed;
    if steady && !service.steady {
        said.push(events::steady_state(&key.name));
    }
    progress.steady = (steady != service.steady).then_some(steady);
    progress.events = as_events(pass, said);
    let news = !progress.events.is_empty()
        || !progress.retired.is_empty()
        || !progress.deployments.is_empty()
        || progress.steady.is_some();
    if news {
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
}

/// Sentences as events of this moment.
pub(super) fn as_events(pass: &mut Pass<'_>, said: Vec<String>) -> Vec<ServiceEvent> {
    let event = |message| ServiceEvent {
        id: pass.ids.uuid(),
        created_at: pass.now,
        message,
    };
    said.into_iter().map(event).collect()
}

/// The sentence, unless the service said it a short while ago; it then is to be said again when that while is over.
pub(super) fn unless_said(pass: &mut Pass<'_>, service: &Service, sentence: String) -> Option<String> {
    if let Some((_, at)) = events::last_said(service, &sentence) {
        let again = at.plus_ms(REPEAT_AFTER_MS);
        if again > pass.now {
            pass.wake_service(&service.key, again);
            return None;
        }
    }
    pass.wake_service(&service.key, pass.now.plus_ms(REPEAT_AFTER_MS));
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_threshold_is_half_of_the_desired_count_between_3_and_200() {
        let thresholds = [1, 6, 7, 399, 2_000].map(failure_threshold);
        assert_eq!(thresholds, [3, 3, 4, 200, 200]);
    }
}
