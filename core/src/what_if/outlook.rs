//! The differences between a cluster before and after: which tasks are elsewhere, what found no host, what room is left. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::chance;
use super::headroom::{self, Headroom};
use super::rehearsal::Rehearsal;
use super::steps::Step;
use crate::explain::{self, WhyNot};
use crate::model::{
    ClusterKey, ContainerInstanceId, DesiredStatus, Service, ServiceName, ServiceStatus, Task, TaskId, Timestamp,
};
use crate::state::ClusterState;

/// What becomes of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Whether it comes to rest; otherwise this is how far it was followed.
    pub settled: bool,
    /// After how many milliseconds the last task or host changes; hosts are taken to do at once what they are told.
    pub takes_ms: i64,
    /// Hosts that are given up as lost.
    pub given_up: Vec<HostName>,
    /// Tasks that are elsewhere, by group, then by where they were.
    pub moves: Vec<Move>,
    /// Groups for whose tasks hosts are drawn, in alphabetical order. Where these go is one possible outcome, and so is what comes of it for others that
    /// compete with them for room.
    pub left_to_chance: Vec<String>,
    /// Services that change, or lack tasks, in alphabetical order.
    pub services: Vec<ServiceOutlook>,
    /// Room before.
    pub before: Headroom,
    /// Room after.
    pub after: Headroom,
    /// The steps in which it comes about.
    pub steps: Vec<Step>,
    /// Further steps, which are not told.
    pub steps_left_out: usize,
    /// The state at the end.
    pub end: ClusterState,
}

/// A host with what people call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName {
    /// What people call it.
    pub name: String,
    /// Its id.
    pub id: ContainerInstanceId,
}

/// Tasks of one group that were on one host and have successors on another. Which task succeeds which is for reading alone: counts are what is
/// predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The group, `service:NAME` for a service's.
    pub group: String,
    /// Where they were; `None` for tasks that are more.
    pub from: Option<HostName>,
    /// Where they are; `None` for tasks that are gone.
    pub to: Option<HostName>,
    /// How many.
    pub tasks: usize,
    /// Where they may be as well, if chance decides: hosts that can take one. Empty where nothing is left to chance.
    pub one_of: Vec<HostName>,
}

/// What becomes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOutlook {
    /// Its name.
    pub service: ServiceName,
    /// Tasks that it wants, after.
    pub desired: u32,
    /// Tasks that it had.
    pub before: usize,
    /// Tasks that it has.
    pub after: usize,
    /// Tasks that it lacked before, of what it wanted then.
    pub missed_before: usize,
    /// Tasks of those that are to be replaced and are not: of an older deployment, or on a host that is draining.
    pub not_replaced: usize,
    /// What hosts say to one that it lacks or is to replace another, if there is such a task.
    pub lacks: Option<WhyNot>,
}

/// How many tasks of each group are on each host.
type Counts = BTreeMap<String, BTreeMap<HostName, BTreeSet<TaskId>>>;

/// The differences between the state before and the rehearsal's, which began to change at `began`.
pub(super) fn between(before: &ClusterState, rehearsal: &Rehearsal, began: Timestamp, settled: bool) -> Outlook {
    let (after, cluster) = (rehearsal.state(), rehearsal.cluster());
    let now = rehearsal.now();
    let moves = moves(before, after, cluster, now);
    let left_to_chance = chance::groups(before, after, cluster, &moves);
    let services = services(before, after, cluster, now);
    let (steps, steps_left_out) = rehearsal.steps();
    let affected: BTreeSet<ServiceName> = services.iter().map(|service| service.service.clone()).collect();
    Outlook {
        settled,
        takes_ms: rehearsal.changed_at().ms_since(began).max(0),
        given_up: given_up(before, after, cluster),
        moves,
        left_to_chance,
        services,
        before: headroom::of(before, cluster, &affected, now),
        after: headroom::of(after, cluster, &affected, now),
        steps,
        steps_left_out,
        end: after.clone(),
    }
}

fn given_up(before: &ClusterState, after: &ClusterState, cluster: &ClusterKey) -> Vec<HostName> {
    let is_lost = |state: &ClusterState, id| state.container_instance(id).is_some_and(|host| host.lost_at.is_some());
    let hosts = after.container_instances_of(cluster).map(|host| host.id);
    let mut lost: Vec<HostName> = hosts
        .filter(|id| is_lost(after, *id) && !is_lost(before, *id))
        .map(|id| name_of(after, id))
        .collect();
    lost.sort();
    lost
}

pub(super) fn name_of(state: &ClusterState, id: ContainerInstanceId) -> HostName {
    let host = state.container_instance(id);
    HostName {
        name: host.map(|host| host.host.host_name.clone()).unwrap_or_default(),
        id,
    }
}

pub(super) fn wanted<'s>(state: &'s ClusterState, cluster: &ClusterKey) -> impl Iterator<Item = &'s Task> {
    let tasks = state.tasks_of_cluster(cluster).map(|task| &**task);
    tasks.filter(|task| task.desired_status == DesiredStatus::Running)
}

/// Where the tasks are that `other` does not have.
fn only_in(state: &ClusterState, other: &BTreeSet<TaskId>, cluster: &ClusterKey) -> Counts {
    let mut counts = Counts::new();
    for task in wanted(state, cluster).filter(|task| !other.contains(&task.id)) {
        if let Some(host) = task.container_instance {
            let by_host = counts.entry(task.group.clone()).or_default();
            by_host.entry(name_of(state, host)).or_default().insert(task.id);
        }
    }
    counts
}

fn moves(before: &ClusterState, after: &ClusterState, cluster: &ClusterKey, now: Timestamp) -> Vec<Move> {
    let ids = |state| wanted(state, cluster).map(|task| task.id).collect::<BTreeSet<TaskId>>();
    let gone = only_in(before, &ids(after), cluster);
    let come = only_in(after, &ids(before), cluster);
    let groups: BTreeSet<&String> = gone.keys().chain(come.keys()).collect();
    let mut moves = vec![];
    for group in groups {
        let one_of = chance::one_of(before, after, cluster, group, now);
        let counts = |of: &Counts| -> Vec<(HostName, usize)> {
            let by_host = of.get(group).into_iter().flatten();
            by_host.map(|(host, tasks)| (host.clone(), tasks.len())).collect()
        };
        for (from, to, tasks) in paired(counts(&gone), counts(&come)) {
            moves.push(Move {
                group: group.clone(),
                one_of: if to.is_some() { one_of.clone() } else { vec![] },
                from,
                to,
                tasks,
            });
        }
    }
    moves
}

/// Pairs what is gone with what has come: on the same host first, then in the order of hosts.
fn paired(
    mut gone: Vec<(HostName, usize)>,
    come: Vec<(HostName, usize)>,
) -> Vec<(Option<HostName>, Option<HostName>, usize)> {
    let mut pairs = vec![];
    let mut come: BTreeMap<HostName, usize> = come.into_iter().collect();
    for (host, left) in &mut gone {
        if let Some(more) = come.get_mut(host) {
            let tasks = (*left).min(*more);
            (*left, *more) = (*left - tasks, *more - tasks);
            pairs.push((Some(host.clone()), Some(host.clone()), tasks));
        }
    }
    let mut come = come.into_iter().filter(|(_, more)| *more > 0);
    let mut next = come.next();
    for (from, mut left) in gone {
        while left > 0
            && let Some((to, more)) = &mut next
        {
            let tasks = left.min(*more);
            (left, *more) = (left - tasks, *more - tasks);
            pairs.push((Some(from.clone()), Some(to.clone()), tasks));
            if *more == 0 {
                next = come.next();
            }
        }
        pairs.push((Some(from), None, left));
    }
    pairs.extend(next.into_iter().chain(come).map(|(to, more)| (None, Some(to), more)));
    pairs.retain(|(_, _, tasks)| *tasks > 0);
    pairs.sort();
    pairs
}

fn services(before: &ClusterState, after: &ClusterState, cluster: &ClusterKey, now: Timestamp) -> Vec<ServiceOutlook> {
    let active = after
        .services_of(cluster)
        .filter(|service| service.status == ServiceStatus::Active);
    let outlooks = active.map(|service| {
        let count = |state: &ClusterState| {
            let tasks = state.live_tasks_of_service(&service.key);
            tasks
                .filter(|task| task.desired_status == DesiredStatus::Running)
                .count()
        };
        let outlook = ServiceOutlook {
            service: service.key.name.clone(),
            desired: service.desired_count,
            before: count(before),
            after: count(after),
            missed_before: before
                .service(&service.key)
                .map_or(0, |known| missing(known.desired_count, count(before))),
            not_replaced: not_replaced(after, service, now),
            lacks: None,
        };
        (service, outlook)
    });
    let concerned = outlooks.filter(|(service, outlook)| {
        outlook.before != outlook.after
            || outlook.misses() > 0
            || outlook.not_replaced > 0
            || differs(before, after, service)
    });
    concerned
        .map(|(service, outlook)| outlook.explained(before, after, service, now))
        .collect()
}

fn missing(desired: u32, tasks: usize) -> usize {
    usize::try_from(desired).unwrap_or(usize::MAX).saturating_sub(tasks)
}

/// Tasks of the service that would not be there if their successors had found a host. While what is deployed waits for somebody, other revisions keep theirs.
fn not_replaced(after: &ClusterState, service: &Service, now: Timestamp) -> usize {
    let current = service.service_deployment_under_way();
    let lifecycle = current.and_then(|current| current.lifecycle.as_ref());
    if lifecycle.is_some_and(|lifecycle| lifecycle.hooks.iter().any(|hook| hook.awaits(now))) {
        return 0;
    }
    let starts = service.starting_deployment().map(|deployment| &deployment.id);
    let tasks = after.live_tasks_of_service(&service.key);
    let wanted = tasks.filter(|task| task.desired_status == DesiredStatus::Running);
    let is_to_go = |task: &Task| after.must_leave(task) || task.deployment() != starts;
    wanted.filter(|task| is_to_go(task)).count()
}

/// Whether the service has other tasks than before.
fn differs(before: &ClusterState, after: &ClusterState, service: &Service) -> bool {
    let tasks = after.live_tasks_of_service(&service.key);
    let mut wanted = tasks.filter(|task| task.desired_status == DesiredStatus::Running);
    wanted.any(|task| before.task(task.id).is_none())
}

impl ServiceOutlook {
    /// Tasks that it lacks, after.
    #[must_use]
    pub fn misses(&self) -> usize {
        missing(self.desired, self.after)
    }

    fn explained(self, before: &ClusterState, after: &ClusterState, service: &Service, now: Timestamp) -> Self {
        let mut lacks = (self.misses() > 0 || self.not_replaced > 0)
            .then(|| explain::why_not(after, service, None, now))
            .flatten();
        if let Some(answer) = &mut lacks {
            // Nobody can stop a task that does not exist yet.
            answer.remedies.retain(|remedy| remedy.is_known_in(before));
        }
        Self { lacks, ..self }
    }
}
