//! What the course of a service says: its deployments by how far they have come, and its sentences by what they mean. Pure.

use super::{ServiceAction, Subject};
use crate::model::{
    CapacityProviderKey, Deployment, DeploymentId, DeploymentStatus, HookRun, SchedulingStrategy, Service,
    ServiceEvent, Timestamp,
};
use crate::placement;
use crate::reconcile;

/// What is to be said of a service that was as `before` and is as `now`.
pub(super) fn changes(before: Option<&Service>, now: &Service, at: Timestamp) -> Vec<(Timestamp, Subject)> {
    let deployment = |deployment: &Deployment| Subject::Deployment {
        service: now.key.clone(),
        deployment: deployment.clone(),
    };
    // From old to new: one that failed is told before the one that takes its place.
    let deployments = now.deployments.iter().rev();
    let news = deployments.filter(|deployment| is_news(before, deployment));
    let mut said: Vec<(Timestamp, Subject)> = news.map(|news| (at, deployment(news))).collect();
    said.extend(hooks(before, now).map(|hook| (at, hook)));
    let action = |action: ServiceAction| Subject::Service {
        service: now.key.clone(),
        action,
    };
    let is_daemon = now.scheduling_strategy == SchedulingStrategy::Daemon;
    if is_daemon && before.is_some_and(|before| before.desired_count != now.desired_count) {
        said.push((at, action(ServiceAction::DesiredCountUpdated(now.desired_count))));
    }
    let steady_before = |id: &DeploymentId| {
        let mut known = before.into_iter().flat_map(|service| &service.task_sets);
        known.any(|set| set.id == *id && set.steady)
    };
    let steady = now.task_sets.iter().filter(|set| set.steady && !steady_before(&set.id));
    said.extend(steady.map(|set| (at, action(ServiceAction::TaskSetSteadyState(set.id.clone())))));
    for event in new_sentences(before, now).into_iter().rev() {
        let actions = actions(now, &event.message);
        said.extend(actions.into_iter().map(|found| (event.created_at, action(found))));
    }
    said
}

/// Whether a deployment began, began again, or has come to another state.
fn is_news(before: Option<&Service>, deployment: &Deployment) -> bool {
    let Some(known) = before.and_then(|service| service.deployment(&deployment.id)) else {
        return true;
    };
    let is_back = deployment.status == DeploymentStatus::Primary && known.status != DeploymentStatus::Primary;
    is_back || known.rollout_state != deployment.rollout_state
}

/// The hooks of what is deployed that are new, or of which something else became than was known.
fn hooks<'s>(before: Option<&'s Service>, now: &'s Service) -> impl Iterator<Item = Subject> + 's {
    let current = now.current_service_deployment();
    let lifecycle = current.and_then(|current| Some((current.id(), current.lifecycle.as_ref()?)));
    let known = before.and_then(Service::current_service_deployment);
    let known = known.and_then(|known| known.lifecycle.as_ref());
    lifecycle.into_iter().flat_map(move |(id, at)| {
        let is_news = move |hook: &&HookRun| !known.is_some_and(|known| known.hooks.contains(hook));
        at.hooks.iter().filter(is_news).map(move |hook| Subject::Hook {
            service: now.key.clone(),
            service_deployment: id.clone(),
            stage: at.stage,
            hook: hook.clone(),
        })
    })
}

/// What the service said since, the newest first.
pub(super) fn new_sentences<'s>(before: Option<&Service>, now: &'s Service) -> Vec<&'s ServiceEvent> {
    let last = before.and_then(|service| service.events.front());
    let is_new = |event: &&ServiceEvent| last.is_none_or(|last| last.id != event.id);
    now.events.iter().take_while(is_new).collect()
}

/// What a sentence of a service means, where ECS has an event for it.
fn actions(service: &Service, sentence: &str) -> Vec<ServiceAction> {
    let scope = &service.key.cluster.scope;
    let pools = service.capacity_provider_strategy.iter();
    let pools: Vec<CapacityProviderKey> = pools
        .map(|item| CapacityProviderKey {
            scope: scope.clone(),
            name: item.capacity_provider.clone(),
        })
        .collect();
    if reconcile::is_steady_state(sentence) {
        let of_pools = (!pools.is_empty()).then_some(ServiceAction::CapacityProviderSteadyState(pools));
        return of_pools.into_iter().chain([ServiceAction::SteadyState]).collect();
    }
    if reconcile::is_unable_to_start(sentence) {
        return vec![ServiceAction::TaskStartImpaired];
    }
    match placement::closest_of(sentence) {
        Some(closest) => vec![ServiceAction::TaskPlacementFailure {
            closest: closest.host,
            reason: closest.reason,
            capacity_providers: pools,
        }],
        None => vec![],
    }
}
