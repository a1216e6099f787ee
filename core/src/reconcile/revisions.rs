//! Services whose deployments shift traffic: each revision has its tasks by itself, beside those of the others, whatever
//! `maximumPercent` says (ECS). What serves keeps all of its tasks until the others stop; what is not to serve stops at once. Pure.

use crate::model::{
    Deployment, LifecycleStage, RolloutState, Service, ServiceDeployment, ServiceDeploymentStatus, TrafficShare,
};

use super::limits::Limits;
use super::pass::Pass;
use super::tally::Tally;
use super::{events, health, protection, replica, stopping};

/// What a revision is to its service now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is to have as many tasks as the service wants.
    Kept,
    /// Its tasks run on, and none are added.
    Left,
    /// Its tasks stop.
    Unwanted,
}

/// Whether the revisions of a service are kept apart: while a deployment is under way that shifts traffic, and after one that was left where it was, until
/// the next.
pub(super) fn are_apart(service: &Service) -> bool {
    let current = service.current_service_deployment();
    current.is_some_and(|current| {
        current.configuration.strategy.shifts_traffic()
            && match current.status {
                ServiceDeploymentStatus::Successful | ServiceDeploymentStatus::RollbackSuccessful => false,
                status if status.is_over() => current.traffic.is_divided(),
                _ => true,
            }
    })
}

/// Starts and stops what is due; returns what is to be said about it.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service) -> Vec<String> {
    let Some(current) = service.current_service_deployment() else {
        return vec![];
    };
    let (mut said, mut stopped, mut held) = (vec![], vec![], vec![]);
    // The oldest first: what serves has its tasks before what may serve later.
    for deployment in service.deployments.iter().rev() {
        let role = role(service, current, deployment);
        let service = service.as_of(&deployment.id);
        let tally = Tally::of_revision(&pass.state, &service, &deployment.id);
        if role == Role::Unwanted {
            let (free, protected) = protection::split(tally.wanted(), pass.now);
            stopped.extend(stopping::stop(pass, &service, &free));
            held.extend(protected);
            continue;
        }
        let starts = match role {
            Role::Kept => replica::start_missing(pass, &service, &as_going_on(deployment), &tally),
            _ => replica::Starts::none(),
        };
        if let Some(at) = tally.next_to_settle(pass.now) {
            pass.wake_service(&service.key, at);
        }
        let limits = Limits::of(&service);
        let mut stops = replica::stop_surplus(pass, &service, &tally, limits);
        stops
            .stopped
            .extend(replica::stop_pending_on_draining(pass, &service, &tally));
        if !tally.unhealthy.is_empty() {
            let now = Tally::of_revision(&pass.state, &service, &deployment.id);
            let unhealthy = health::stop_unhealthy(pass, &service, &now, starts.unstarted);
            stops.stopped.extend(unhealthy);
        }
        if role == Role::Kept {
            replica::stop_replaced(pass, &service, &tally, limits, &starts, &mut stops);
        }
        said.extend(starts.said);
        stopped.extend(stops.stopped);
        held.extend(stops.held);
    }
    said.extend(events::stopped(&service.key.name, &stopped));
    said.extend(protection::say_held(pass, service, &held));
    said
}

/// Whether a revision of a service whose revisions are apart has tasks started in the place of those that go.
pub(super) fn is_kept(service: &Service, deployment: &Deployment) -> bool {
    let current = service.current_service_deployment();
    current.is_some_and(|current| role(service, current, deployment) == Role::Kept)
}

fn role(service: &Service, current: &ServiceDeployment, deployment: &Deployment) -> Role {
    let id = &deployment.id;
    let stage = current.stage();
    let is_last = stage == Some(LifecycleStage::CleanUp);
    let (is_kept, stays) = match current.status {
        status if status.is_over() => (goes_on(current, deployment), true),
        ServiceDeploymentStatus::RollbackInProgress => {
            let is_target = service.primary().is_some_and(|target| target.id == *id);
            (is_target, !is_last && current.traffic.may_reach(id))
        }
        _ if current.id() == id => (stage >= Some(LifecycleStage::ScaleUp), false),
        _ => {
            let serves = current.serving.as_ref() == Some(id);
            (serves && !is_last, !is_last && current.traffic.may_reach(id))
        }
    };
    match (is_kept, stays) {
        (true, _) => Role::Kept,
        (false, true) => Role::Left,
        (false, false) => Role::Unwanted,
    }
}

/// Whether a revision is kept after a deployment was left where it was: if it gets traffic, and was not given up by the
/// circuit breaker or for an alarm.
fn goes_on(current: &ServiceDeployment, deployment: &Deployment) -> bool {
    let (production, _) = current.traffic.of(&deployment.id).unwrap_or_default();
    let was_aborted = current.status == ServiceDeploymentStatus::Stopped
        && current.failures.is_none_or(|failures| !failures.triggered)
        && !current.has_triggered_alarms();
    production > TrafficShare::NONE && (deployment.rollout_state != RolloutState::Failed || was_aborted)
}

/// A deployment whose tasks are replaced, although it was told to stop.
fn as_going_on(deployment: &Deployment) -> Deployment {
    Deployment {
        rollout_state: RolloutState::InProgress,
        ..deployment.clone()
    }
}
