//! How service deployments go through their stages: what serves when one begins, what was found of its stage, and hooks that are told to go on. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    Deployment, DeploymentId, HookAction, HookRun, HookStatus, LifecycleStage, RolloutState, Service,
    ServiceDeployment, ServiceDeploymentStatus, ServiceKey, TaskStatus, Timestamp, Traffic, TrafficShare,
};

use super::progress::{LifecycleProgress, ServiceDeploymentProgress};
use super::{ClusterState, Event, Rejection, service_deployments, services};

/// Says of a deployment of `service` that begins, its primary one, which revision serves until traffic is shifted, and what traffic is like until
/// then: as it was. Where tasks are replaced one by one, traffic goes to all of them.
pub(super) fn prepare(state: &ClusterState, service: &Service, begun: &mut ServiceDeployment) {
    if !begun.configuration.strategy.shifts_traffic() {
        return;
    }
    let before = service.current_service_deployment();
    let before = before.map(|before| before.traffic.among(|id| is_source(service, id)));
    begun.traffic = before.unwrap_or_default();
    let serving = serving(state, service, &begun.traffic);
    begun.serving = serving.map(|serving| serving.id.clone());
    let is_alone = service.deployments.len() == 2;
    if let Some(serving) = begun.serving.as_ref().filter(|_| is_alone) {
        begun.traffic = Traffic::all_to(serving.clone());
    }
}

fn is_source(service: &Service, id: &DeploymentId) -> bool {
    service
        .deployments
        .iter()
        .skip(1)
        .any(|deployment| deployment.id == *id)
}

/// Of the deployments before the primary one, that of the last revision that was reached, as long as it has a task that runs; else that with the
/// most production traffic, and of several the newest. None that was given up, unless traffic goes to it, and of several none that nothing is
/// known to have come of: neither gets it traffic nor does a task of it run.
pub(crate) fn serving<'s>(state: &ClusterState, service: &'s Service, traffic: &Traffic) -> Option<&'s Deployment> {
    let tasks = state.live_tasks_of_service(&service.key);
    let running = tasks.filter(|task| task.last_status == TaskStatus::Running);
    let running: BTreeSet<&DeploymentId> = running.filter_map(|task| task.deployment()).collect();
    // A service that wanted no tasks has reached whatever it was given, be it something that cannot run.
    let reached = service.last_reached().map(|revision| &revision.id);
    let reached = reached.filter(|id| running.contains(id));
    let production = |id: &DeploymentId| traffic.of(id).map_or(TrafficShare::NONE, |(production, _)| production);
    let is_alone = service.deployments.len() == 2;
    let is_candidate = |deployment: &Deployment| {
        let was_given_up = deployment.rollout_state == RolloutState::Failed;
        let may_serve = is_alone || running.contains(&deployment.id);
        production(&deployment.id) > TrafficShare::NONE || (may_serve && !was_given_up)
    };
    let candidates = service.deployments.iter().skip(1).enumerate();
    candidates
        .filter(|(_, deployment)| is_candidate(deployment))
        .max_by_key(|(age, d)| (reached == Some(&d.id), production(&d.id), std::cmp::Reverse(*age)))
        .map(|(_, deployment)| deployment)
}

/// What a reconciler found out about the stage of the service deployment that is under way.
pub(super) fn record(service: &mut Service, found: &LifecycleProgress, at: Timestamp) -> Result<(), Rejection> {
    let stale = |what: &str| Rejection::Stale(format!("service deployment {} {what}", found.id.number()));
    let chosen = found.serving.as_ref().and_then(|chosen| chosen.id.as_ref());
    if chosen.is_some_and(|id| !is_source(service, id)) {
        return Err(stale("has a revision chosen that is not there"));
    }
    let current = service.service_deployments.front_mut().filter(|d| *d.id() == found.id);
    let current = current.ok_or_else(|| stale("is not the newest"))?;
    let moves = current.status.is_forward() || current.status == ServiceDeploymentStatus::RollbackInProgress;
    let turn = current.lifecycle.as_ref().map_or(0, |lifecycle| lifecycle.turn);
    if !moves || found.lifecycle.turn != turn + 1 {
        return Err(stale("has gone on meanwhile"));
    }
    let current = Arc::make_mut(current);
    current.lifecycle = Some(found.lifecycle.clone());
    current.traffic = found.traffic.clone();
    if let Some(chosen) = &found.serving {
        current.serving = chosen.id.clone();
    }
    current.updated_at = at;
    Ok(())
}

/// What the status that a service deployment has got means to its stage and its traffic: on the way back it begins with the tasks of the revision
/// that it returns to, and at its end nothing is named that gets no traffic.
pub(super) fn follow(current: &mut ServiceDeployment, at: Timestamp) {
    let (status, shifts_traffic) = (current.status, current.configuration.strategy.shifts_traffic());
    let Some(lifecycle) = &mut current.lifecycle else {
        return;
    };
    let expired = lifecycle.hooks.iter_mut().filter(|hook| hook.has_expired(at));
    expired.for_each(|hook| hook.status = HookStatus::TimedOut);
    match status {
        ServiceDeploymentStatus::RollbackInProgress => {
            lifecycle.stage = LifecycleStage::ScaleUp;
            lifecycle.since = at;
            lifecycle.waits_until = None;
        }
        ServiceDeploymentStatus::Successful | ServiceDeploymentStatus::RollbackSuccessful if shifts_traffic => {
            current.traffic = current.traffic.without_idle();
        }
        _ => return,
    }
    lifecycle.turn += 1;
}

/// Lets a service deployment go on that waits at a hook, or asks for its end.
pub(super) fn resume(
    state: &mut ClusterState,
    key: &ServiceKey,
    id: &DeploymentId,
    hook: &str,
    action: HookAction,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let not_found = || Rejection::ServiceDeploymentNotFound(key.clone(), id.clone());
    let mut service = Service::clone(state.service(key).ok_or_else(not_found)?);
    if service.service_deployment(id).is_none() {
        return Err(not_found());
    }
    if action == HookAction::Rollback && service.last_reached().is_none() {
        return Err(Rejection::NoRevisionToReturnTo(key.clone()));
    }
    let status = match action {
        HookAction::Continue => HookStatus::Succeeded,
        HookAction::Rollback => HookStatus::Failed,
    };
    let run = awaiting(&mut service, id, hook, at).ok_or_else(|| Rejection::HookNotAwaiting {
        service_deployment: key.service_deployment_arn(id).into(),
        hook: hook.into(),
    })?;
    run.status = status;
    if action == HookAction::Rollback {
        let requested = ServiceDeploymentProgress {
            id: id.clone(),
            status: ServiceDeploymentStatus::RollbackRequested,
            reason: None,
            by_circuit_breaker: false,
        };
        service_deployments::record(state, &mut service, &requested, None, at)?;
    }
    Ok(services::put(state, service))
}

/// The hook of the service deployment that is under way, if it waits for somebody. It is about to be told, so the stage changes.
fn awaiting<'s>(service: &'s mut Service, id: &DeploymentId, hook: &str, at: Timestamp) -> Option<&'s mut HookRun> {
    let current = service.service_deployments.front_mut()?;
    if current.id() != id || !current.status.is_forward() {
        return None;
    }
    let current = Arc::make_mut(current);
    let lifecycle = current.lifecycle.as_mut()?;
    let run = lifecycle
        .hooks
        .iter_mut()
        .find(|run| run.id == hook && run.awaits(at))?;
    lifecycle.turn += 1;
    current.updated_at = at;
    Some(run)
}
