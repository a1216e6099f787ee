//! Problems taken from the replicated state: the one place where the planner knows how hosts and tasks are stored. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::outcome::{Move, Plan};
use super::problem::{PlacedTask, RebalanceProblem, Stays};
use crate::model::{
    CapacityProviderName, ClusterKey, CpuUnits, DesiredStatus, MemoryMib, RebalanceGoal, Resources, ServiceKey,
    ServiceName, Task, TaskId, TaskMove, Timestamp,
};
use crate::placement::{Ask, GpuSet, Host, PlacementProblem, Requests, TaskRequest};
use crate::reconcile::{self, Unready};
use crate::state::ClusterState;
use crate::what_if::{Headroom, headroom_of};

/// What is wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What moves are to be for.
    pub goal: RebalanceGoal,
    /// Services whose tasks may be moved; all, if none is named.
    pub services: BTreeSet<ServiceName>,
    /// Moves in all, at most.
    pub max_moves: usize,
}

/// A plan, and what room there is before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// Room before.
    pub before: Headroom,
    /// Room after.
    pub after: Headroom,
}

/// The moves that would bring a cluster closer to what is wished for. Nothing is changed.
#[must_use]
pub fn propose(state: &ClusterState, cluster: &ClusterKey, wish: &Wish, now: Timestamp) -> Proposal {
    let problem = problem(state, cluster, wish, now);
    let plan = super::plan(&problem, wish.goal, wish.max_moves);
    let concerned = plan
        .moves
        .iter()
        .filter_map(|found| found.group.strip_prefix("service:"));
    let concerned: BTreeSet<ServiceName> = concerned.map(ServiceName::from).collect();
    let after = hosts_after(&problem, &plan.moves);
    Proposal {
        before: headroom_of(problem.hosts, state, cluster, &concerned, now),
        after: headroom_of(after, state, cluster, &concerned, now),
        plan,
    }
}

/// The moves of [`propose`] alone, as they are to be made.
#[must_use]
pub fn moves(state: &ClusterState, cluster: &ClusterKey, wish: &Wish, now: Timestamp) -> Vec<TaskMove> {
    super::plan(&problem(state, cluster, wish, now), wish.goal, wish.max_moves).to_make()
}

/// The hosts of a cluster and the tasks on them.
fn problem(state: &ClusterState, cluster: &ClusterKey, wish: &Wish, now: Timestamp) -> RebalanceProblem {
    let mut services: BTreeMap<&ServiceKey, (Option<Stays>, Option<Task>)> = BTreeMap::new();
    let (mut tasks, mut requests, mut in_pools) = (vec![], Requests::default(), InPools::new());
    for task in state.tasks_of_cluster(cluster).filter(|task| !task.is_stopped()) {
        let Some(host) = task.container_instance else { continue };
        let of_service = task.service().map(|key| {
            let known = services.entry(key);
            &*known.or_insert_with(|| of_service(state, key, wish, now))
        });
        let held = requests.of(task);
        let (stays, next) = match of_service {
            Some((stays, next)) => (*stays, next.as_ref()),
            None => (Some(Stays::Standalone), None),
        };
        tasks.push(PlacedTask {
            replacement: next.map_or_else(|| held.clone(), |next| in_pool_of(&mut in_pools, next, task)),
            held,
            gpus: GpuSet::default(),
            host,
            stays: match stays {
                Some(Stays::Standalone | Stays::Service(Unready::Daemon)) if is_wanted(task) => stays,
                _ => own_reason(task, now).or(stays),
            },
        });
    }
    RebalanceProblem {
        hosts: PlacementProblem::from_state(state, cluster, []).hosts,
        tasks,
    }
}

/// What replacements ask for, by the group and the capacity provider: those that are alike share it.
type InPools = BTreeMap<(String, Option<CapacityProviderName>), Arc<Ask>>;

/// What takes the place of a task, of the same capacity provider.
fn in_pool_of(in_pools: &mut InPools, next: &Task, held: &Task) -> TaskRequest {
    let key = (next.group.clone(), held.capacity_provider.clone());
    let ask = in_pools.entry(key).or_insert_with(|| {
        let replacement = Task {
            capacity_provider: held.capacity_provider.clone(),
            ..next.clone()
        };
        TaskRequest::of(&replacement).ask
    });
    TaskRequest::new(next.id, Arc::clone(ask))
}

/// Why the tasks of a service stay, and what a replacement of one asks for.
fn of_service(state: &ClusterState, key: &ServiceKey, wish: &Wish, now: Timestamp) -> (Option<Stays>, Option<Task>) {
    let Some(service) = state.service(key) else {
        return (Some(Stays::Service(Unready::Deleted)), None);
    };
    let next = reconcile::next_task(state, service, now);
    let unready = reconcile::unready(state, service, now).map(Stays::Service);
    let is_asked = wish.services.is_empty() || wish.services.contains(&key.name);
    let stays = match unready {
        Some(Stays::Service(Unready::Daemon)) => unready,
        _ if !is_asked => Some(Stays::NotAsked),
        None if next.is_none() => Some(Stays::Service(Unready::Deploying)),
        _ => unready,
    };
    (stays, next)
}

fn is_wanted(task: &Task) -> bool {
    task.desired_status == DesiredStatus::Running
}

fn own_reason(task: &Task, now: Timestamp) -> Option<Stays> {
    if !is_wanted(task) {
        return Some(Stays::Ending);
    }
    if task.is_protected(now) {
        return Some(Stays::Protected);
    }
    (!reconcile::has_settled(task, now)).then_some(Stays::Starting)
}

/// The hosts with what the tasks hold after the moves.
fn hosts_after(problem: &RebalanceProblem, moves: &[Move]) -> Vec<Host> {
    let tasks: BTreeMap<TaskId, &PlacedTask> = problem.tasks.iter().map(|task| (task.id(), task)).collect();
    let mut hosts: BTreeMap<_, Host> = problem.hosts.iter().map(|host| (host.id, host.clone())).collect();
    for found in moves {
        let Some(task) = tasks.get(&found.task) else { continue };
        if let Some(host) = hosts.get_mut(&found.to) {
            let needs = task.replacement.shape.resources;
            host.free = host.free.checked_sub(needs).unwrap_or_default();
            host.used_ports.extend(&task.replacement.host_ports);
            *host.tasks_by_group.entry(found.group.clone()).or_default() += 1;
            host.running_tasks += 1;
        }
        if let Some(host) = hosts.get_mut(&found.from) {
            host.free = sum(host.free, task.held.shape.resources);
            host.used_ports.retain(|port| !task.held.host_ports.contains(port));
            host.running_tasks = host.running_tasks.saturating_sub(1);
            if let Some(count) = host.tasks_by_group.get_mut(&found.group) {
                *count = count.saturating_sub(1);
            }
        }
    }
    hosts.into_values().collect()
}

fn sum(one: Resources, other: Resources) -> Resources {
    Resources {
        cpu: CpuUnits(one.cpu.0.saturating_add(other.cpu.0)),
        memory: MemoryMib(one.memory.0.saturating_add(other.memory.0)),
    }
}
