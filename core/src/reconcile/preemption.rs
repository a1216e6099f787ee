//! Room for tasks of high priority, where others of lower priority give it up: which tasks stop, and what is said of it. Pure.
//!
//! As Kubernetes and Nomad do it. A service that lacks tasks of its desired count, in a cluster where that is switched on, may have tasks stopped whose priority
//! is lower by a margin, on one host for each task that it lacks. Of all hosts the one is taken whose tasks are missed least: that which leaves every service
//! its `minimumHealthyPercent`, if there is one; then that whose tasks are of the lowest priority; then that with the fewest. Tasks that are protected, those of daemon services and those outside services that say no
//! priority are left alone. What is free soon anyway is waited for.
//!
//! It ends: whoever is stopped has a lower priority than the one for whom, and so never takes the room back; the host takes no other task meanwhile; and a
//! service whose tasks keep failing to start has nothing stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    ContainerInstanceId, Deployment, DesiredStatus, Ports, Priority, Resources, SchedulingStrategy, Service,
    ServiceKey, ServiceName, Task, TaskId, Timestamp,
};
use crate::placement::{MAX_LACKING_ROOM, Refusal, Unplaced};
use crate::state::{ClusterState, Command, Feature, keeps_failing};

use super::outlines::{Ground, HostPlace, Outline, Outlines, ServiceNumber};
use super::pass::Pass;
use super::service::nothing_new;
use super::tally::is_running;
use super::{deployment, events, managed_scaling, placing};

/// How often a service has tasks of a host stopped in one look; more follow once that was seen through.
pub(super) const MAX_AT_ONCE: usize = 10;

/// What became of the wish for room.
#[derive(Default)]
pub(super) struct Room {
    /// Sentences to say.
    pub(super) said: Vec<String>,
    /// How many of the tasks that found no host will have one once others are over.
    pub(super) tasks: usize,
}

/// Has a service wait for room for `lacking` tasks like `prototype`, and makes it where it may; returns what is to be said.
pub(super) fn wait_or_make_room(
    pass: &mut Pass<'_>,
    service: &Service,
    deployment: &Deployment,
    prototype: &Task,
    why: &Unplaced,
    lacking: usize,
) -> Vec<String> {
    let room = make_room(pass, service, deployment, prototype, why, lacking);
    let mut said = room.said;
    if room.tasks < lacking {
        said.extend(placing::say_unplaced(pass, service, why));
    } else {
        placing::wait_for_room(pass, service);
    }
    said
}

/// Has tasks stopped so that `lacking` tasks like `prototype` fit, as far as the service may.
pub(super) fn make_room(
    pass: &mut Pass<'_>,
    service: &Service,
    deployment: &Deployment,
    prototype: &Task,
    why: &Unplaced,
    lacking: usize,
) -> Room {
    let mut room = Room::default();
    if !may_preempt(&pass.state, service, deployment, pass.now)
        || managed_scaling::may_have_more(pass, service, prototype)
    {
        return room;
    }
    let wanted = lacking.min(beyond(&pass.state, service));
    let hosts = why.lack_room.as_slice();
    let mut search = Search::new(&pass.state, &mut pass.outlines, service, prototype, hosts, pass.now);
    room.tasks = search.comes_anyway();
    let mut found = vec![];
    while room.tasks < wanted
        && found.len() < MAX_AT_ONCE
        && let Some(sacrifice) = search.least()
    {
        room.tasks += sacrifice.gain;
        search.take(&sacrifice);
        found.push(sacrifice);
    }
    for sacrifice in without_surplus(found, room.tasks.saturating_sub(wanted)) {
        if stop(pass, service, &sacrifice) {
            room.said.extend(say(pass, service, &sacrifice));
        }
    }
    room
}

/// The tasks that would be stopped so that the next task of the service fits, and where; nothing if it would not have any stopped.
pub(crate) fn proposal<'r>(
    state: &ClusterState,
    service: &Service,
    prototype: &Task,
    refused: impl Iterator<Item = (ContainerInstanceId, &'r [Refusal])>,
    now: Timestamp,
) -> Option<(ContainerInstanceId, Vec<Arc<Task>>)> {
    let deployment = service.starting_deployment()?;
    if !may_preempt(state, service, deployment, now) || beyond(state, service) == 0 {
        return None;
    }
    let mut outlines = Outlines::default();
    let hosts = lack_room(&service.key.name, refused);
    let mut search = Search::new(state, &mut outlines, service, prototype, &hosts, now);
    let least = search.least()?;
    (search.comes_anyway() == 0).then_some((least.host, least.tasks))
}

/// Of hosts that refuse a task of the service, the closest first, the same as in [`Unplaced::lack_room`].
fn lack_room<'r>(
    service: &ServiceName,
    refused: impl Iterator<Item = (ContainerInstanceId, &'r [Refusal])>,
) -> Vec<ContainerInstanceId> {
    let makes_room = |refusal: &Refusal| matches!(refusal, Refusal::MakesRoom(by) if by == service);
    let lacks_room = |refusal: &Refusal| refusal.is_of_room() || makes_room(refusal);
    let lack_room = refused.filter(|(_, refusals)| refusals.iter().all(lacks_room));
    let (making, others): (Vec<_>, Vec<_>) = lack_room.partition(|(_, refusals)| refusals.iter().any(makes_room));
    let hosts = making.into_iter().chain(others.into_iter().take(MAX_LACKING_ROOM));
    hosts.map(|(host, _)| host).collect()
}

/// Those that are needed, where there is room for `surplus` tasks too many once the last was chosen: the dearest is left out first.
fn without_surplus(found: Vec<Sacrifice>, mut surplus: usize) -> Vec<Sacrifice> {
    let mut kept: Vec<Option<Sacrifice>> = found.into_iter().map(Some).collect();
    let mut by_loss: Vec<usize> = (0..kept.len()).collect();
    by_loss.sort_by_key(|place| std::cmp::Reverse(kept[*place].as_ref().map(|sacrifice| sacrifice.loss)));
    for place in by_loss {
        let Some(sacrifice) = &kept[place] else { continue };
        // What was chosen later on the same host counts with it.
        let mut later = kept[place + 1..].iter().flatten();
        if sacrifice.gain <= surplus && later.all(|other| other.host != sacrifice.host) {
            surplus -= sacrifice.gain;
            kept[place] = None;
        }
    }
    kept.into_iter().flatten().collect()
}

/// Whether tasks may be stopped for the service at all.
fn may_preempt(state: &ClusterState, service: &Service, deployment: &Deployment, now: Timestamp) -> bool {
    state.uses(Feature::Preemption) && state.preempts(&service.key.cluster) && !keeps_failing(deployment.backoff, now)
}

/// Tasks that the service lacks of its desired count: what a deployment starts beyond that waits for room of its own.
fn beyond(state: &ClusterState, service: &Service) -> usize {
    if service.scheduling_strategy == SchedulingStrategy::Daemon {
        // It is asked for host by host, and each wants one; tasks on hosts that drain are not those that are lacked.
        return usize::MAX;
    }
    let whole = state.service(&service.key).map_or(0, |service| service.desired_count);
    let wanted = state.live_tasks_of_service(&service.key);
    let wanted = wanted
        .filter(|task| task.desired_status == DesiredStatus::Running)
        .count();
    usize::try_from(whole).unwrap_or(usize::MAX).saturating_sub(wanted)
}

/// Tasks of one host to be stopped, with what speaks against it.
struct Sacrifice {
    host: ContainerInstanceId,
    tasks: Vec<Arc<Task>>,
    /// How many more tasks fit then.
    gain: usize,
    loss: Loss,
}

/// What is lost; the least is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    /// Tasks that run and that a service needs for its `minimumHealthyPercent`.
    needed: usize,
    /// The highest priority of any of them.
    priority: Priority,
    /// How many.
    tasks: usize,
    /// CPU units and MiB that they hold.
    amount: u64,
    host: ContainerInstanceId,
}

/// A task that may be stopped.
struct Candidate {
    task: Arc<Task>,
    priority: Priority,
    /// Its service, if that has a task less that runs then.
    service: Option<ServiceNumber>,
    /// Whether its service would have too few tasks that run.
    is_needed: bool,
}

/// A search for what is missed least.
struct Search<'s> {
    state: &'s ClusterState,
    outlines: &'s mut Outlines,
    now: Timestamp,
    service: &'s ServiceName,
    priority: Priority,
    needs: Resources,
    ports: &'s Ports,
    /// Hosts that lack nothing but room that tasks hold, those that make it first.
    hosts: Vec<HostPlace>,
    /// What is to be stopped.
    chosen: BTreeSet<TaskId>,
    /// How many tasks that run each service can do without, as far as some of its were chosen.
    spare: BTreeMap<ServiceNumber, usize>,
}

impl<'s> Search<'s> {
    fn new(
        state: &'s ClusterState,
        outlines: &'s mut Outlines,
        service: &'s Service,
        prototype: &'s Task,
        hosts: &[ContainerInstanceId],
        now: Timestamp,
    ) -> Self {
        Self {
            state,
            hosts: outlines.places_of(hosts),
            outlines,
            now,
            service: &service.key.name,
            priority: Priority::of(&service.tags),
            needs: prototype.reservation,
            ports: &prototype.host_ports,
            chosen: BTreeSet::new(),
            spare: BTreeMap::new(),
        }
    }

    /// What there is to know of a host, unless it makes room for another service: it may have begun to since it refused, and this one is not to wait for that.
    fn outline(&mut self, host: HostPlace) -> Option<&Outline> {
        let outline = self.outlines.of(self.state, host, self.now)?;
        outline.is_open_to(self.service).then_some(outline)
    }

    /// How many of the tasks fit where others are about to be over: those that make room for the service, and those that stop for whatever reason.
    fn comes_anyway(&mut self) -> usize {
        let (needs, ports) = (self.needs, self.ports);
        let mut times = 0;
        for host in self.hosts.clone() {
            times += self
                .outline(host)
                .map_or(0, |outline| outline.ground.times(needs, ports));
        }
        times
    }

    /// What is missed least of all that would make one more task fit.
    fn least(&mut self) -> Option<Sacrifice> {
        let priority = self.priority;
        let mut least: Option<Sacrifice> = None;
        for host in self.hosts.clone() {
            let lowest = self.outline(host).and_then(|outline| outline.lowest);
            if !lowest.is_some_and(|lowest| priority.may_preempt(lowest)) {
                continue;
            }
            if let Some(found) = self.on_host(host)
                && least.as_ref().is_none_or(|least| found.loss < least.loss)
            {
                least = Some(found);
            }
        }
        least
    }

    /// How many of the tasks fit.
    fn times(&self, ground: &Ground) -> usize {
        ground.times(self.needs, self.ports)
    }

    /// The tasks that are missed least on one host.
    fn on_host(&mut self, host: HostPlace) -> Option<Sacrifice> {
        let (left, candidates) = self.candidates(host)?;
        let host = self.outlines.id(host);
        let before = self.times(&left);
        let mut ground = left.clone();
        candidates.iter().for_each(|candidate| ground.release(&candidate.task));
        if self.times(&ground) <= before {
            return None;
        }
        // The smallest stay first, so that few are stopped.
        let mut by_worth: Vec<&Candidate> = candidates.iter().collect();
        by_worth.sort_by_key(|candidate| {
            (
                !candidate.is_needed,
                std::cmp::Reverse(candidate.priority),
                size(&candidate.task),
                candidate.task.created_at,
                candidate.task.id,
            )
        });
        let mut stopped = vec![];
        for candidate in by_worth {
            ground.keep(&candidate.task);
            if self.times(&ground) <= before {
                ground.release(&candidate.task);
                stopped.push(candidate);
            }
        }
        // One that is large enough by itself may be less of a loss than several.
        let several = sacrifice(host, &stopped, self.times(&ground) - before);
        let mut ground = left;
        let one = candidates.iter().filter_map(|candidate| {
            ground.release(&candidate.task);
            let gain = self.times(&ground) - before;
            ground.keep(&candidate.task);
            (gain > 0).then(|| sacrifice(host, &[candidate], gain))
        });
        one.chain([several]).min_by_key(|sacrifice| sacrifice.loss)
    }

    /// What a host has left once all is over that is stopping or is to be stopped, and the tasks that could be as well.
    fn candidates(&mut self, host: HostPlace) -> Option<(Ground, Vec<Candidate>)> {
        let outline = self.outlines.of(self.state, host, self.now)?;
        let mut ground = outline.ground.clone();
        let mut candidates = vec![];
        for one in &outline.may_stop {
            if self.chosen.contains(&one.task.id) {
                ground.release(&one.task);
            } else if self.priority.may_preempt(one.priority) {
                candidates.push(Candidate {
                    task: Arc::clone(&one.task),
                    priority: one.priority,
                    service: one.service,
                    is_needed: false,
                });
            }
        }
        self.outlines.weighed += 1;
        let mut stopped = BTreeMap::<ServiceNumber, usize>::new();
        for candidate in &mut candidates {
            if let Some(service) = candidate.service {
                let count = stopped.entry(service).or_default();
                *count += 1;
                candidate.is_needed = *count > self.spare_of(service);
            }
        }
        Some((ground, candidates))
    }

    /// How many tasks that run a service can do without.
    fn spare_of(&mut self, service: ServiceNumber) -> usize {
        let spare = self.spare.entry(service);
        *spare.or_insert_with(|| self.outlines.spare(self.state, service))
    }

    /// Counts with what is to be stopped.
    fn take(&mut self, sacrifice: &Sacrifice) {
        self.chosen.extend(sacrifice.tasks.iter().map(|task| task.id));
        let running = sacrifice.tasks.iter().filter(|task| is_running(task));
        for key in running.filter_map(|task| task.service()) {
            let service = self.outlines.number_of(key);
            let left = self.spare_of(service).saturating_sub(1);
            self.spare.insert(service, left);
        }
    }
}

fn sacrifice(host: ContainerInstanceId, candidates: &[&Candidate], gain: usize) -> Sacrifice {
    let mut tasks: Vec<Arc<Task>> = candidates.iter().map(|candidate| Arc::clone(&candidate.task)).collect();
    tasks.sort_by_key(|task| task.id);
    let priority = candidates.iter().map(|candidate| candidate.priority).max();
    let loss = Loss {
        needed: candidates.iter().filter(|candidate| candidate.is_needed).count(),
        priority: priority.unwrap_or(Priority::LOWEST),
        tasks: candidates.len(),
        amount: tasks.iter().map(size).sum(),
        host,
    };
    Sacrifice {
        host,
        tasks,
        gain,
        loss,
    }
}

fn size(task: &Arc<Task>) -> u64 {
    u64::from(task.reservation.cpu.0) + u64::from(task.reservation.memory.0)
}

fn stop(pass: &mut Pass<'_>, service: &Service, sacrifice: &Sacrifice) -> bool {
    let (name, priority) = (&service.key.name, Priority::of(&service.tags));
    let is_stopped = pass.decide(Command::PreemptTasks {
        tasks: sacrifice.tasks.iter().map(|task| task.id).collect(),
        by: service.key.clone(),
        reason: format!("Preempted by (service {name}), whose priority is {priority}."),
        at: pass.now,
    });
    if is_stopped {
        pass.agenda.kept_room.keep(sacrifice.host, &service.key);
    }
    is_stopped
}

/// Has the services whose tasks are stopped say so; returns what the one for whom they are says.
fn say(pass: &mut Pass<'_>, service: &Service, sacrifice: &Sacrifice) -> Vec<String> {
    let host = pass.state.container_instance(sacrifice.host);
    let host = host.map_or_else(|| sacrifice.host.to_string(), |host| host.host.host_name.clone());
    let by = &service.key.name;
    let mut of_services: BTreeMap<ServiceKey, Vec<TaskId>> = BTreeMap::new();
    for task in &sacrifice.tasks {
        if let Some(victim) = task.service() {
            of_services.entry(victim.clone()).or_default().push(task.id);
        }
    }
    for (victim, tasks) in of_services {
        let Some(victim) = pass.state.service(&victim).cloned() else {
            continue;
        };
        let mut progress = nothing_new(pass, &victim);
        let said = events::preempted(&victim.key.name, by, &host, &tasks);
        progress.events = deployment::as_events(pass, said);
        pass.decide(Command::RecordServiceProgress(Box::new(progress)));
    }
    let tasks: Vec<TaskId> = sacrifice.tasks.iter().map(|task| task.id).collect();
    events::makes_room(service.spoken(), &host, &tasks)
}
