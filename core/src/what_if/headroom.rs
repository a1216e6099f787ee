//! What more there is room for: what is free by zone, and how many more tasks of each service would find a host. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    ClusterKey, ContainerInstanceStatus, Manner, SchedulingStrategy, ServiceName, ServiceStatus, Task, TaskId,
    Timestamp,
};
use crate::placement::{Ask, FollowedHosts, Host, PlacementProblem, Seed, TaskRequest};
use crate::reconcile;
use crate::state::ClusterState;

/// More tasks than this are not counted: there is room enough.
pub const MAX_MORE_TASKS: usize = 1_000;

/// Services that are counted for: each takes a plan of its own.
const MAX_SERVICES: usize = 50;

/// What more there is room for in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// By zone, in alphabetical order; hosts without one come first.
    pub zones: Vec<ZoneRoom>,
    /// For each service by itself, in alphabetical order, as if the others stayed as they are. Daemon services are left out: hosts, not room,
    /// decide how many tasks they have.
    pub services: Vec<MoreTasks>,
}

/// What is free in a zone, of hosts that take tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneRoom {
    /// The zone; `None` for hosts that name none.
    pub zone: Option<String>,
    /// Hosts that take tasks.
    pub hosts: usize,
    /// CPU units free of all of them.
    pub free_cpu: u64,
    /// MiB free of all of them.
    pub free_memory: u64,
}

/// How many more tasks of a service there is room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoreTasks {
    /// The service.
    pub service: ServiceName,
    /// How many; [`MAX_MORE_TASKS`] stands for that or more.
    pub tasks: usize,
}

/// What there is room for in the state; of services, those named `first` are counted before others.
pub(super) fn of(
    state: &ClusterState,
    cluster: &ClusterKey,
    first: &BTreeSet<ServiceName>,
    now: Timestamp,
) -> Headroom {
    let hosts = PlacementProblem::from_state(state, cluster, []).hosts;
    headroom_of(hosts, state, cluster, first, now)
}

/// The same for hosts that are as in the state but for the tasks on them, in the order of their ids.
pub(crate) fn headroom_of(
    hosts: Vec<Host>,
    state: &ClusterState,
    cluster: &ClusterKey,
    first: &BTreeSet<ServiceName>,
    now: Timestamp,
) -> Headroom {
    let hosts: Vec<Arc<Host>> = hosts.into_iter().map(Arc::new).collect();
    Headroom {
        zones: zones(state, cluster, &hosts),
        services: more_tasks(&hosts, state, cluster, first, now),
    }
}

/// How many more tasks of each service there is room for on these hosts.
fn more_tasks(
    hosts: &[Arc<Host>],
    state: &ClusterState,
    cluster: &ClusterKey,
    first: &BTreeSet<ServiceName>,
    now: Timestamp,
) -> Vec<MoreTasks> {
    let mut followed = FollowedHosts::default();
    let mut place = |requests: &[TaskRequest]| {
        let plan = followed.place(hosts.to_vec(), requests, Manner::OneByOne, Seed::default());
        plan.placements().count()
    };
    let services = state
        .services_of(cluster)
        .filter(|service| service.status == ServiceStatus::Active)
        .filter(|service| service.scheduling_strategy == SchedulingStrategy::Replica);
    let (named, others): (Vec<_>, Vec<_>) = services.partition(|service| first.contains(&service.key.name));
    let counted = named.into_iter().chain(others).take(MAX_SERVICES);
    let mut services: Vec<MoreTasks> = counted
        .filter_map(|service| {
            let task = reconcile::next_task(state, service, now)?;
            Some(MoreTasks {
                service: service.key.name.clone(),
                tasks: place(&many_of(&task)),
            })
        })
        .collect();
    services.sort_by(|a, b| a.service.cmp(&b.service));
    services
}

/// As many tasks like `task` as are counted.
fn many_of(task: &Task) -> Vec<TaskRequest> {
    let request = TaskRequest::of(task);
    let ask = Arc::new(Ask {
        // What is counted does not depend on the order in which hosts fill, and without strategies planning is quickest.
        strategies: vec![],
        ..Ask::clone(&request)
    });
    let requests = (1..=MAX_MORE_TASKS as u128).map(|number| TaskRequest {
        id: TaskId(number),
        ask: Arc::clone(&ask),
        only_hosts: request.only_hosts.clone(),
    });
    requests.collect()
}

fn zones(state: &ClusterState, cluster: &ClusterKey, hosts: &[Arc<Host>]) -> Vec<ZoneRoom> {
    let zone_of = |host: &Host| {
        let instance = state.container_instance(host.id);
        instance.and_then(|instance| instance.availability_zone().map(str::to_owned))
    };
    let all = state
        .container_instances_of(cluster)
        .map(|host| host.availability_zone().map(str::to_owned));
    let mut zones: BTreeMap<Option<String>, ZoneRoom> = all.map(|zone| (zone.clone(), named(zone))).collect();
    let takes_tasks = |host: &&Arc<Host>| host.status == ContainerInstanceStatus::Active && host.agent_connected;
    for host in hosts.iter().filter(takes_tasks) {
        let zone = zone_of(host);
        let room = zones.entry(zone.clone()).or_insert_with(|| named(zone));
        room.hosts += 1;
        room.free_cpu += u64::from(host.free.cpu.0);
        room.free_memory += u64::from(host.free.memory.0);
    }
    zones.into_values().collect()
}

fn named(zone: Option<String>) -> ZoneRoom {
    ZoneRoom {
        zone,
        ..ZoneRoom::default()
    }
}
