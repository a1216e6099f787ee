//! [`why`]: the decision that a task keeps, with names and words. Pure.

use std::fmt;

use crate::model::{
    BinpackResource, ContainerInstance, ContainerInstanceId, MoveStatus, PlacementExtension, PlacementStrategy,
    RecordedScore, SchedulingStrategy, Task, TaskId, attribute_names,
};
use crate::placement::{FilterKind, SpreadField, TaskRequest, Ties};
use crate::state::ClusterState;

/// Why a task is on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The task.
    pub task: TaskId,
    /// The seed of the plan that the choice was part of.
    pub seed: u64,
    /// Hosts that it could go to at all.
    pub considered: u32,
    /// Why it could go to no other host than the one chosen, where that is so.
    pub bound: Option<Bound>,
    /// How many hosts were left after each filter, in the order of the filters.
    pub left_after: Vec<(FilterKind, u32)>,
    /// The host chosen.
    pub chosen: Candidate,
    /// The next best host, if another fitted; for the task alone, it may have been the better one.
    pub runner_up: Option<Candidate>,
    /// What the host chosen was better in; `None` where no other fitted.
    pub decided_by: Option<DecidedBy>,
}

/// Why a task could go to one host alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is there in place of a task that a rebalancing moves.
    Moved {
        /// The task that is moved.
        task: TaskId,
        /// What people call its host; its id if that is forgotten.
        from: String,
    },
    /// Its service has a task on each host.
    Daemon,
    /// It is of a managed daemon, which has a task on each host of its capacity providers.
    ManagedDaemon,
    /// What is known of the task does not tell.
    Unknown,
}

/// A host that could take the task, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The host.
    pub host: ContainerInstanceId,
    /// What people call it; empty if it is forgotten.
    pub name: String,
    /// What was said for and against it, what weighs most first: by each strategy, then by the tasks that were on it.
    pub terms: Vec<Term>,
}

/// What one strategy said of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The strategy, as the API writes it, such as `spread attribute:ecs.availability-zone`; for the last, what wins where strategies see
    /// no difference.
    pub name: String,
    /// What it said; lower is better, but for `most tasks on the host`.
    pub value: u64,
    /// What that means.
    pub meaning: String,
}

/// What decided between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// The term at this place.
    Term(usize),
    /// The lower id, since there was no other difference.
    Id,
    /// The tasks that were placed together with this one: for it alone, the next best host was better, in the term at this place or by its lower id.
    Together(Option<usize>),
}

/// Why the task is where it is; `None` if it was placed before that was recorded.
///
/// Numbers are those of the moment when the host was chosen. Names and zones of hosts are those of now.
#[must_use]
pub fn why(state: &ClusterState, task: &Task) -> Option<Why> {
    let (record, host) = (task.placement.as_ref()?.read(), task.container_instance?);
    let request = TaskRequest::of(task);
    let candidate = |host, score: &RecordedScore| candidate(state, &request, host, score);
    let chosen = candidate(host, &record.chosen);
    let runner_up = record.runner_up.as_ref().map(|(host, score)| candidate(*host, score));
    let decided_by = runner_up.as_ref().map(|second| decided_by(&request, &chosen, second));
    let mut left = record.considered;
    let left_after = FilterKind::ALL.into_iter().map(|filter| {
        let refused = record
            .refused
            .iter()
            .find(|(code, _)| FilterKind::of_code(*code) == Some(filter));
        left -= refused.map_or(0, |(_, hosts)| *hosts).min(left);
        (filter, left)
    });
    Some(Why {
        task: task.id,
        seed: record.seed,
        considered: record.considered,
        bound: (record.considered == 1).then(|| bound(state, task)),
        left_after: left_after.collect(),
        chosen,
        runner_up,
        decided_by,
    })
}

fn decided_by(request: &TaskRequest, chosen: &Candidate, second: &Candidate) -> DecidedBy {
    let mut pairs = chosen.terms.iter().zip(&second.terms);
    let Some(place) = pairs.position(|(a, b)| a.value != b.value) else {
        return match chosen.host < second.host {
            true => DecidedBy::Id,
            false => DecidedBy::Together(None),
        };
    };
    let (one, other) = (chosen.terms[place].value, second.terms[place].value);
    let is_tie = place >= request.strategies.len();
    let more_wins = is_tie && Ties::of(&request.strategies) == Ties::Fuller;
    match (one < other) ^ more_wins {
        true => DecidedBy::Term(place),
        false => DecidedBy::Together(Some(place)),
    }
}

fn bound(state: &ClusterState, task: &Task) -> Bound {
    let moves = state
        .rebalance(&task.cluster)
        .into_iter()
        .flat_map(|found| &found.moves);
    let made = moves.filter(|found| match found.status {
        MoveStatus::Begun { replacement } => replacement == Some(task.id),
        MoveStatus::Moved { replacement, .. } => replacement == task.id,
        MoveStatus::Waiting | MoveStatus::Dropped { .. } => false,
    });
    if let Some(found) = made.into_iter().next() {
        let from = state.container_instance(found.from);
        return Bound::Moved {
            task: found.task,
            from: from.map_or_else(|| found.from.to_string(), |host| host.host.host_name.clone()),
        };
    }
    let service = task.service().and_then(|key| state.service(key));
    match service.map(|service| service.scheduling_strategy) {
        Some(SchedulingStrategy::Daemon) if task.is_of_daemon() => Bound::ManagedDaemon,
        Some(SchedulingStrategy::Daemon) => Bound::Daemon,
        _ => Bound::Unknown,
    }
}

impl Why {
    /// How many hosts could have taken the task.
    #[must_use]
    pub fn fitting(&self) -> u32 {
        self.left_after.last().map_or(self.considered, |(_, left)| *left)
    }
}

/// One sentence for people.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (chosen, fitting) = (self.chosen.label(), self.fitting());
        if let Some(bound) = &self.bound {
            return write!(f, "{chosen} was the only host that it could go to: {bound}.");
        }
        let (Some(second), Some(decided_by)) = (&self.runner_up, self.decided_by) else {
            return write!(
                f,
                "{chosen} was the only host of {} that could take it.",
                self.considered
            );
        };
        let terms = |place: usize| Some((self.chosen.terms.get(place)?, second.terms.get(place)?));
        let second = second.label();
        if let DecidedBy::Together(by) = decided_by {
            write!(
                f,
                "{chosen} was chosen among {fitting} hosts for this task and others that were placed together with it, so that all take few hosts; \
                 alone it would have gone to {second}"
            )?;
            return match by.and_then(terms) {
                Some((one, other)) => write_terms(f, &one.name, &other.meaning, &one.meaning),
                None => f.write_str(", by the lower id alone."),
            };
        }
        write!(f, "{chosen} was chosen among {fitting} hosts, before {second}")?;
        match decided_by {
            DecidedBy::Term(place) => match terms(place) {
                Some((one, other)) => write_terms(f, &one.name, &one.meaning, &other.meaning),
                None => f.write_str("."),
            },
            DecidedBy::Id | DecidedBy::Together(_) => {
                f.write_str(", by the lower id alone: there was no other difference.")
            }
        }
    }
}

/// By which term one host was better than another, and what its numbers say if they do not say it themselves.
fn write_terms(f: &mut fmt::Formatter<'_>, term: &str, better: &str, worse: &str) -> fmt::Result {
    write!(f, ", by {term}: {better}")?;
    if better != worse {
        write!(f, ", against {worse}")?;
    }
    f.write_str(".")?;
    let extension = PlacementExtension::ALL
        .into_iter()
        .find(|one| name_of_extension(*one) == term);
    match extension {
        Some(extension) => write!(f, " A lower number says that {}.", lower_says(extension)),
        None => Ok(()),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { task, from } => write!(f, "a rebalancing moved task {task} there from {from}, and this is its replacement"),
            Self::Daemon => f.write_str("its service is a daemon service, with a task on each host"),
            Self::ManagedDaemon => f.write_str("its daemon has a task on each host of its capacity providers"),
            Self::Unknown => f.write_str(
                "the cluster had no other, or the host was named, as by StartTask or by the move of a rebalancing before the last",
            ),
        }
    }
}

impl Candidate {
    fn label(&self) -> String {
        match self.name.as_str() {
            "" => self.host.to_string(),
            name => name.to_owned(),
        }
    }
}

fn candidate(
    state: &ClusterState,
    request: &TaskRequest,
    host: ContainerInstanceId,
    score: &RecordedScore,
) -> Candidate {
    let instance = state.container_instance(host);
    let instance = instance.map(|instance| &**instance);
    let strategies = request.strategies.iter().zip(&score.ranks);
    let mut terms: Vec<Term> = strategies
        .map(|(strategy, value)| Term {
            name: name_of(strategy),
            value: *value,
            meaning: meaning(strategy, *value, &request.group, instance),
        })
        .collect();
    terms.extend(words_of(Ties::of(&request.strategies)).map(|wins| Term {
        name: format!("{wins} tasks on the host"),
        value: u64::from(score.tasks),
        meaning: format!("{} on it", count(u64::from(score.tasks), "task")),
    }));
    Candidate {
        host,
        name: instance
            .map(|instance| instance.host.host_name.clone())
            .unwrap_or_default(),
        terms,
    }
}

/// Which host wins where strategies see no difference: the one with the fewest or the most tasks; `None` where tasks do not matter.
fn words_of(ties: Ties) -> Option<&'static str> {
    match ties {
        Ties::Emptier => Some("fewest"),
        Ties::First => None,
        Ties::Fuller => Some("most"),
    }
}

/// The strategy in the words of the API: its type, and its field if it has one.
fn name_of(strategy: &PlacementStrategy) -> String {
    match strategy {
        PlacementStrategy::Random => "random".to_owned(),
        PlacementStrategy::Spread { field } => format!("spread {field}"),
        PlacementStrategy::Binpack { resource } => format!("binpack {}", resource_name(*resource)),
        PlacementStrategy::Extension { extension } => name_of_extension(*extension),
    }
}

fn name_of_extension(extension: PlacementExtension) -> String {
    format!("binpack {}", extension.field())
}

/// What makes the number of a strategy that ECS does not have lower.
fn lower_says(extension: PlacementExtension) -> &'static str {
    match extension {
        PlacementExtension::BestFit => "less is left of all resources together",
        PlacementExtension::DotProduct => "what is free is less like what the task needs",
        PlacementExtension::Fragmentation => "typical tasks lose fewer GPUs",
        PlacementExtension::GpuPacking => "fewer idle GPUs are used up",
        PlacementExtension::GpuClustering => "more tasks that need as many GPUs are there, and less is free",
        PlacementExtension::Tightest => {
            "typical tasks lose fewer GPUs, where there are any, and less of all resources is left"
        }
    }
}

fn resource_name(resource: BinpackResource) -> &'static str {
    match resource {
        BinpackResource::Cpu => "cpu",
        BinpackResource::Memory => "memory",
    }
}

fn meaning(strategy: &PlacementStrategy, value: u64, group: &str, host: Option<&ContainerInstance>) -> String {
    match strategy {
        PlacementStrategy::Random => "a number drawn for this task and host".to_owned(),
        PlacementStrategy::Extension { .. } => value.to_string(),
        PlacementStrategy::Binpack { resource } => match resource {
            BinpackResource::Cpu => format!("{} free", count(value, "CPU unit")),
            BinpackResource::Memory => format!("{value} MiB free"),
        },
        PlacementStrategy::Spread { field } => {
            let tasks = format!("{} of {group}", count(value, "task"));
            match SpreadField::parse(field) {
                Some(SpreadField::Host) | None => format!("{tasks} on it"),
                Some(SpreadField::Attribute(name)) => format!("{tasks} {}", place_of(name, host)),
            }
        }
    }
}

/// The hosts that share the host's value of an attribute, in words.
fn place_of(attribute: &str, host: Option<&ContainerInstance>) -> String {
    let Some(host) = host else {
        return format!("where its {attribute} was (the host is forgotten)");
    };
    match host.attribute(attribute) {
        Some(Some(zone)) if attribute == attribute_names::AVAILABILITY_ZONE => format!("in {zone}"),
        Some(Some(value)) => format!("where {attribute} is {value}"),
        Some(None) => format!("where {attribute} has no value"),
        None => format!("where there is no {attribute}"),
    }
}

pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
