//! The hosts while tasks are moved to and fro. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::measure::{Measure, Spread, skew};
use super::problem::{PlacedTask, RebalanceProblem};
use crate::model::{
    ContainerInstanceId, ContainerInstanceStatus, PlacementStrategy, Resources, TaskId, attribute_names,
};
use crate::placement::{GpuSet, Host, Refusal, Seed, Session, SpreadField, TaskRequest, TypicalTasks};

/// See the module.
pub(super) struct Ground<'p> {
    problem: &'p RebalanceProblem,
    session: Session,
    hosts: BTreeMap<ContainerInstanceId, &'p Host>,
    /// By task.
    at: Vec<ContainerInstanceId>,
    /// Tasks on each host, those aside that are no obstacle.
    on: BTreeMap<ContainerInstanceId, BTreeSet<usize>>,
    /// Of each group that is spread over zones first, its tasks by zone, for zones where it may have some.
    spreads: BTreeMap<&'p str, BTreeMap<String, usize>>,
    largest: Resources,
}

/// How to take back a move.
pub(super) struct Undo {
    task: usize,
    from: ContainerInstanceId,
    gpus: GpuSet,
}

impl<'p> Ground<'p> {
    pub(super) fn new(problem: &'p RebalanceProblem) -> Self {
        let mut ground = Self {
            problem,
            session: Session::new(&problem.hosts, TypicalTasks::default(), Seed::default()).without_explanations(),
            hosts: problem.hosts.iter().map(|host| (host.id, host)).collect(),
            at: problem.tasks.iter().map(|task| task.host).collect(),
            on: BTreeMap::new(),
            spreads: BTreeMap::new(),
            largest: largest(&problem.hosts),
        };
        for (number, task) in problem.tasks.iter().enumerate() {
            if !task.is_no_obstacle() {
                ground.on.entry(task.host).or_default().insert(number);
            }
        }
        ground.count_zones();
        ground
    }

    fn count_zones(&mut self) {
        for (number, task) in self.problem.tasks.iter().enumerate() {
            if task.is_no_obstacle() || !spreads_over_zones(&task.replacement) {
                continue;
            }
            let group = task.held.group.as_str();
            if !self.spreads.contains_key(group) {
                let zones = self.zones_for(&task.replacement);
                self.spreads.insert(group, zones);
            }
            self.count(number, |tasks| tasks + 1);
        }
    }

    /// The zones with a host that takes the task if it has room.
    fn zones_for(&mut self, request: &TaskRequest) -> BTreeMap<String, usize> {
        let mut zones = BTreeMap::new();
        for host in &self.problem.hosts {
            let Some(zone) = zone_of(host).filter(|zone| !zones.contains_key(*zone)) else {
                continue;
            };
            if self.session.refusals(request, host.id).iter().all(is_about_room) {
                zones.insert(zone.to_owned(), 0);
            }
        }
        zones
    }

    fn count(&mut self, task: usize, change: fn(usize) -> usize) {
        let zone = self.hosts.get(&self.at[task]).and_then(|host| zone_of(host));
        let spread = self.spreads.get_mut(self.problem.tasks[task].held.group.as_str());
        if let (Some(spread), Some(zone)) = (spread, zone)
            && let Some(tasks) = spread.get_mut(zone)
        {
            *tasks = change(*tasks);
        }
    }

    /// The tasks, by their numbers.
    pub(super) fn tasks(&self) -> &'p [PlacedTask] {
        &self.problem.tasks
    }

    pub(super) fn id(&self, task: usize) -> TaskId {
        self.problem.tasks[task].id()
    }

    pub(super) fn group(&self, task: usize) -> &'p str {
        &self.problem.tasks[task].held.group
    }

    /// Where a task is now.
    pub(super) fn at(&self, task: usize) -> ContainerInstanceId {
        self.at[task]
    }

    pub(super) fn host(&self, id: ContainerInstanceId) -> &'p Host {
        self.hosts[&id]
    }

    pub(super) fn zone(&self, id: ContainerInstanceId) -> Option<&'p str> {
        zone_of(self.hosts[&id])
    }

    /// Hosts that take tasks, in the order of their ids.
    pub(super) fn available(&self) -> impl Iterator<Item = &'p Host> + use<'p> {
        self.problem.hosts.iter().filter(|host| is_available(host))
    }

    /// Tasks on a host, but those that are no obstacle to its being empty.
    pub(super) fn on(&self, host: ContainerInstanceId) -> impl Iterator<Item = usize> {
        self.on.get(&host).into_iter().flatten().copied()
    }

    pub(super) fn is_empty(&self, host: ContainerInstanceId) -> bool {
        self.on(host).next().is_none()
    }

    /// Groups that are spread over zones first, with their tasks by zone.
    pub(super) fn spreads(&self) -> &BTreeMap<&'p str, BTreeMap<String, usize>> {
        &self.spreads
    }

    pub(super) fn takes(&mut self, task: usize, host: ContainerInstanceId) -> bool {
        host != self.at[task] && self.session.takes(&self.problem.tasks[task].replacement, host)
    }

    pub(super) fn refusals(&mut self, task: usize, host: ContainerInstanceId) -> Vec<Refusal> {
        self.session.refusals(&self.problem.tasks[task].replacement, host)
    }

    /// Whether the task's group is as even over zones with the task there as now, or even enough.
    pub(super) fn keeps_even(&self, task: usize, to: ContainerInstanceId) -> bool {
        let (from, to) = (self.zone(self.at[task]), self.zone(to));
        let Some(zones) = self.spreads.get(self.group(task)).filter(|_| from != to) else {
            return true;
        };
        let mut after = zones.clone();
        if let Some(tasks) = from.and_then(|zone| after.get_mut(zone)) {
            *tasks = tasks.saturating_sub(1);
        }
        if let Some(tasks) = to.and_then(|zone| after.get_mut(zone)) {
            *tasks += 1;
        }
        skew(&after) <= skew(zones).max(1)
    }

    /// How little room the task would leave on a host that takes it: less is better, and GPUs count before all else.
    pub(super) fn left_over(&self, task: usize, host: ContainerInstanceId) -> (u64, u64) {
        let (state, needs) = (
            self.session.host(host),
            self.problem.tasks[task].replacement.shape.resources,
        );
        let left = state.free.checked_sub(needs).unwrap_or_default();
        let gpus = state.free_gpus.iter().map(|free| u64::from(*free)).sum();
        (
            gpus,
            self.share(left.cpu.0, self.largest.cpu.0) + self.share(left.memory.0, self.largest.memory.0),
        )
    }

    fn share(&self, part: u32, whole: u32) -> u64 {
        u64::from(part) * 1_000_000 / u64::from(whole.max(1))
    }

    /// The best of these hosts for the task by its own strategies, if any takes it.
    pub(super) fn best_of(
        &mut self,
        task: usize,
        hosts: &BTreeSet<ContainerInstanceId>,
    ) -> Option<ContainerInstanceId> {
        let request = self.request(task, hosts.clone());
        let placement = self.session.place(&request)?;
        let host = placement.host();
        self.session.take_off(&request, host, placement.gpus);
        Some(host)
    }

    fn request(&self, task: usize, hosts: BTreeSet<ContainerInstanceId>) -> TaskRequest {
        TaskRequest {
            id: self.id(task),
            only_hosts: Some(hosts),
            ..self.problem.tasks[task].replacement.clone()
        }
    }

    /// Moves a task that has not been moved: its replacement comes, then it goes. `None` if the host does not take it.
    pub(super) fn shift(&mut self, task: usize, to: ContainerInstanceId) -> Option<Undo> {
        let from = self.at[task];
        if from == to {
            return None;
        }
        let request = self.request(task, BTreeSet::from([to]));
        let placement = self.session.place(&request)?;
        let placed = &self.problem.tasks[task];
        self.session.take_off(&placed.held, from, placed.gpus);
        self.relocate(task, to);
        Some(Undo {
            task,
            from,
            gpus: placement.gpus,
        })
    }

    /// Takes back the last move that was not.
    pub(super) fn undo(&mut self, undo: &Undo) {
        let (placed, to) = (&self.problem.tasks[undo.task], self.at[undo.task]);
        self.session.put_back(&placed.held, undo.from, placed.gpus);
        self.session.take_off(&placed.replacement, to, undo.gpus);
        self.relocate(undo.task, undo.from);
    }

    fn relocate(&mut self, task: usize, to: ContainerInstanceId) {
        self.count(task, |tasks| tasks.saturating_sub(1));
        if let Some(tasks) = self.on.get_mut(&self.at[task]) {
            tasks.remove(&task);
        }
        self.at[task] = to;
        self.on.entry(to).or_default().insert(task);
        self.count(task, |tasks| tasks + 1);
    }

    pub(super) fn measure(&self) -> Measure {
        let empty = self.available().filter(|host| self.is_empty(host.id));
        let room = self.available().map(|host| {
            let free = self.session.host(host.id).free;
            let (cpu, memory) = (
                self.share(free.cpu.0, self.largest.cpu.0),
                self.share(free.memory.0, self.largest.memory.0),
            );
            (cpu.min(memory), cpu + memory, free)
        });
        Measure {
            empty: empty.map(|host| host.id).collect(),
            largest: room.max().map(|(_, _, free)| free).unwrap_or_default(),
            spreads: self
                .spreads
                .iter()
                .map(|(group, zones)| Spread {
                    group: (*group).to_owned(),
                    zones: zones.clone(),
                })
                .collect(),
        }
    }
}

/// Whether tasks like it are spread over availability zones before all else, as ECS asks of services that it rebalances.
pub(super) fn spreads_over_zones(request: &TaskRequest) -> bool {
    let Some(PlacementStrategy::Spread { field }) = request.strategies.first() else {
        return false;
    };
    SpreadField::parse(field) == Some(SpreadField::Attribute(attribute_names::AVAILABILITY_ZONE))
}

pub(super) fn is_available(host: &Host) -> bool {
    host.status == ContainerInstanceStatus::Active && host.agent_connected
}

pub(super) fn zone_of(host: &Host) -> Option<&str> {
    host.attributes.get(attribute_names::AVAILABILITY_ZONE)?.as_deref()
}

fn largest(hosts: &[Host]) -> Resources {
    let cpu = hosts.iter().map(|host| host.registered.cpu.0).max();
    let memory = hosts.iter().map(|host| host.registered.memory.0).max();
    Resources::new(cpu.unwrap_or(0), memory.unwrap_or(0))
}

/// Whether a host that refuses so would take the task if it had fewer others.
fn is_about_room(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Cpu(_)
            | Refusal::Memory(_)
            | Refusal::Ports(_)
            | Refusal::ForeignPorts(_)
            | Refusal::Gpu(_)
            | Refusal::DistinctInstance { .. }
    )
}
