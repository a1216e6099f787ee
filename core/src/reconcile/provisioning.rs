//! Tasks outside services that wait for a host of their capacity provider, as on ECS where managed scaling is enabled: which of those that find no host
//! do, how they get one in turn with the services that wait for room, and how they end where none comes in time. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    CapacityProviderName, ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, Manner, Ports,
    Priority, RESERVED_TCP_PORTS, Resources, StopCode, Task, TaskId, Timestamp, TransportProtocol,
};
use crate::placement::{
    self, Ask, HOSTS_PER_SENTENCE, Host, PlacementProblem, Requests, Seed, TaskRequest, Unplaced, place,
};
use crate::scaling::Demand;
use crate::state::{ClusterState, Command, Feature, PlaceTask};

use super::agenda::Subject;
use super::managed_scaling::HOSTS_AT_ONCE;
use super::pass::Pass;
use super::placing;
use super::stopping;
use super::waiting::Waiter;

/// How long a task waits for a host ("Deep dive on Amazon ECS cluster auto scaling": between 10 and 30 minutes).
pub const PROVISION_WITHIN_MS: i64 = 30 * 60 * 1_000;

/// Placements in one command: each is a few hundred bytes of the 1 MiB that one may have.
const MAX_PLACEMENTS_PER_COMMAND: usize = 100;

/// Tasks whose time is over that are looked at in one pass: each is told what every host of its pool has against it.
const MAX_OVER_AT_ONCE: usize = 20;

/// Finds out which tasks of a cluster wait, and has them looked at by their priorities.
pub(super) fn reconcile(pass: &mut Pass<'_>, cluster: &ClusterKey) {
    let tasks = pass.state.provisioning_tasks(cluster);
    let priorities: BTreeSet<Priority> = tasks.map(|task| Priority::of(&task.tags)).collect();
    for priority in priorities.into_iter().rev() {
        pass.agenda.enqueue(Subject::Tasks(cluster.clone(), priority));
    }
}

/// Gives those tasks of a priority a host for which there is room, and stops those that have waited for too long.
pub(super) fn place_waiting(pass: &mut Pass<'_>, cluster: &ClusterKey, priority: Priority) {
    let waiter = Waiter::Tasks(cluster.clone(), priority);
    pass.turn = pass.agenda.waiting.leave(&waiter);
    let mut chances = Chances::of(&pass.state, cluster);
    let tasks = in_order(&pass.state, cluster, priority).into_iter();
    let (mut over, now) = (0, pass.now);
    let (asked, spared): (Vec<_>, Vec<_>) = tasks.partition(|task| {
        let is_over = due(task) <= now;
        over += usize::from(is_over);
        if is_over {
            over <= MAX_OVER_AT_ONCE
        } else {
            chances.has(task)
        }
    });
    let left = place_all(pass, cluster, &asked);
    let (over, left): (Vec<_>, Vec<_>) = left.into_iter().partition(|(task, _)| due(task) <= pass.now);
    stop(pass, over);
    let waiting = left.iter().map(|(task, _)| task).chain(&spared);
    let Some(next) = waiting.map(|task| due(task)).min() else {
        return;
    };
    let turn = pass.turn;
    pass.agenda.waiting.join(waiter, priority, turn);
    pass.agenda.wake(Subject::Tasks(cluster.clone(), priority), next);
    if pass.agenda.scaled.has(cluster) {
        pass.agenda.enqueue(Subject::Pools(cluster.clone()));
    }
}

/// By when the task has to have a host.
fn due(task: &Task) -> Timestamp {
    task.provision_until.unwrap_or(task.created_at)
}

/// Which tasks may find a host, by cpu and memory alone: to plan for one that finds none costs about what there are hosts, since each says why not.
struct Chances {
    free: Vec<(Option<CapacityProviderName>, Resources)>,
    known: BTreeMap<(Option<CapacityProviderName>, Resources), bool>,
}

impl Chances {
    fn of(state: &ClusterState, cluster: &ClusterKey) -> Self {
        let hosts = state.container_instances_of(cluster);
        let there = hosts.filter(|host| host.status == ContainerInstanceStatus::Active && host.agent_connected);
        let free = there.map(|host| {
            let free = state.allocation(host.id).free(host.host.capacity);
            (host.host.capacity_provider.clone(), free)
        });
        Self {
            free: free.collect(),
            known: BTreeMap::new(),
        }
    }

    fn has(&mut self, task: &Task) -> bool {
        let asked = (task.capacity_provider.clone(), task.reservation);
        let free = &self.free;
        *self.known.entry(asked).or_insert_with_key(|(pool, needs)| {
            let fits = |(of, free): &(Option<CapacityProviderName>, Resources)| {
                of == pool && free.checked_sub(*needs).is_some()
            };
            free.iter().any(fits)
        })
    }
}

/// Those that wait, the longest first.
fn in_order(state: &ClusterState, cluster: &ClusterKey, priority: Priority) -> Vec<Arc<Task>> {
    let tasks = state.provisioning_tasks(cluster);
    let own = tasks.filter(|task| Priority::of(&task.tags) == priority);
    let mut own: Vec<Arc<Task>> = own.cloned().collect();
    own.sort_by_key(|task| (task.created_at, task.id));
    own
}

/// Places as many as there is room for; returns the others, and why each has no host.
fn place_all(pass: &mut Pass<'_>, cluster: &ClusterKey, tasks: &[Arc<Task>]) -> Vec<(Arc<Task>, Arc<Unplaced>)> {
    if tasks.is_empty() {
        return vec![];
    }
    let mut requests = Requests::default();
    let mut pools = BTreeMap::new();
    let asked = tasks.iter().map(|task| {
        // What its own pool has against it is what it ends with, if it does now.
        let mut pool = || {
            let pool = pools.entry(task.capacity_provider.clone());
            pool.or_insert_with(|| pool_of(&pass.state, task)).clone()
        };
        let only_hosts = (due(task) <= pass.now).then(&mut pool);
        TaskRequest {
            only_hosts,
            ..requests.of(task)
        }
    });
    let asked = asked.collect();
    // As for tasks that are run just now: what was made free for a service is for that.
    pass.agenda.hosts.keep_room(pass.agenda.kept_room.names());
    let answers = placing::place(pass, cluster, asked, Manner::OneByOne);
    pass.agenda.hosts.keep_room(BTreeMap::new());
    let (mut placements, mut left) = (vec![], vec![]);
    for (task, answer) in tasks.iter().zip(answers) {
        match answer {
            Ok(placed) => placements.push(PlaceTask {
                task: placed.task,
                container_instance: placed.host,
                placement: placed.record,
            }),
            Err(why) => left.push((Arc::clone(task), why)),
        }
    }
    for placements in placements.chunks(MAX_PLACEMENTS_PER_COMMAND) {
        let (placements, at) = (placements.to_vec(), pass.now);
        if pass.decide(Command::PlaceTasks { placements, at }) {
            pass.turn = None;
        }
    }
    left
}

/// The hosts of the task's capacity provider.
fn pool_of(state: &ClusterState, task: &Task) -> BTreeSet<ContainerInstanceId> {
    let hosts = state.container_instances_of(&task.cluster);
    let own = hosts.filter(|host| host.host.capacity_provider == task.capacity_provider);
    own.map(|host| host.id).collect()
}

/// Stops tasks that got no host in time.
fn stop(pass: &mut Pass<'_>, over: Vec<(Arc<Task>, Arc<Unplaced>)>) {
    let mut by_reason: BTreeMap<String, Vec<TaskId>> = BTreeMap::new();
    for (task, why) in over {
        let pool = task.capacity_provider.as_ref().map_or("", CapacityProviderName::as_str);
        let reason = placement::failed_to_provision(pool, PROVISION_WITHIN_MS / 60_000, &why, HOSTS_PER_SENTENCE);
        by_reason.entry(reason).or_default().push(task.id);
    }
    for (reason, tasks) in by_reason {
        stopping::stop_all(pass, &tasks, StopCode::TaskFailedToStart, &reason);
    }
}

/// What the tasks of a cluster wait for of a capacity provider.
pub(super) fn demands(state: &ClusterState, cluster: &ClusterKey, pool: &CapacityProviderName) -> Vec<Demand> {
    let mut requests = Requests::default();
    let mut found: Vec<Demand> = vec![];
    let tasks = state.provisioning_tasks(cluster);
    for task in tasks.filter(|task| task.capacity_provider.as_ref() == Some(pool)) {
        let ask = requests.of(task).ask;
        match found.iter_mut().find(|known| known.ask == ask) {
            Some(known) => known.count += 1,
            None => found.push(Demand { ask, count: 1 }),
        }
    }
    found
}

/// Which tasks may wait for a host: what was found out of one holds for others like it in its cluster.
#[derive(Default)]
pub(super) struct Prospects(BTreeMap<ClusterKey, Vec<(Arc<Ask>, bool)>>);

impl Prospects {
    /// The task as it waits from now on, if it does: one of a capacity provider whose hosts are woken, that would fit on one of them.
    pub(super) fn of(&mut self, state: &ClusterState, task: &Task, now: Timestamp) -> Option<Task> {
        if !state.uses(Feature::ProvisioningTasks) {
            return None;
        }
        let pool = task.capacity_provider.as_ref()?;
        let provider = state.capacity_provider(&task.cluster.scope.capacity_provider(pool.as_str()))?;
        provider.scaling()?;
        let ask = TaskRequest::of(task).ask;
        let found = self.0.entry(task.cluster.clone()).or_default();
        let known = found.iter().find(|(known, _)| *known == ask).map(|(_, may)| *may);
        let may = known.unwrap_or_else(|| {
            let may = may_fit(state, &task.cluster, pool, &ask);
            found.push((ask, may));
            may
        });
        may.then(|| Task {
            provision_until: Some(now.plus_ms(PROVISION_WITHIN_MS)),
            ..task.clone()
        })
    }
}

/// Whether a host of the pool would take such a task once it is there and has room.
fn may_fit(state: &ClusterState, cluster: &ClusterKey, pool: &CapacityProviderName, ask: &Arc<Ask>) -> bool {
    let is_of = |host: &&Arc<ContainerInstance>| host.host.capacity_provider.as_ref() == Some(pool);
    let is_large = |host: &&Arc<ContainerInstance>| host.host.capacity.checked_sub(ask.shape.resources).is_some();
    let hosts = state.container_instances_of(cluster).filter(is_of).filter(is_large);
    let hosts: Vec<&Arc<ContainerInstance>> = hosts.collect();
    hosts.chunks(HOSTS_AT_ONCE).any(|hosts| {
        let with_room: Vec<Host> = hosts.iter().map(|host| with_room(state, host)).collect();
        let emptied = with_room.iter().cloned().map(emptied).collect();
        takes(with_room, ask) || takes(emptied, ask)
    })
}

fn takes(hosts: Vec<Host>, ask: &Arc<Ask>) -> bool {
    let problem = PlacementProblem {
        hosts,
        requests: vec![TaskRequest::new(TaskId(0), Arc::clone(ask))],
        typical: None,
    };
    place(&problem, Seed(0)).placements().next().is_some()
}

/// The host as it would be if it took tasks and nothing were taken of it, by which constraints that ask for other tasks can hold.
fn with_room(state: &ClusterState, host: &ContainerInstance) -> Host {
    let known = Host::from_state(state, host);
    Host {
        free: known.registered,
        used_ports: RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port)).into(),
        foreign_ports: Ports::new(),
        status: ContainerInstanceStatus::Active,
        agent_connected: true,
        makes_room_for: None,
        missing_daemon: None,
        ..known
    }
}

/// The same without a task, by which those that ask for none can.
fn emptied(host: Host) -> Host {
    Host {
        running_tasks: 0,
        tasks_by_group: BTreeMap::new(),
        ..host
    }
}
