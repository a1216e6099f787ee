//! The smallest changes with which a host would take a task: each is found by what stands against the host, and what costs least comes
//! first. Pure.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use super::why::count;
use super::why_not::HostAnswer;
use crate::model::{
    CapacityProviderName, ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, PlacementConstraint, Ports,
    PowerState, RESERVED_TCP_PORTS, Resources, Task, TaskId, TransportProtocol,
};
use crate::placement::query_language::Expression;
use crate::placement::{self, Ask, Host, HostVerdict, PlacementProblem, Refusal, Seed, TaskRequest};
use crate::state::ClusterState;

/// The least memory that ECS lets a container have, in MiB.
const LEAST_MEMORY_MIB: u32 = 6;

/// Tasks that are named of those of which one is to be stopped.
const MAX_CHOICES: usize = 5;

/// Remedies that are worth telling.
const MAX_REMEDIES: usize = 10;

/// Hosts that are looked at, the closest matches: a cluster that is full has thousands that lack the same.
const MAX_HOSTS: usize = 200;

/// Changes that together make a host take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The host and its name; `None` where a new one is to come.
    pub host: Option<(ContainerInstanceId, String)>,
    /// What is to be done, all of it.
    pub changes: Vec<Change>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing but to wait: tasks that are stopping hold what is missing.
    Await {
        /// Them.
        tasks: Vec<HeldBy>,
    },
    /// Have the host take tasks again.
    Activate,
    /// Nothing but to wait: the host is being woken.
    AwaitWaking,
    /// Wake the host.
    Wake,
    /// Bring the host's agent back.
    ConnectAgent,
    /// Have the task need less.
    LowerTask {
        /// CPU units less.
        cpu: u32,
        /// MiB less.
        memory: u32,
    },
    /// Stop one of these tasks, whichever.
    StopOneOf {
        /// Them, the smallest first.
        tasks: Vec<HeldBy>,
    },
    /// Stop all of these tasks.
    StopAll {
        /// Them.
        tasks: Vec<HeldBy>,
    },
    /// End the programs, which are no tasks, that hold these ports.
    FreePorts {
        /// The ports.
        ports: Ports,
    },
    /// Have the task use other host ports, or none that are fixed.
    UseOtherPorts {
        /// Those that it cannot have.
        ports: Ports,
    },
    /// Take a constraint off the service or the task definition, or change it.
    LiftConstraint(PlacementConstraint),
    /// Have the host's agent be of this capacity provider.
    JoinCapacityProvider(CapacityProviderName),
    /// Add a host that is no smaller than this.
    AddHost {
        /// CPU units.
        cpu: u32,
        /// MiB.
        memory: u32,
        /// The capacity provider that it has to be of, if any.
        capacity_provider: Option<CapacityProviderName>,
        /// What has to hold for it.
        expressions: Vec<String>,
    },
}

/// A task that holds what another lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// The task.
    pub task: TaskId,
    /// Its group.
    pub group: String,
    /// What it holds.
    pub holds: Resources,
}

impl HeldBy {
    fn of(task: &Task) -> Self {
        Self {
            task: task.id,
            group: task.group.clone(),
            holds: task.reservation,
        }
    }
}

/// What would make one of the hosts take the task, what costs least first.
pub(super) fn remedies(
    state: &ClusterState,
    request: &TaskRequest,
    hosts: &[HostAnswer],
    may_add: bool,
) -> Vec<Remedy> {
    let mut all: Vec<Remedy> = hosts
        .iter()
        .take(MAX_HOSTS)
        .flat_map(|answer| of_host(state, request, answer))
        .collect();
    all.sort_by_cached_key(Remedy::cost);
    // A new host asks for much, and may be all that lasts: it is told whatever else there is.
    let new_host = may_add.then(|| new_host(request)).flatten();
    all.truncate(MAX_REMEDIES - usize::from(new_host.is_some()));
    all.extend(new_host);
    all.sort_by_cached_key(Remedy::cost);
    all
}

/// The first remedies of several lists, by what they cost.
pub(super) fn keep_cheapest(all: &mut Vec<Remedy>) {
    all.sort_by_cached_key(Remedy::cost);
    all.truncate(MAX_REMEDIES);
}

/// None if no host takes the task, whatever it has.
fn new_host(request: &TaskRequest) -> Option<Remedy> {
    let is_unreadable = |constraint: &PlacementConstraint| match constraint {
        PlacementConstraint::MemberOf { expression } => expression.parse::<Expression>().is_err(),
        PlacementConstraint::DistinctInstance | PlacementConstraint::Attribute { .. } => false,
    };
    if !kept_ports().is_disjoint(&request.host_ports) || request.constraints.iter().any(is_unreadable) {
        return None;
    }
    let expressions = request.constraints.iter().filter_map(PlacementConstraint::expression);
    let expressions = expressions.map(|expression| expression.into_owned());
    Some(Remedy {
        host: None,
        changes: vec![Change::AddHost {
            cpu: request.shape.resources.cpu.0,
            memory: request.shape.resources.memory.0,
            capacity_provider: request.capacity_provider.clone(),
            expressions: expressions.collect(),
        }],
    })
}

/// Host ports that no task gets.
fn kept_ports() -> Ports {
    RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port)).into()
}

/// What would make this host take the task: by needing less, or by others giving way.
fn of_host(state: &ClusterState, request: &TaskRequest, answer: &HostAnswer) -> Vec<Remedy> {
    let host = &answer.host;
    let Some(mut always) = in_any_case(state, request, answer) else {
        return vec![];
    };
    let lacks = Lacks::of(request, host);
    always.extend(lacks.foreign());
    let remedy = |changes: Vec<Change>| Remedy {
        host: Some((host.id, host.name.clone())),
        changes,
    };
    if lacks.nothing() {
        return vec![remedy(always)];
    }
    let ways = [
        lacks.by_needing_less(request, host),
        lacks.by_others_giving_way(state, request, host),
    ];
    let ways = ways.into_iter().flatten();
    let is_wait = |change: &Change| matches!(change, Change::Await { .. });
    ways.map(|way| {
        // All that are stopping are waited for, those that make room for another task included.
        let waits = way.iter().any(is_wait);
        let before = always.iter().filter(|change| !waits || !is_wait(change));
        remedy(before.cloned().chain(way.iter().cloned()).collect())
    })
    .collect()
}

/// What has to change whatever is done about room; `None` if nothing helps.
fn in_any_case(state: &ClusterState, request: &TaskRequest, answer: &HostAnswer) -> Option<Vec<Change>> {
    let mut changes = vec![];
    for refusal in &answer.refusals {
        match refusal {
            Refusal::NotActive(ContainerInstanceStatus::Draining) => changes.push(Change::Activate),
            // What is to be done about GPUs is not known: agents do not report any, and definitions that ask for one are refused.
            // Nor does a host offer what it does not by anything that is done to it from here.
            Refusal::NotActive(_)
            | Refusal::MissesDaemon(_)
            | Refusal::Gpu(_)
            | Refusal::GpuModel { .. }
            | Refusal::Attribute { .. } => {
                return None;
            }
            Refusal::CapacityProvider { needs, .. } => changes.push(Change::JoinCapacityProvider(needs.clone())),
            Refusal::AgentDisconnected | Refusal::Asleep | Refusal::Waking => changes.push(back(&answer.host)),
            Refusal::MakesRoom(_) => changes.push(Change::Await {
                tasks: making_room(state, answer.host.id),
            }),
            Refusal::DistinctInstance { .. } => {
                changes.push(Change::LiftConstraint(PlacementConstraint::DistinctInstance));
            }
            Refusal::MemberOf { .. } | Refusal::UnreadableExpression { .. } => {
                let failing = request
                    .constraints
                    .iter()
                    .filter(|constraint| fails(request, &answer.host, constraint));
                changes.extend(failing.cloned().map(Change::LiftConstraint));
            }
            Refusal::Cpu(_) | Refusal::Memory(_) | Refusal::Ports(_) | Refusal::ForeignPorts(_) => {}
        }
    }
    // A host that drains and whose agent is away says only the first.
    let back = back(&answer.host);
    if !answer.host.agent_connected && !changes.contains(&back) {
        changes.push(back);
    }
    Some(changes)
}

/// What has the agent of a host that is away be there.
fn back(host: &Host) -> Change {
    match host.power {
        PowerState::Asleep => Change::Wake,
        PowerState::Waking => Change::AwaitWaking,
        PowerState::Awake | PowerState::Emptying | PowerState::FallingAsleep | PowerState::ShuttingDown => {
            Change::ConnectAgent
        }
    }
}

/// Tasks of a host that are being stopped for one that is to come.
fn making_room(state: &ClusterState, host: ContainerInstanceId) -> Vec<HeldBy> {
    let tasks = state
        .tasks_of_instance(host)
        .filter(|task| task.makes_room_for().is_some());
    tasks.map(|task| HeldBy::of(task)).collect()
}

/// Whether this expression alone refuses the host: a refusal names the first of several.
fn fails(request: &TaskRequest, host: &Host, constraint: &PlacementConstraint) -> bool {
    let ask = Ask {
        constraints: vec![constraint.clone()],
        ..Ask::clone(request)
    };
    let alone = TaskRequest {
        ask: ask.into(),
        ..request.clone()
    };
    let problem = PlacementProblem {
        hosts: vec![host.clone()],
        requests: vec![alone],
        typical: None,
    };
    let verdicts = placement::explain(&problem, Seed::default(), request.id);
    let is_member_of =
        |refusal: &Refusal| matches!(refusal, Refusal::MemberOf { .. } | Refusal::UnreadableExpression { .. });
    verdicts.is_some_and(|explanation| {
        explanation.hosts.iter().any(|(_, verdict)| match verdict {
            HostVerdict::Refused(refusals) => refusals.iter().any(is_member_of),
            HostVerdict::Chosen(_) | HostVerdict::Outranked(_) => false,
        })
    })
}

/// What a host lacks of what a task needs.
struct Lacks {
    cpu: u32,
    memory: u32,
    /// Ports that tasks hold, or Berth keeps.
    taken: Ports,
    /// Ports that other programs hold.
    foreign: Ports,
}

impl Lacks {
    fn of(request: &TaskRequest, host: &Host) -> Self {
        let (needs, free) = (request.shape.resources, host.free);
        let ports = |held: &Ports| request.host_ports.intersection(held).copied().collect();
        Self {
            cpu: needs.cpu.0.saturating_sub(free.cpu.0),
            memory: needs.memory.0.saturating_sub(free.memory.0),
            taken: ports(&host.used_ports),
            foreign: ports(&host.foreign_ports),
        }
    }

    fn nothing(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.taken.is_empty()
    }

    fn foreign(&self) -> Option<Change> {
        let ports = self.foreign.clone();
        (!ports.is_empty()).then_some(Change::FreePorts { ports })
    }

    /// None if less than half would be left of what it needs: that is another task.
    fn by_needing_less(&self, request: &TaskRequest, host: &Host) -> Option<Vec<Change>> {
        let needs = request.shape.resources;
        if self.cpu > needs.cpu.0 / 2 || self.memory > needs.memory.0 / 2 {
            return None;
        }
        if self.memory > 0 && host.free.memory.0 < LEAST_MEMORY_MIB.min(request.shape.resources.memory.0) {
            return None;
        }
        let mut changes = vec![];
        if self.cpu > 0 || self.memory > 0 {
            changes.push(Change::LowerTask {
                cpu: self.cpu,
                memory: self.memory,
            });
        }
        if !self.taken.is_empty() {
            let ports = self.taken.clone();
            changes.push(Change::UseOtherPorts { ports });
        }
        Some(changes)
    }

    fn by_others_giving_way(&self, state: &ClusterState, request: &TaskRequest, host: &Host) -> Option<Vec<Change>> {
        if !kept_ports().is_disjoint(&self.taken) {
            return None;
        }
        let live = state.tasks_of_instance(host.id).filter(|task| !task.is_stopped());
        let mut tasks: Vec<Holding> = live
            .map(|task| Holding {
                by: HeldBy::of(task),
                ports: task.host_ports.intersection(&self.taken).copied().collect(),
                is_stopping: task.desired_status == DesiredStatus::Stopped,
            })
            .collect();
        tasks.sort_by_key(|task| (task.size(), task.by.task));
        let (stopping, mut staying): (Vec<Holding>, Vec<Holding>) =
            tasks.into_iter().partition(|task| task.is_stopping);
        // Nothing is gained by a task that gives way to another of its own kind.
        staying.retain(|task| task.by.group != request.group);
        if self.are_met_by(&stopping) {
            return Some(vec![Change::Await {
                tasks: stopping.into_iter().map(|task| task.by).collect(),
            }]);
        }
        let enough = staying
            .iter()
            .filter(|task| self.are_met_by(std::slice::from_ref(*task)));
        let one_of: Vec<HeldBy> = enough.take(MAX_CHOICES).map(|task| task.by.clone()).collect();
        match one_of.is_empty() {
            false => Some(vec![Change::StopOneOf { tasks: one_of }]),
            true => self.by_several(staying),
        }
    }

    /// Those that hold the ports, and of the others the largest first until there is room.
    fn by_several(&self, mut tasks: Vec<Holding>) -> Option<Vec<Change>> {
        tasks.sort_by_key(|task| (task.ports.is_empty(), Reverse(self.share(task)), task.by.task));
        let ports = tasks.iter().take_while(|task| !task.ports.is_empty()).count();
        let needed = (ports..=tasks.len()).find(|needed| self.are_met_by(&tasks[..*needed]))?;
        tasks.truncate(needed);
        let tasks = tasks.into_iter().map(|task| task.by).collect();
        Some(vec![Change::StopAll { tasks }])
    }

    /// How much of what is missing the task holds.
    fn share(&self, task: &Holding) -> u64 {
        u64::from(task.by.holds.cpu.0.min(self.cpu)) + u64::from(task.by.holds.memory.0.min(self.memory))
    }

    fn are_met_by(&self, tasks: &[Holding]) -> bool {
        let sum = |of: fn(&Holding) -> u32| tasks.iter().map(|task| u64::from(of(task))).sum::<u64>();
        let ports: BTreeSet<_> = tasks.iter().flat_map(|task| &task.ports).copied().collect();
        sum(|task| task.by.holds.cpu.0) >= u64::from(self.cpu)
            && sum(|task| task.by.holds.memory.0) >= u64::from(self.memory)
            && ports.is_superset(&self.taken)
    }
}

/// A task of the host with what it holds of what is missing.
struct Holding {
    by: HeldBy,
    ports: Ports,
    is_stopping: bool,
}

impl Holding {
    fn size(&self) -> u64 {
        u64::from(self.by.holds.cpu.0) + u64::from(self.by.holds.memory.0)
    }
}

/// How much a remedy asks of people and of what runs; the least is told first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Steps, each by how much it disturbs.
    effort: u32,
    /// CPU units and MiB that others lose or the task does without.
    amount: u64,
    host: Option<(String, ContainerInstanceId)>,
}

impl Remedy {
    /// Whether it names only tasks that there are.
    pub(crate) fn is_known_in(&self, state: &ClusterState) -> bool {
        let mut tasks = self.changes.iter().flat_map(Change::tasks);
        tasks.all(|held| state.task(held.task).is_some())
    }

    fn cost(&self) -> Cost {
        Cost {
            effort: self.changes.iter().map(Change::effort).sum(),
            amount: self.changes.iter().map(Change::amount).sum(),
            host: self.host.clone().map(|(id, name)| (name, id)),
        }
    }
}

impl Change {
    /// The tasks that it names.
    fn tasks(&self) -> &[HeldBy] {
        match self {
            Self::Await { tasks } | Self::StopOneOf { tasks } | Self::StopAll { tasks } => tasks,
            _ => &[],
        }
    }

    fn effort(&self) -> u32 {
        match self {
            Self::Await { .. } | Self::AwaitWaking => 1,
            Self::Activate | Self::Wake => 2,
            Self::ConnectAgent => 3,
            Self::LowerTask { .. } => 4,
            Self::JoinCapacityProvider(_) => 5,
            Self::StopOneOf { .. } => 6,
            Self::FreePorts { .. } => 7,
            Self::UseOtherPorts { .. } => 8,
            Self::StopAll { tasks } => 6 + u32::try_from(tasks.len()).unwrap_or(u32::MAX / 64).min(64),
            Self::LiftConstraint(_) => 9,
            Self::AddHost { .. } => 12,
        }
    }

    fn amount(&self) -> u64 {
        let held = |task: &HeldBy| u64::from(task.holds.cpu.0) + u64::from(task.holds.memory.0);
        match self {
            Self::LowerTask { cpu, memory } => u64::from(*cpu) + u64::from(*memory),
            Self::StopOneOf { tasks } => tasks.first().map_or(0, held),
            Self::StopAll { tasks } => tasks.iter().map(held).sum(),
            _ => 0,
        }
    }
}

/// What is to be done, for people; what is meant by "the host" is said by [`Remedy`].
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Await { tasks } => write!(f, "wait until {} ended: {}", are_over(tasks.len()), Held(tasks)),
            Self::Activate => f.write_str("take it back from draining"),
            Self::AwaitWaking => f.write_str("wait until it has woken"),
            Self::Wake => f.write_str("wake it"),
            Self::ConnectAgent => f.write_str("bring its agent back"),
            Self::LowerTask { cpu, memory: 0 } => {
                write!(f, "lower the task's cpu by {}", count(u64::from(*cpu), "CPU unit"))
            }
            Self::LowerTask { cpu: 0, memory } => write!(f, "lower the task's memory by {memory} MiB"),
            Self::LowerTask { cpu, memory } => {
                let cpu = count(u64::from(*cpu), "CPU unit");
                write!(f, "lower the task's cpu by {cpu} and its memory by {memory} MiB")
            }
            Self::StopOneOf { tasks } if tasks.len() == 1 => write!(f, "stop task {}{}", Held(tasks), for_good(tasks)),
            Self::StopOneOf { tasks } => write!(f, "stop one of these tasks: {}{}", Held(tasks), for_good(tasks)),
            Self::StopAll { tasks } => {
                write!(
                    f,
                    "stop these {} tasks: {}{}",
                    tasks.len(),
                    Held(tasks),
                    for_good(tasks)
                )
            }
            Self::FreePorts { ports } => write!(f, "free {}, which programs that are no tasks hold", Listed(ports)),
            Self::UseOtherPorts { ports } => write!(f, "have the task use other host ports than {}", Listed(ports)),
            Self::LiftConstraint(PlacementConstraint::DistinctInstance) => {
                f.write_str("lift the constraint distinctInstance")
            }
            Self::LiftConstraint(PlacementConstraint::MemberOf { expression }) => {
                write!(f, "lift the constraint memberOf '{expression}', or have it hold")
            }
            Self::LiftConstraint(constraint @ PlacementConstraint::Attribute { .. }) => {
                write!(f, "have it hold that {}", constraint.expression().unwrap_or_default())
            }
            Self::JoinCapacityProvider(name) => {
                write!(f, "start its agent again with --capacity-provider {name}")
            }
            Self::AddHost {
                cpu,
                memory,
                capacity_provider,
                expressions,
            } => {
                let cpu = count(u64::from(*cpu), "CPU unit");
                write!(f, "add a host with at least {cpu} and {memory} MiB")?;
                if let Some(name) = capacity_provider {
                    write!(f, " in capacity provider {name}")?;
                }
                expressions
                    .iter()
                    .try_for_each(|expression| write!(f, " for which '{expression}' holds"))
            }
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some((id, name)) if name.is_empty() => write!(f, "on {id}: ")?,
            Some((_, name)) => write!(f, "on {name}: ")?,
            None => {}
        }
        for (place, change) in self.changes.iter().enumerate() {
            write!(f, "{}{change}", if place > 0 { ", and " } else { "" })?;
        }
        Ok(())
    }
}

fn are_over(tasks: usize) -> String {
    match tasks {
        1 => "a task that is stopping has".to_owned(),
        tasks => format!("{tasks} tasks that are stopping have"),
    }
}

/// A task of a service that is stopped has a successor at once, which may take the room again.
fn for_good(tasks: &[HeldBy]) -> &'static str {
    match tasks.iter().any(|task| task.group.starts_with("service:")) {
        true => "; a service must want fewer as well, or it starts another",
        false => "",
    }
}

struct Held<'t>(&'t [HeldBy]);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, HeldBy { task, group, holds }) in self.0.iter().enumerate() {
            let (separator, cpu) = (
                if place > 0 { "; " } else { "" },
                count(u64::from(holds.cpu.0), "CPU unit"),
            );
            write!(f, "{separator}{task} of {group} ({cpu}, {} MiB)", holds.memory.0)?;
        }
        Ok(())
    }
}

struct Listed<'p>(&'p Ports);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (protocol, port)) in self.0.iter().enumerate() {
            write!(f, "{}{}", if place > 0 { ", " } else { "" }, protocol.port(*port))?;
        }
        Ok(())
    }
}
