//! How far a deployment has come: completed, held back by its failures, given up by the circuit breaker, retired. Pure.

use crate::model::{
    Deployment, DeploymentStatus, RolloutState, Service, ServiceDeploymentStatus, ServiceEvent, ServiceKey, Timestamp,
};
use crate::state::{ClusterState, Command, DeploymentProgress, Feature, ServiceDeploymentProgress, backoff_delay_ms};

use super::pass::Pass;
use super::service::nothing_new;
use super::tally::Tally;
use super::{causes, dependencies, early_success, events, stages, zone_balance};

/// A sentence that says the same as before is said again after this long: often enough to show that it still holds,
/// seldom enough to leave room for others among the 100 that a service keeps.
const REPEAT_AFTER_MS: i64 = 5 * 60 * 1_000;

/// A wait after failures that is at least this long is spoken of each time: what was said of the one before is followed by tasks that
/// were started and failed.
const LONG_WAIT_MS: i64 = 30 * 1_000;

/// Why the primary deployment is given up.
struct GivenUp {
    /// What becomes of it, in a sentence.
    reason: String,
    /// What is known of the cause beyond that, in a sentence.
    details: Option<String>,
    /// Why the service returns to what it was, at the beginning of a sentence.
    because: String,
    /// What the service says of it.
    said: String,
    /// Whether the service is to return to what it was.
    rolls_back: bool,
    by_circuit_breaker: bool,
}

/// Gives up a deployment whose tasks keep failing or that somebody told to stop, and returns to the last that completed if that is wanted.
pub(super) fn give_up(pass: &mut Pass<'_>, service: &Service) {
    let Some(primary) = service.primary() else { return };
    let Some(why) = given_up(pass, service, primary) else {
        return;
    };
    let mut progress = nothing_new(pass, service);
    let (mut reason, mut said) = (why.reason.clone(), vec![why.said]);
    let mut in_detail = [Some(why.reason), why.details]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    if why.rolls_back {
        progress.rollback = rollback(pass, service, primary, &why.because);
        if progress.rollback.is_none() {
            let returns = service
                .service_deployment_under_way()
                .is_some_and(|d| d.status == ServiceDeploymentStatus::RollbackInProgress);
            let tail = if returns {
                " It is what was to be rolled back to."
            } else {
                " There is no completed deployment to roll back to."
            };
            reason.push_str(tail);
            in_detail.push_str(tail);
        }
    }
    if let Some(rollback) = &progress.rollback {
        said.push(events::rolling_back(&service.key.name, &rollback.id));
    }
    progress.service_deployment = service
        .service_deployment_under_way()
        .map(|current| ServiceDeploymentProgress {
            id: current.id().clone(),
            status: match (why.rolls_back, &progress.rollback) {
                (_, Some(_)) => ServiceDeploymentStatus::RollbackInProgress,
                (true, None) => ServiceDeploymentStatus::RollbackFailed,
                (false, None) => ServiceDeploymentStatus::Stopped,
            },
            reason: Some(in_detail),
            by_circuit_breaker: why.by_circuit_breaker,
        });
    progress.deployments = vec![DeploymentProgress {
        id: primary.id.clone(),
        status: DeploymentStatus::Primary,
        rollout_state: RolloutState::Failed,
        rollout_state_reason: reason,
        resets_failed_tasks: false,
    }];
    progress.events = as_events(pass, said);
    pass.decide(Command::RecordServiceProgress(Box::new(progress)));
}

/// Whether and why the primary deployment is to be given up now.
fn given_up(pass: &Pass<'_>, service: &Service, primary: &Deployment) -> Option<GivenUp> {
    let status = service.service_deployment_under_way().map(|current| current.status);
    match status {
        Some(ServiceDeploymentStatus::StopRequested) => return Some(told(service, primary, false)),
        Some(ServiceDeploymentStatus::RollbackRequested) => {
            let refused = stages::refusal(service).map(|reason| stage_failed(service, primary, reason));
            return Some(refused.unwrap_or_else(|| told(service, primary, true)));
        }
        _ => {}
    }
    if let Some(reason) = stages::failure(service, pass.now) {
        return Some(stage_failed(service, primary, reason));
    }
    if let Some(why) = alarmed(service, primary) {
        return Some(why);
    }
    let breaker = service.deployment_configuration.circuit_breaker;
    let has_failed = breaker.enable
        && primary.rollout_state == RolloutState::InProgress
        && primary.failed_tasks >= breaker.threshold_for(service.desired_count)
        && !resets_failures(pass, service, &Tally::of(&pass.state, service));
    has_failed.then(|| GivenUp {
        reason: "ECS deployment circuit breaker: tasks failed to start.".to_owned(),
        details: causes::failed_tasks(&pass.state, service, primary),
        because: "ECS deployment circuit breaker".to_owned(),
        said: events::deployment_failed(&service.key.name, &primary.id),
        rolls_back: breaker.rollback || status == Some(ServiceDeploymentStatus::RollbackInProgress),
        by_circuit_breaker: true,
    })
}

/// An alarm went off.
fn alarmed(service: &Service, primary: &Deployment) -> Option<GivenUp> {
    let current = service.service_deployment_under_way()?;
    let fails = current.status.is_forward() && current.has_triggered_alarms();
    let alarms = current.configuration.alarms.as_ref().filter(|_| fails)?;
    let details = causes::triggered_alarms(current);
    Some(GivenUp {
        reason: "ECS deployment failed: alarm detected.".to_owned(),
        because: "ECS deployment failed: alarm detected".to_owned(),
        said: events::alarm_detected(&service.key.name, &primary.id, details.as_deref()),
        details,
        rolls_back: alarms.rollback,
        by_circuit_breaker: false,
    })
}

/// Somebody said so.
fn told(service: &Service, primary: &Deployment, rolls_back: bool) -> GivenUp {
    let because = format!("ECS deployment {} was told to stop", primary.id);
    GivenUp {
        reason: format!("{because}."),
        details: None,
        because,
        said: events::deployment_stopped(&service.key.name, &primary.id),
        rolls_back,
        by_circuit_breaker: false,
    }
}

/// A stage did not end as it has to.
fn stage_failed(service: &Service, primary: &Deployment, reason: String) -> GivenUp {
    GivenUp {
        because: format!("ECS deployment {} failed", primary.id),
        said: events::deployment_failed_since(&service.key.name, &primary.id, &reason),
        reason,
        details: None,
        rolls_back: true,
        by_circuit_breaker: false,
    }
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

/// A deployment of what completed last. `None` where nothing has, or where that is what fails now: rolling back to it
/// again would go in circles.
fn rollback(pass: &mut Pass<'_>, service: &Service, failed: &Deployment, because: &str) -> Option<Deployment> {
    let (id, target) = if pass.state.uses(Feature::ServiceDeployments) {
        let reached = service.last_reached().filter(|reached| reached.id != failed.id)?;
        (reached.id.clone(), reached.task_definition.clone())
    } else {
        let target = service.last_completed.clone();
        let target = target.filter(|target| *target != failed.task_definition)?;
        (pass.ids.deployment_id(), target)
    };
    let begun_at = service.deployment(&id).map_or(pass.now, |known| known.created_at);
    Some(Deployment {
        rollout_state_reason: format!("{because}: rolling back to deploymentId {id}."),
        created_at: begun_at,
        ..Deployment::new(id, target, pass.now)
    })
}

/// What `service` deploys has begun, or, with `is_reached`, has been reached: what that means to the service deployment that is under way.
fn proceeds(service: &Service, is_reached: bool, reason: &str) -> Option<ServiceDeploymentProgress> {
    use ServiceDeploymentStatus as S;
    let current = service.service_deployment_under_way()?;
    let status = match current.status {
        S::Pending | S::InProgress if is_reached => S::Successful,
        S::Pending => S::InProgress,
        S::RollbackInProgress if is_reached => S::RollbackSuccessful,
        _ => return None,
    };
    // What came of it hides no cause.
    let reason = match service.primary().filter(|_| status == S::RollbackSuccessful) {
        Some(primary) => causes::returned(current, &primary.id),
        None => reason.to_owned(),
    };
    Some(ServiceDeploymentProgress {
        id: current.id().clone(),
        status,
        reason: Some(reason),
        by_circuit_breaker: false,
    })
}

/// Whether tasks of the deployment may start now: it was not given up, and does not wait after failures.
pub(super) fn may_start(deployment: &Deployment, now: Timestamp) -> bool {
    deployment.rollout_state != RolloutState::Failed && deployment.backoff.not_before <= now
}

/// Whether no task of `primary` may start now: it was given up, or waits after failures or for other services. If so, what is to be said.
pub(super) fn held_back(pass: &mut Pass<'_>, service: &Service, primary: &Deployment) -> Option<Vec<String>> {
    if may_start(primary, pass.now) {
        return dependencies::held_back(pass, service, primary);
    }
    if primary.rollout_state == RolloutState::Failed {
        return Some(vec![]);
    }
    pass.wake_service(&service.key, primary.backoff.not_before);
    let sentence = events::unable_to_start_consistently(service.spoken());
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
        d.status != DeploymentStatus::Primary
            && !tally.deployments.contains(&d.id)
            && stands_in != Some(&d.id)
            && !stages::keeps(&service, &d.id)
    };
    progress.retired = service.deployments.iter().filter(empty).map(|d| d.id.clone()).collect();
    let alone = progress.retired.len() + 1 == service.deployments.len();
    let resets_failed_tasks = primary.failed_tasks > 0 && resets_failures(pass, &service, &tally);
    let reached = alone && stages::is_at_end(&service) && tally.has_reached(service.desired_count, pass.now);
    let is_enough = stages::is_at_end(&service) && early_success::is_enough(pass, &service, alone);
    let completes = (reached || is_enough) && primary.rollout_state == RolloutState::InProgress;
    if completes {
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
    let reason = progress.deployments.first().filter(|_| completes);
    let reason = reason.map_or(&primary.rollout_state_reason, |completed| {
        &completed.rollout_state_reason
    });
    progress.service_deployment = proceeds(&service, completes, reason);
    if let Some(begins) = &mut progress.service_deployment
        && begins.status == ServiceDeploymentStatus::InProgress
    {
        said.splice(0..0, on_alarms(&pass.state, &service, begins));
    }
    let steady = reached && primary.rollout_state != RolloutState::Failed;
    if steady && !service.steady {
        said.push(events::steady_state(&key.name));
    }
    progress.steady = (steady != service.steady).then_some(steady);
    if progress.steady == Some(true) {
        zone_balance::look_at_steady(pass, &service);
    }
    progress.events = as_events(pass, said);
    let news = !progress.events.is_empty()
        || !progress.retired.is_empty()
        || !progress.deployments.is_empty()
        || progress.service_deployment.is_some()
        || progress.steady.is_some();
    if news {
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
}

/// What is to be said of the alarms of a service deployment that begins, some of which also where it stands.
fn on_alarms(state: &ClusterState, service: &Service, begins: &mut ServiceDeploymentProgress) -> Option<String> {
    let current = service.current_service_deployment()?;
    let name = &service.key.name;
    if let Some(which) = causes::ignored_alarms(state, current) {
        return Some(events::alarms_ignored(name, current.id(), &which));
    }
    let which = causes::missing_alarms(state, current)?;
    let stands = begins.reason.take().unwrap_or_default();
    begins.reason = Some(format!("{stands} {which}").trim_start().to_owned());
    Some(events::alarms_missing(name, current.id(), &which))
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
