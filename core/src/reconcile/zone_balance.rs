//! Services that ask for it are brought back to evenness over availability zones, as after a zone was lost and is back: by the same plan, and the same moves, as
//! a rebalancing that somebody starts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ClusterKey, ContainerInstanceStatus, DesiredStatus, MoveStatus, Rebalance, RebalanceGoal, Service, ServiceName,
    ServiceStatus, TaskMove,
};
use crate::rebalance::{self, Wish};
use crate::state::{Command, Feature};

use super::agenda::Subject;
use super::pass::Pass;
use super::service::nothing_new;
use super::{deployment, events};

/// How long hosts and services are left to themselves after something changed: hosts that come back do so one after the other.
const CALM_MS: i64 = 60_000;

/// How long they may be kept waiting by changes that follow each other.
const LONGEST_CALM_MS: i64 = 5 * 60_000;

/// When what could not be moved is tried again, unless hosts change before.
const AGAIN_MS: i64 = 30 * 60_000;

/// How long a service does not say again that it is uneven.
const REPEAT_AFTER_MS: i64 = 60 * 60_000;

/// How long moves may take.
const DEADLINE_MS: i64 = 30 * 60_000;

/// Moves that are planned at once, in all and of one service, whose tasks move one after the other; more follow.
const MAX_MOVES: usize = 100;
const MAX_MOVES_OF_SERVICE: usize = 20;

/// A host of a cluster has changed: has its zones looked at once it is calm.
pub(super) fn look_later(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    let restless_since = pass.agenda.note_restless(cluster, pass.now);
    let latest = restless_since.plus_ms(LONGEST_CALM_MS);
    let at = pass.now.plus_ms(CALM_MS).min(latest);
    pass.agenda.put_off(Subject::Zones(cluster.clone()), at);
}

/// A service of a cluster has become steady, which may be uneven.
pub(super) fn look_at_steady(pass: &mut Pass<'_>, service: &Service) {
    if service.zone_rebalancing && !pass.agenda.cannot_be_even(&service.key, pass.now) {
        let at = pass.now.plus_ms(CALM_MS);
        pass.agenda.wake(Subject::Zones(service.key.cluster.clone()), at);
    }
}

/// A rebalancing of a cluster is over. Where it was stopped, nothing follows it before something else changes.
pub(super) fn look_again(pass: &mut Pass<'_>, rebalance: &Rebalance) {
    let moved = rebalance
        .moves
        .iter()
        .any(|found| matches!(found.status, MoveStatus::Moved { .. }));
    if !rebalance.stopped {
        let at = pass.now.plus_ms(if moved { CALM_MS } else { AGAIN_MS });
        pass.agenda.wake(Subject::Zones(rebalance.cluster.clone()), at);
    }
}

/// Begins to move tasks of the services of a cluster that are uneven and ask for that.
pub(super) fn reconcile(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    pass.agenda.set_calm(cluster);
    if !pass.state.uses(Feature::ZoneRebalancing) || pass.state.rebalance(cluster).is_some_and(|r| r.is_under_way()) {
        return;
    }
    let uneven = uneven(pass, cluster);
    if uneven.is_empty() {
        return;
    }
    let wish = Wish {
        goal: RebalanceGoal::Zones,
        services: uneven.keys().cloned().collect(),
        max_moves: MAX_MOVES,
    };
    let moves = few_of_each(rebalance::moves(&pass.state, cluster, &wish, pass.now));
    let moved: BTreeSet<ServiceName> = moves.iter().map(|found| found.service.clone()).collect();
    let (moved, stay): (Vec<_>, Vec<_>) = uneven.iter().partition(|(name, _)| moved.contains(*name));
    if !stay.is_empty() {
        let again = pass.now.plus_ms(AGAIN_MS);
        pass.agenda.wake(Subject::Zones(cluster.clone()), again);
        for (name, _) in stay {
            pass.agenda.set_cannot_be_even(cluster.service(name.as_str()), again);
        }
    }
    if !moved.is_empty() && begin(pass, cluster, moves) {
        for (name, zones) in moved {
            say(pass, cluster, name, zones);
        }
    }
}

fn few_of_each(moves: Vec<TaskMove>) -> Vec<TaskMove> {
    let mut counts: BTreeMap<ServiceName, usize> = BTreeMap::new();
    let is_one_of_few = |found: &TaskMove| {
        let count = counts.entry(found.service.clone()).or_default();
        *count += 1;
        *count <= MAX_MOVES_OF_SERVICE
    };
    moves.into_iter().filter(is_one_of_few).collect()
}

/// Tasks of a service by zone.
type Zones = BTreeMap<String, usize>;

/// Active services that ask for evenness and of which a zone has at least two tasks more than another.
fn uneven(pass: &Pass<'_>, cluster: &ClusterKey) -> BTreeMap<ServiceName, Zones> {
    let hosts = pass.state.container_instances_of(cluster);
    let available = hosts.filter(|host| host.status == ContainerInstanceStatus::Active && host.agent_connected);
    let zones: Zones = available
        .filter_map(|host| Some((host.availability_zone()?.to_owned(), 0)))
        .collect();
    let asks = |service: &&std::sync::Arc<Service>| {
        service.status == ServiceStatus::Active
            && service.zone_rebalancing
            && !pass.agenda.cannot_be_even(&service.key, pass.now)
    };
    let services = pass.state.services_of(cluster).filter(asks);
    let counted = services.map(|service| (service.key.name.clone(), counts(pass, service, zones.clone())));
    counted.filter(|(_, zones)| rebalance::skew(zones) > 1).collect()
}

fn counts(pass: &Pass<'_>, service: &Service, mut zones: Zones) -> Zones {
    let tasks = pass.state.live_tasks_of_service(&service.key);
    for task in tasks.filter(|task| task.desired_status == DesiredStatus::Running) {
        let host = task.container_instance.and_then(|id| pass.state.container_instance(id));
        if let Some(zone) = host.and_then(|host| host.availability_zone()) {
            *zones.entry(zone.to_owned()).or_default() += 1;
        }
    }
    zones
}

fn begin(pass: &mut Pass<'_>, cluster: &ClusterKey, moves: Vec<TaskMove>) -> bool {
    let rebalance = Rebalance {
        cluster: cluster.clone(),
        id: pass.ids.uuid(),
        goal: RebalanceGoal::Zones,
        at_a_time: 1,
        moves,
        drain: vec![],
        drained: vec![],
        deadline: pass.now.plus_ms(DEADLINE_MS),
        stopped: false,
        started_at: pass.now,
        ended_at: None,
    };
    pass.decide(Command::BeginRebalance(Box::new(rebalance)))
}

fn say(pass: &mut Pass<'_>, cluster: &ClusterKey, name: &ServiceName, zones: &Zones) {
    let Some(service) = pass.state.service(&cluster.service(name.as_str())).cloned() else {
        return;
    };
    let said = events::last_said(&service, &events::beginning_of_not_balanced(name));
    if said.is_some_and(|(_, at)| at.plus_ms(REPEAT_AFTER_MS) > pass.now) {
        return;
    }
    let mut progress = nothing_new(pass, &service);
    progress.events = deployment::as_events(pass, vec![events::not_balanced(name, zones)]);
    pass.decide(Command::RecordServiceProgress(Box::new(progress)));
}
