//! Services that wait for others of their cluster: a deployment starts its first task once the services that its service names are steady. Pure.
//!
//! What has begun goes on, whatever becomes of the others: a deployment that has a task, one that was completed, and one that returns to what ran before wait
//! for nobody. Services that wait for each other in a circle would wait for ever; that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{
    Deployment, RolloutState, Service, ServiceDeploymentStatus, ServiceKey, ServiceName, ServiceStatus, dependencies_of,
};
use crate::state::ClusterState;

use super::pass::Pass;
use super::{deployment, events};

/// Services that are looked at in search of a circle.
const MAX_SERVICES: usize = 1_000;

/// Why a service is not what another waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NotReady {
    Missing,
    Deleted,
    WantsNone,
    Failed,
    /// It has a deployment that is not completed, which may wait in turn.
    Deploying {
        wants_none: bool,
    },
    Unsteady,
    /// It waits in turn, by way of these.
    Circle(Vec<ServiceName>),
}

impl NotReady {
    /// Whether it may wait for the service that waits for it.
    fn may_wait_in_turn(&self) -> bool {
        matches!(self, Self::Deploying { .. })
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist yet",
            Self::Deleted => "is deleted",
            Self::WantsNone | Self::Deploying { wants_none: true } => "wants no task",
            Self::Failed => "has a deployment that failed",
            Self::Deploying { wants_none: false } => "has a deployment that is not completed",
            Self::Unsteady => "is not steady",
            Self::Circle(names) => {
                let names: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
                return write!(f, "waits for it in turn ({})", names.join(" -> "));
            }
        })
    }
}

/// Who waits for whom, so that whatever becomes of a service brings back those that wait for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependents {
    of: BTreeMap<ServiceKey, BTreeSet<ServiceKey>>,
    wait_for: BTreeMap<ServiceKey, Vec<ServiceKey>>,
}

impl Dependents {
    fn join(&mut self, service: &ServiceKey, others: Vec<ServiceKey>) {
        for other in &others {
            self.of.entry(other.clone()).or_default().insert(service.clone());
        }
        self.wait_for.insert(service.clone(), others);
    }

    /// Has a service wait for none any more.
    pub(super) fn leave(&mut self, service: &ServiceKey) {
        for other in self.wait_for.remove(service).unwrap_or_default() {
            if let Some(dependents) = self.of.get_mut(&other) {
                dependents.remove(service);
                if dependents.is_empty() {
                    self.of.remove(&other);
                }
            }
        }
    }

    /// The services that wait for this one.
    pub(super) fn of(&self, service: &ServiceKey) -> impl Iterator<Item = &ServiceKey> {
        self.of.get(service).into_iter().flatten()
    }
}

/// Whether the deployment waits for other services. If so, what is to be said, if anything; the service is looked at again once one of them changes.
pub(super) fn held_back(pass: &mut Pass<'_>, service: &Service, deployment: &Deployment) -> Option<Vec<String>> {
    let sentence = waits(&pass.state, service, deployment)?;
    let others = dependencies_of(&service.tags).into_iter();
    let others = others.map(|name| service.key.cluster.service(name.as_str()));
    pass.agenda.dependents.join(&service.key, others.collect());
    Some(deployment::unless_said(pass, service, sentence).into_iter().collect())
}

/// Whether a deployment of a service waits for other services.
pub(super) fn is_held_back(state: &ClusterState, service: &Service, deployment: &Deployment) -> bool {
    awaited(state, service, deployment).next().is_some()
}

/// What the service's next task waits for beside a host, in a sentence.
pub(crate) fn waits_for(state: &ClusterState, service: &Service) -> Option<String> {
    waits(state, service, service.starting_deployment()?)
}

fn waits(state: &ClusterState, service: &Service, deployment: &Deployment) -> Option<String> {
    let mut awaited: Vec<(ServiceName, NotReady)> = awaited(state, service, deployment).collect();
    if awaited.iter().any(|(_, why)| why.may_wait_in_turn()) {
        name_circle(state, service, &mut awaited);
    }
    let awaited: Vec<String> = awaited
        .iter()
        .map(|(name, why)| format!("(service {name}) {why}"))
        .collect();
    (!awaited.is_empty()).then(|| events::waits_for_services(&service.key.name, &awaited))
}

/// The services that a deployment of a service waits for, and why it does, whether they wait for it in turn or not.
fn awaited<'s>(
    state: &'s ClusterState,
    service: &'s Service,
    deployment: &Deployment,
) -> impl Iterator<Item = (ServiceName, NotReady)> + use<'s> {
    let names = dependencies_of(&service.tags);
    let waits = !names.is_empty() && is_yet_to_begin(state, service, deployment);
    let names = names.into_iter().filter(move |_| waits);
    names.filter_map(|name| {
        let why = not_ready(state, &service.key.cluster.service(name.as_str()))?;
        Some((name, why))
    })
}

/// Says of the service on the way by which `service` waits for itself, if there is one, that it does.
fn name_circle(state: &ClusterState, service: &Service, awaited: &mut [(ServiceName, NotReady)]) {
    let Some(way) = circle(state, &service.key, &dependencies_of(&service.tags)) else {
        return;
    };
    let on_the_way = awaited
        .iter_mut()
        .filter(|(name, why)| why.may_wait_in_turn() && way.contains(name));
    for (_, why) in on_the_way {
        *why = NotReady::Circle(way.clone());
    }
}

/// Whether the deployment has no task, and none that its service could not do without before either.
fn is_yet_to_begin(state: &ClusterState, service: &Service, deployment: &Deployment) -> bool {
    let rolls_back = service
        .service_deployment_under_way()
        .is_some_and(|current| current.status == ServiceDeploymentStatus::RollbackInProgress);
    let is_newest = service.primary().is_some_and(|primary| primary.id == deployment.id);
    let mut tasks = state.live_tasks_of_service(&service.key);
    is_newest
        && !rolls_back
        && deployment.rollout_state == RolloutState::InProgress
        && !tasks.any(|task| task.deployment() == Some(&deployment.id))
}

fn not_ready(state: &ClusterState, key: &ServiceKey) -> Option<NotReady> {
    let Some(service) = state.service(key) else {
        return Some(NotReady::Missing);
    };
    let rollout = service.primary().map(|primary| primary.rollout_state);
    match service.status {
        ServiceStatus::Draining | ServiceStatus::Inactive => Some(NotReady::Deleted),
        ServiceStatus::Active if rollout == Some(RolloutState::Failed) => Some(NotReady::Failed),
        ServiceStatus::Active if rollout == Some(RolloutState::InProgress) => Some(NotReady::Deploying {
            wants_none: service.desired_count == 0,
        }),
        ServiceStatus::Active if service.desired_count == 0 => Some(NotReady::WantsNone),
        ServiceStatus::Active => (!service.steady).then_some(NotReady::Unsteady),
    }
}

fn dependencies_of_key(state: &ClusterState, key: &ServiceKey) -> Vec<ServiceName> {
    state
        .service(key)
        .map(|service| dependencies_of(&service.tags))
        .unwrap_or_default()
}

/// The way from a service that waits for these back to itself, if there is one.
#[must_use]
pub fn circle(state: &ClusterState, service: &ServiceKey, waits_for: &[ServiceName]) -> Option<Vec<ServiceName>> {
    let mut came_from: BTreeMap<ServiceName, ServiceName> = BTreeMap::new();
    let mut next: Vec<(ServiceName, ServiceName)> = vec![];
    next.extend(waits_for.iter().rev().map(|name| (name.clone(), service.name.clone())));
    while let Some((name, from)) = next.pop() {
        if name == service.name {
            let mut way = vec![name, from.clone()];
            let mut at = from;
            while let Some(before) = came_from.get(&at) {
                way.push(before.clone());
                at = before.clone();
            }
            way.reverse();
            return Some(way);
        }
        if came_from.contains_key(&name) || came_from.len() == MAX_SERVICES {
            continue;
        }
        came_from.insert(name.clone(), from);
        let others = dependencies_of_key(state, &service.cluster.service(name.as_str()));
        next.extend(others.into_iter().rev().map(|other| (other, name.clone())));
    }
    None
}
