//! Services that want one task on each host, and managed daemons, which want one on each host of some capacity providers. Pure.
//!
//! A host gets its next task once the one before is over, whatever ended that: two of them would fight over what made the service one
//! per host, such as a port. So `minimumHealthyPercent` alone says how many hosts change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, Deployment, RolloutState, Service, Task, TaskId,
};
use crate::placement::{Refusal, Unplaced};
use crate::state::Command;

use super::limits::Limits;
use super::pass::Pass;
use super::placing::{OnHost, Placed};
use super::service::nothing_new;
use super::tally::{Tally, is_running};
use super::{deployment, events, managed_daemons, placing, preemption, protection, starting, stopping};

/// Hosts without a task of the service, by what can be done about it.
#[derive(Default)]
struct FreeHosts {
    /// They take one like the first of each.
    take: Vec<(Task, Vec<Placed>)>,
    /// They should have one, and have no room.
    lack_room: Vec<(Task, Unplaced)>,
}

/// Starts and stops what is due; returns what is to be said about it.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service) -> Vec<String> {
    let mut said = managed_daemons::empty_hosts_left(pass, service);
    let Some(deployment) = service.starting_deployment() else {
        return said;
    };
    let mut tally = Tally::of(&pass.state, service);
    let mut stopped = managed_daemons::stop_elsewhere(pass, service, &tally);
    if !stopped.is_empty() {
        tally = Tally::of(&pass.state, service);
    }
    managed_daemons::await_others(pass, service, &tally);
    let active = active_hosts(pass, service);
    let free = free_hosts(pass, service, deployment, &active);
    let busy = active.iter().filter(|(_, tasks)| !tasks.is_empty()).count();
    let taken: usize = free.take.iter().map(|(_, placed)| placed.len()).sum();
    let service = set_desired(pass, service, busy + taken + free.lack_room.len());
    let held_back = deployment::held_back(pass, &service, deployment);
    if let Some(why) = &held_back {
        said.extend(why.iter().cloned());
    } else {
        said.extend(start(pass, &service, deployment, &free));
    }
    let mut held = vec![];
    stopped.extend(stop_extra(pass, &service, &tally, &mut held));
    stopped.extend(stop_unhealthy(pass, &tally, held_back.is_some()));
    if deployment.rollout_state != RolloutState::Failed {
        stopped.extend(stop_outdated(pass, &service, &tally, held_back.is_some(), &mut held));
    }
    said.extend(events::stopped(&service.key.name, &stopped));
    said.extend(protection::say_held(pass, &service, &held));
    said
}

/// The hosts that take tasks of the service, and those of its tasks that are on them and not over.
fn active_hosts(pass: &Pass<'_>, service: &Service) -> BTreeMap<ContainerInstanceId, Vec<Arc<Task>>> {
    let hosts = pass.state.container_instances_of(&service.key.cluster);
    let is_own = |host: &ContainerInstance| !service.is_managed_daemon() || service.pool_of(host).is_some();
    let hosts = hosts.filter(|h| h.status == ContainerInstanceStatus::Active && is_own(h));
    let mut on_host: BTreeMap<_, Vec<_>> = hosts.map(|h| (h.id, vec![])).collect();
    for task in pass.state.live_tasks_of_service(&service.key) {
        if let Some(tasks) = task.container_instance.and_then(|host| on_host.get_mut(&host)) {
            tasks.push(Arc::clone(task));
        }
    }
    on_host
}

fn free_hosts(
    pass: &mut Pass<'_>,
    service: &Service,
    primary: &Deployment,
    active: &BTreeMap<ContainerInstanceId, Vec<Arc<Task>>>,
) -> FreeHosts {
    let mut free = FreeHosts::default();
    let Some(definition) = starting::definition_of(&pass.state, primary) else {
        return free;
    };
    let hosts = active.iter().filter(|(_, tasks)| tasks.is_empty());
    let hosts: Vec<ContainerInstanceId> = hosts.map(|(host, _)| *host).collect();
    if hosts.is_empty() {
        return free;
    }
    for (pool, hosts) in managed_daemons::by_pool(pass, service, hosts) {
        let prototype = Task {
            capacity_provider: pool,
            ..starting::prototype(service, primary, &definition, pass.now)
        };
        let mut take = vec![];
        for answer in placing::one_on_each(pass, &prototype, &hosts) {
            match answer {
                OnHost::Takes(placed) => take.push(placed),
                OnHost::Refuses(why) if only_lacks_room(&why) => free.lack_room.push((prototype.clone(), why)),
                OnHost::Refuses(_) => {}
            }
        }
        free.take.push((prototype, take));
    }
    free
}

/// Whether the service's constraints admit the host, so that it counts for the desired count.
fn only_lacks_room(why: &Unplaced) -> bool {
    let lacks_room = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::MakesRoom(_) | Refusal::Cpu(_) | Refusal::Memory(_) | Refusal::Ports(_) | Refusal::ForeignPorts(_)
        )
    };
    why.hosts.iter().all(|host| host.refusals.iter().all(lacks_room))
}

fn set_desired(pass: &mut Pass<'_>, service: &Service, hosts: usize) -> Arc<Service> {
    let count = u32::try_from(hosts).unwrap_or(u32::MAX);
    if count != service.desired_count {
        let mut progress = nothing_new(pass, service);
        progress.daemon_desired_count = Some(count);
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
    pass.state
        .service(&service.key)
        .cloned()
        .unwrap_or_else(|| Arc::new(service.clone()))
}

fn start(pass: &mut Pass<'_>, service: &Service, primary: &Deployment, free: &FreeHosts) -> Vec<String> {
    let mut started = vec![];
    for (prototype, placed) in &free.take {
        started.extend(starting::start(pass, prototype, placed));
    }
    let mut said = events::started(&service.key.name, &started);
    let mut left_over = None;
    for (place, (prototype, why)) in free.lack_room.iter().enumerate() {
        let may = place < preemption::MAX_AT_ONCE;
        let room = may.then(|| preemption::make_room(pass, service, primary, prototype, why, 1));
        let room = room.unwrap_or_default();
        said.extend(room.said);
        left_over = left_over.or((room.tasks == 0).then_some(why));
    }
    match left_over {
        Some(why) => said.extend(placing::say_unplaced(pass, service, why)),
        None if free.lack_room.is_empty() => {}
        None => placing::wait_for_room(pass, service),
    }
    said
}

/// Stops tasks on draining hosts, and a second task on a host. Adds to `held` those that stay since they are protected.
fn stop_extra(pass: &mut Pass<'_>, service: &Service, tally: &Tally, held: &mut Vec<Arc<Task>>) -> Vec<TaskId> {
    let mut seen = BTreeSet::new();
    let second = tally.current.iter().filter(|t| !seen.insert(t.container_instance));
    let (second, protected) = protection::split(second.cloned(), pass.now);
    held.extend(protected);
    let mut stopped = stopping::stop(pass, service, &second);
    let (draining, protected) = protection::split(tally.draining.iter().cloned(), pass.now);
    held.extend(protected);
    stopped.extend(stopping::stop_since(pass, service, &draining, stopping::SINCE_DRAINING));
    stopped
}

/// Stops unhealthy tasks, which do not serve; where nothing can start in their place, those that were healthy before run on.
fn stop_unhealthy(pass: &mut Pass<'_>, tally: &Tally, held_back: bool) -> Vec<TaskId> {
    let unhealthy = tally.unhealthy.iter().cloned();
    let victims: Vec<Arc<Task>> = unhealthy
        .filter(|task| !held_back || task.was_never_healthy())
        .collect();
    stopping::stop_unhealthy(pass, &victims)
}

/// Stops tasks to be replaced, as many as are not needed. Adds to `held` those that stay since they are protected.
fn stop_outdated(
    pass: &mut Pass<'_>,
    service: &Service,
    tally: &Tally,
    held_back: bool,
    held: &mut Vec<Arc<Task>>,
) -> Vec<TaskId> {
    // Hosts that drain are none of those that are to have a task, of which the limit is a share.
    let serving = tally.healthy_among(pass.now, |task| !pass.state.must_leave(task));
    let spare = serving.saturating_sub(Limits::of(service).lower);
    let spare = if held_back { 0 } else { spare };
    let (outdated, protected) = protection::split(tally.outdated.iter().cloned(), pass.now);
    let (running, idle): (Vec<_>, Vec<_>) = outdated.into_iter().partition(is_running);
    if spare > running.len() {
        held.extend(protected);
    }
    let victims: Vec<Arc<Task>> = idle.into_iter().chain(running.into_iter().take(spare)).collect();
    stopping::stop(pass, service, &victims)
}
