//! [`why_not`]: what every host says to a service's next task; [`why_not_yet`]: and to a task that waits for one. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::change::{self, Remedy};
use super::standstill;
use crate::model::{CapacityProviderName, ContainerInstanceId, Priority, SchedulingStrategy, Service, Task, Timestamp};
use crate::placement::{
    self, FilterKind, HOSTS_PER_SENTENCE, Host, HostVerdict, PlacementProblem, Refusal, Seed, TaskRequest,
};
use crate::reconcile;
use crate::state::ClusterState;

/// What hosts say to a task of a service as it would be placed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot {
    /// What the task asks for; its id means nothing.
    pub request: TaskRequest,
    /// The hosts asked: those that would take it, the best first; then those that refuse, the closest match first.
    pub hosts: Vec<HostAnswer>,
    /// What would make one of the hosts asked take it, what costs least first; none if one does already.
    pub remedies: Vec<Remedy>,
    /// Hosts that were not asked, since each has a task of the service, which is a daemon service.
    pub served: usize,
    /// What else there is to know, in sentences.
    pub notes: Vec<String>,
}

/// What one host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// The host with what is free of it.
    pub host: Host,
    /// Why it does not take the task, in the order of the filters; empty if it does.
    pub refusals: Vec<Refusal>,
}

/// What the hosts of its cluster, or one of them, say to the service's next task; `None` if the service's definition is gone.
#[must_use]
pub fn why_not(
    state: &ClusterState,
    service: &Service,
    only: Option<ContainerInstanceId>,
    now: Timestamp,
) -> Option<WhyNot> {
    let task = reconcile::next_task(state, service, now)?;
    let mut problem = PlacementProblem::from_state(state, &task.cluster, [&task]);
    let all = problem.hosts.iter().map(|host| host.id);
    let mut asked: BTreeSet<ContainerInstanceId> = all.filter(|id| only.is_none_or(|only| only == *id)).collect();
    if service.scheduling_strategy == SchedulingStrategy::Replica {
        problem.requests[0].only_hosts = only.is_some().then_some(asked);
        let answer = answers_to(state, &problem, only.is_none());
        return Some(with_notes(state, service, &task, answer, now));
    }
    let pool_of = |id: &ContainerInstanceId| service.pool_of(state.container_instance(*id)?);
    asked.retain(|id| !service.is_managed_daemon() || pool_of(id).is_some());
    let before = asked.len();
    for host in served(state, service) {
        asked.remove(&host);
    }
    let served = before - asked.len();
    // A host more has a task of its own, and leaves the others without.
    let answer = if service.is_managed_daemon() {
        let pools = service.capacity_provider_strategy.iter();
        let answers = pools.map(|item| {
            let capacity_provider = Some(item.capacity_provider.clone());
            let of_pool = asked.iter().copied().filter(|id| pool_of(id) == capacity_provider);
            let task = Task {
                capacity_provider: capacity_provider.clone(),
                ..task.clone()
            };
            let mut problem = PlacementProblem::from_state(state, &task.cluster, [&task]);
            problem.requests[0].only_hosts = Some(of_pool.collect());
            answers_to(state, &problem, false)
        });
        answers.reduce(WhyNot::and)?
    } else {
        problem.requests[0].only_hosts = Some(asked);
        answers_to(state, &problem, false)
    };
    Some(with_notes(state, service, &task, WhyNot { served, ..answer }, now))
}

/// What the hosts of its cluster say to a task that waits for one.
#[must_use]
pub fn why_not_yet(state: &ClusterState, task: &Task) -> WhyNot {
    let mut answer = answers(state, task);
    let pool = task.capacity_provider.as_ref();
    if let Some(pool) = pool {
        let minutes = reconcile::PROVISION_WITHIN_MS / 60_000;
        answer.notes.push(format!(
            "It waits for a host of capacity provider {pool}, for {minutes} minutes at most since it was run."
        ));
    }
    answer.notes.extend(about_sleepers(pool, &answer));
    answer
}

/// Hosts of the capacity provider that lack nothing but to be awake, those that are being woken before others.
fn about_sleepers(pool: Option<&CapacityProviderName>, answer: &WhyNot) -> Option<String> {
    let pool = pool?;
    let only = |refusal: Refusal| -> Vec<&str> {
        let alike = answer.hosts.iter().filter(|host| host.refusals == [refusal.clone()]);
        alike.map(|host| host.host.name.as_str()).collect()
    };
    let (waking, asleep) = (only(Refusal::Waking), only(Refusal::Asleep));
    let (names, verb, what) = match (waking.as_slice(), asleep.as_slice()) {
        ([], []) => return None,
        ([], [_]) => (asleep, "is", "asleep, and takes it once it is woken"),
        ([], _) => (asleep, "are", "asleep, and one takes it once it is woken"),
        ([_], _) => (waking, "is", "being woken"),
        (_, _) => (waking, "are", "being woken"),
    };
    let more = match names.len().saturating_sub(HOSTS_PER_SENTENCE) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = names
        .into_iter()
        .take(HOSTS_PER_SENTENCE)
        .collect::<Vec<_>>()
        .join(", ");
    Some(format!("Of capacity provider {pool}, {names}{more} {verb} {what}."))
}

/// The answer with what is done for the service beyond placing its tasks.
fn with_notes(state: &ClusterState, service: &Service, task: &Task, mut answer: WhyNot, now: Timestamp) -> WhyNot {
    answer.notes.extend(standstill::of_deployment(service));
    answer.notes.extend(reconcile::waits_for_services(state, service));
    let priority = state.priority_of_service(&service.key);
    let making: Vec<&Arc<Task>> = state.tasks_making_room_for(&service.key).collect();
    let is_made = !making.is_empty();
    if is_made {
        let tasks = named(making);
        answer.notes.push(format!(
            "Its priority is {priority}, and room is being made for it: {tasks} will be over soon."
        ));
    }
    if answer.fitting() > 0 {
        return answer;
    }
    let sleepers = about_sleepers(task.capacity_provider.as_ref(), &answer);
    answer.notes.extend(sleepers);
    let in_vain = standstill::of_daemons(state, &service.key.cluster, &answer.hosts);
    answer.notes.extend(in_vain);
    let refused = answer.hosts.iter().map(|host| (host.host.id, host.refusals.as_slice()));
    let proposal = reconcile::preemption_proposal(state, service, task, refused, now);
    if proposal.is_none() && !is_made && state.preempts(&service.key.cluster) {
        answer.notes.push(nobody_gives_way(priority));
    }
    let lacks_room_alone =
        |host: &HostAnswer| !host.refusals.is_empty() && host.refusals.iter().all(Refusal::is_of_room);
    if !is_made && answer.hosts.iter().any(lacks_room_alone) {
        answer.notes.extend(standstill::of_preemption(state, service));
    }
    if let Some((host, tasks)) = proposal {
        let host = state
            .container_instance(host)
            .map_or_else(|| host.to_string(), |host| host.host.host_name.clone());
        let (tasks, margin) = (named(&tasks), Priority::MARGIN);
        answer.notes.push(format!(
            "Its priority is {priority}, for which these, whose priority is lower by {margin} at least, are stopped on {host} where it lacks a task: {tasks}."
        ));
    }
    answer
}

/// That no tasks would be stopped for a service of this priority, where the cluster has tasks stopped for others.
fn nobody_gives_way(priority: Priority) -> String {
    let margin = Priority::MARGIN;
    match priority.highest_preempted() {
        Some(highest) => format!(
            "Its priority is {priority}, for which tasks of priority {highest} or lower may be stopped, {margin} less at least; no host would take it \
             after that."
        ),
        None => format!(
            "Its priority is {priority}, for which no tasks may be stopped: theirs would have to be lower by {margin} at least."
        ),
    }
}

/// Tasks with their groups.
fn named<'t>(tasks: impl IntoIterator<Item = &'t Arc<Task>>) -> String {
    let named = tasks.into_iter().map(|task| format!("{} of {}", task.id, task.group));
    named.collect::<Vec<_>>().join("; ")
}

/// Hosts with a task of the service that is not over: a daemon service starts no other there before.
fn served<'s>(state: &'s ClusterState, service: &'s Service) -> impl Iterator<Item = ContainerInstanceId> + 's {
    let tasks = state.live_tasks_of_service(&service.key);
    tasks.filter_map(|task| task.container_instance)
}

/// What all hosts of its cluster say to a task that has no host.
pub(crate) fn answers(state: &ClusterState, task: &Task) -> WhyNot {
    let problem = PlacementProblem::from_state(state, &task.cluster, [task]);
    answers_to(state, &problem, true)
}

/// What hosts say to the problem's one request.
fn answers_to(state: &ClusterState, problem: &PlacementProblem, may_add: bool) -> WhyNot {
    let request = problem.requests[0].clone();
    let verdicts = placement::explain(problem, Seed::default(), request.id);
    let verdicts = verdicts.map(|explanation| explanation.hosts).unwrap_or_default();
    let by_id: BTreeMap<ContainerInstanceId, &Host> = problem.hosts.iter().map(|host| (host.id, host)).collect();
    let answers = verdicts.into_iter().filter_map(|(id, verdict)| {
        let host = Host::clone(by_id.get(&id)?);
        let refusals = match verdict {
            HostVerdict::Chosen(_) | HostVerdict::Outranked(_) => vec![],
            HostVerdict::Refused(refusals) => refusals,
        };
        Some(HostAnswer { host, refusals })
    });
    let hosts: Vec<HostAnswer> = answers.collect();
    let remedies = match hosts.iter().any(HostAnswer::takes_it) {
        true => vec![],
        false => change::remedies(state, &request, &hosts, may_add),
    };
    WhyNot {
        request,
        hosts,
        remedies,
        served: 0,
        notes: vec![],
    }
}

impl HostAnswer {
    /// Whether the host would take the task.
    #[must_use]
    pub fn takes_it(&self) -> bool {
        self.refusals.is_empty()
    }
}

impl WhyNot {
    /// This and what other hosts say.
    fn and(mut self, others: Self) -> Self {
        self.hosts.extend(others.hosts);
        self.hosts.sort_by_key(|host| !host.takes_it());
        self.remedies.extend(others.remedies);
        match self.hosts.iter().any(HostAnswer::takes_it) {
            true => self.remedies.clear(),
            false => change::keep_cheapest(&mut self.remedies),
        }
        self
    }

    /// Hosts that would take the task.
    #[must_use]
    pub fn fitting(&self) -> usize {
        self.hosts.iter().filter(|host| host.takes_it()).count()
    }

    /// How many of the hosts asked are left after each filter.
    #[must_use]
    pub fn left_after(&self) -> Vec<(FilterKind, usize)> {
        let passes = |answer: &HostAnswer, upto: FilterKind| answer.refusals.iter().all(|r| r.filter() > upto);
        let left = |filter| self.hosts.iter().filter(|answer| passes(answer, filter)).count();
        FilterKind::ALL
            .into_iter()
            .map(|filter| (filter, left(filter)))
            .collect()
    }
}

/// One sentence for people.
impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fitting, asked) = (self.fitting(), self.hosts.len());
        match (asked, fitting) {
            (0, _) if self.served > 0 => f.write_str("Every host asked about has a task of it already."),
            (0, _) => f.write_str("There is no host that could be asked."),
            (1, 1) => f.write_str("The host would take a task now."),
            (1, 0) => f.write_str("The host would not take a task now."),
            (_, 0) => write!(f, "None of {asked} hosts would take a task now."),
            (_, _) => write!(f, "{fitting} of {asked} hosts would take a task now."),
        }?;
        self.notes.iter().try_for_each(|note| write!(f, " {note}"))
    }
}
