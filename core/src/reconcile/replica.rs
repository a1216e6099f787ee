//! Services that want a number of tasks. Pure.
//!
//! New tasks start as far as `maximumPercent` and the hosts allow. Tasks to be replaced stop once new ones serve in
//! their place; only where new ones cannot start beside them do they stop earlier, down to `minimumHealthyPercent`. Protected
//! tasks stay, whatever they are to the service.

use std::sync::Arc;

use crate::model::{Deployment, Manner, RolloutState, Service, Task, TaskId};

use super::limits::Limits;
use super::pass::Pass;
use super::placing::Lot;
use super::tally::{Tally, is_running, is_unhealthy};
use super::{
    deployment, division, early_success, events, health, managed_scaling, placing, preemption, protection, starting,
    stopping,
};

/// Tasks that one service starts in one pass, so that others get their turn.
pub(super) const MAX_STARTS_PER_PASS: usize = 1_000;

/// What starting came to.
#[derive(Default)]
pub(super) struct Starts {
    /// Sentences to say.
    pub(super) said: Vec<String>,
    /// Whether the service will have all of its tasks, of the deployment that it keeps.
    complete: bool,
    /// Whether it waits for its back-off, or was given up.
    held_back: bool,
    /// Tasks that it lacks still and that cannot start now.
    pub(super) unstarted: usize,
}

impl Starts {
    /// Nothing was started, and nothing is missing.
    pub(super) fn none() -> Self {
        Self {
            complete: true,
            ..Self::default()
        }
    }
}

/// What stopping came to.
#[derive(Default)]
pub(super) struct Stops {
    /// Tasks that were told to stop.
    pub(super) stopped: Vec<TaskId>,
    /// How many of them ran.
    ran: usize,
    /// Tasks that would have been, if they were not protected.
    pub(super) held: Vec<Arc<Task>>,
}

/// Starts and stops what is due; returns what is to be said about it.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service) -> Vec<String> {
    let Some(deployment) = service.starting_deployment() else {
        return vec![];
    };
    let limits = Limits::of(service);
    let tally = Tally::of(&pass.state, service);
    let starts = start_missing(pass, service, deployment, &tally);
    let mut stops = stop_surplus(pass, service, &tally, limits);
    stops.stopped.extend(stop_pending_on_draining(pass, service, &tally));
    if !tally.unhealthy.is_empty() {
        // With those that have just been started.
        let now = Tally::of(&pass.state, service);
        let unhealthy = health::stop_unhealthy(pass, service, &now, starts.unstarted);
        stops.stopped.extend(unhealthy);
    }
    if deployment.rollout_state != RolloutState::Failed {
        stop_replaced(pass, service, &tally, limits, &starts, &mut stops);
    }
    let stuck = stops.stopped.is_empty()
        && stops.held.is_empty()
        && !starts.complete
        && !starts.held_back
        && tally.occupying >= limits.upper
        && tally.stopping.is_empty()
        && tally.to_replace().all(is_running)
        && tally.next_to_settle(pass.now).is_none()
        && tally.healthy(pass.now) == tally.occupying;
    let mut said = starts.said;
    said.extend(events::stopped(service.spoken(), &stops.stopped));
    said.extend(protection::say_held(pass, service, &stops.held));
    if stuck {
        said.extend(deployment::unless_said(
            pass,
            service,
            events::held_by_configuration(service.spoken()),
        ));
    }
    said
}

pub(super) fn start_missing(pass: &mut Pass<'_>, service: &Service, deployment: &Deployment, tally: &Tally) -> Starts {
    if missing(service, tally) == 0 {
        return Starts::none();
    }
    if let Some(said) = deployment::held_back(pass, service, deployment) {
        return Starts {
            said,
            held_back: true,
            ..Starts::default()
        };
    }
    let Some(definition) = starting::definition_of(&pass.state, deployment) else {
        return Starts::default();
    };
    if wanted(service, tally) == 0 {
        return Starts {
            unstarted: missing(service, tally),
            ..Starts::default()
        };
    }
    let choices = match pass.together.take(&service.key, &deployment.id) {
        Some(found) => found,
        None => {
            let prototype = starting::prototype(service, deployment, &definition, pass.now);
            let lots = lots(service, tally, &prototype, MAX_STARTS_PER_PASS);
            placing::choose_hosts(pass, lots, Manner::OneByOne)
        }
    };
    let (mut started, mut shortfall) = (vec![], None);
    for choice in choices {
        started.extend(starting::start(pass, &choice.prototype, &choice.placements));
        managed_scaling::note_demand(pass, &service.key, &choice.prototype, choice.unplaced);
        shortfall = shortfall.or(choice.shortfall.map(|why| (choice.prototype, why)));
    }
    // Where there is room, those beyond what one pass starts follow once these are there.
    let complete = shortfall.is_none() && wanted(service, tally) == missing(service, tally);
    let unstarted = missing(service, tally).saturating_sub(started.len());
    let mut said = events::started(service.spoken(), &started);
    if let Some((prototype, why)) = shortfall {
        said.extend(preemption::wait_or_make_room(
            pass, service, deployment, &prototype, &why, unstarted,
        ));
    }
    Starts {
        said,
        complete,
        held_back: false,
        unstarted: if complete { 0 } else { unstarted },
    }
}

/// Tasks that the service does not have.
pub(super) fn missing(service: &Service, tally: &Tally) -> usize {
    desired(service).saturating_sub(tally.current.len() + tally.awaited)
}

/// Those of them that it may have now.
pub(super) fn wanted(service: &Service, tally: &Tally) -> usize {
    let most = Limits::of(service).upper.saturating_sub(tally.occupying);
    missing(service, tally).min(most)
}

/// The first of them, no more than `most`, for each capacity provider by themselves.
pub(super) fn lots(service: &Service, tally: &Tally, prototype: &Task, most: usize) -> Vec<Lot> {
    let parts = division::of_new(service, &tally.current, wanted(service, tally).min(most));
    let lot = |(capacity_provider, count)| Lot {
        prototype: Task {
            capacity_provider,
            ..prototype.clone()
        },
        count,
    };
    parts.into_iter().map(lot).collect()
}

/// Scales in, of each capacity provider what it has beyond its share: tasks that do not run yet first, then those that the strategy misses least. Where some that do
/// not run yet are protected, others run on until they do.
pub(super) fn stop_surplus(pass: &mut Pass<'_>, service: &Service, tally: &Tally, limits: Limits) -> Stops {
    let surplus = tally.current.len().saturating_sub(desired(service));
    let mut stops = Stops::default();
    if surplus == 0 {
        return stops;
    }
    let running = tally.current.iter().chain(tally.to_replace());
    let running = running.filter(|task| is_running(task) && !task.has_failed_health_checks());
    let mut spare = running.count().saturating_sub(limits.lower);
    let mut victims = vec![];
    for (tasks, count) in division::of_surplus(service, &tally.current, surplus) {
        let (free, protected) = protection::split(tasks, pass.now);
        let mut chosen = choose(pass, service, &free, count);
        if chosen.len() < count {
            stops.held.extend(protected);
        }
        let may_stop = |task: &Arc<Task>| !is_running(task) || take_one(&mut spare);
        chosen.retain(may_stop);
        stops.ran += chosen.iter().filter(|task| is_running(task)).count();
        victims.extend(chosen);
    }
    stops.stopped = stopping::stop(pass, service, &victims);
    stops
}

/// Stops tasks that do not run yet on hosts that drain, at once and whatever becomes of their deployment (ECS).
pub(super) fn stop_pending_on_draining(pass: &mut Pass<'_>, service: &Service, tally: &Tally) -> Vec<TaskId> {
    let of_hosts_left = tally.draining.iter().chain(&tally.outdated);
    let pending = of_hosts_left.filter(|task| !is_running(task) && pass.state.must_leave(task));
    let (pending, _) = protection::split(pending.cloned(), pass.now);
    stop_drained(pass, service, &pending)
}

/// Stops tasks to be replaced, as many as are not needed. Those that do not run yet on hosts that drain have been stopped before.
pub(super) fn stop_replaced(
    pass: &mut Pass<'_>,
    service: &Service,
    tally: &Tally,
    limits: Limits,
    starts: &Starts,
    stops: &mut Stops,
) {
    // Unhealthy tasks make room first.
    let make_room = !starts.complete && !starts.held_back && tally.unhealthy.is_empty();
    let keep = if make_room {
        limits.lower
    } else {
        limits.lower.max(desired(service))
    };
    let healthy = tally.healthy(pass.now).saturating_sub(stops.ran);
    let mut spare = healthy.saturating_sub(keep);
    let (draining, held) = protection::split(tally.draining.iter().cloned(), pass.now);
    let (outdated, held_too) = protection::split(tally.outdated.iter().cloned(), pass.now);
    let (_, running_draining) = split_idle(draining);
    let (mut idle_outdated, running_outdated) = split_idle(outdated);
    idle_outdated.retain(|task| !pass.state.must_leave(task));
    stops.stopped.extend(stopping::stop(pass, service, &idle_outdated));
    let victims = choose(pass, service, &running_draining, spare);
    spare -= victims.len();
    if early_success::sources_go(pass, service) {
        spare = spare.max(healthy.saturating_sub(limits.lower + victims.len()));
    }
    stops.stopped.extend(stop_drained(pass, service, &victims));
    let victims = choose(pass, service, &running_outdated, spare);
    spare -= victims.len();
    stops.stopped.extend(stopping::stop(pass, service, &victims));
    if spare > 0 {
        stops.held.extend(held.into_iter().chain(held_too));
    }
}

fn take_one(left: &mut usize) -> bool {
    let is_left = *left > 0;
    *left -= usize::from(is_left);
    is_left
}

/// Tasks that do not run yet, and those that do.
fn split_idle(tasks: Vec<Arc<Task>>) -> (Vec<Arc<Task>>, Vec<Arc<Task>>) {
    tasks.into_iter().partition(|task| !is_running(task))
}

fn stop_drained(pass: &mut Pass<'_>, service: &Service, tasks: &[Arc<Task>]) -> Vec<TaskId> {
    stopping::stop_since(pass, service, tasks, stopping::SINCE_DRAINING)
}

/// At most `count` of `tasks` to stop: those that do not run yet are missed least, then those that are unhealthy, whatever the strategy says.
fn choose(pass: &mut Pass<'_>, service: &Service, tasks: &[Arc<Task>], count: usize) -> Vec<Arc<Task>> {
    let (idle, running) = split_idle(tasks.to_vec());
    let (unhealthy, healthy): (Vec<_>, Vec<_>) = running.into_iter().partition(is_unhealthy);
    let mut victims = vec![];
    for tasks in [idle, unhealthy, healthy] {
        victims.extend(placing::choose_to_stop(pass, service, &tasks, count - victims.len()));
    }
    victims
}

fn desired(service: &Service) -> usize {
    usize::try_from(service.desired_count).unwrap_or(usize::MAX)
}
