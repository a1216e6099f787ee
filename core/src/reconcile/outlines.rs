//! [`Outlines`]: hosts as those see them who look for tasks to be stopped for others, and [`Ground`], what a host would have left. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ContainerInstance, ContainerInstanceId, DesiredStatus, Ports, Priority, RESERVED_TCP_PORTS, Resources, Service,
    ServiceKey, ServiceName, Task, Timestamp, TransportProtocol,
};
use crate::state::ClusterState;

use super::limits::Limits;
use super::tally::{Tally, is_running, is_unhealthy};

/// What there is to know of hosts before any task of theirs is chosen, and of the services that these are of, found out once in a pass: many services ask for
/// the same hosts, and most of them in vain.
#[derive(Default)]
pub(super) struct Outlines {
    hosts: Vec<Outlined>,
    places: BTreeMap<ContainerInstanceId, HostPlace>,
    /// The hosts that were asked for last, and their places: many services ask for the same.
    last: (Vec<ContainerInstanceId>, Vec<HostPlace>),
    /// Services with tasks on these hosts, each once.
    services: Vec<Victim>,
    numbers: BTreeMap<ServiceKey, ServiceNumber>,
    /// How often a host was looked at for the tasks that are missed least there.
    pub(super) weighed: usize,
}

/// The place of a host among those that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostPlace(usize);

/// A host that was asked for.
struct Outlined {
    id: ContainerInstanceId,
    /// What there is to know of it, once that was found out and while it is so.
    outline: Option<Outline>,
}

/// What there is to know of one.
pub(super) struct Outline {
    /// The service for which it makes room, if it does.
    makes_room_for: Option<ServiceName>,
    /// What it has left once all is over that is stopping.
    pub(super) ground: Ground,
    /// Its tasks that may be stopped for others.
    pub(super) may_stop: Vec<MayStop>,
    /// The lowest of their priorities.
    pub(super) lowest: Option<Priority>,
}

/// A task that may be stopped for others.
pub(super) struct MayStop {
    pub(super) task: Arc<Task>,
    pub(super) priority: Priority,
    /// The service that has a task less that runs then, if one has.
    pub(super) service: Option<ServiceNumber>,
}

/// The place of a service among those with tasks on hosts that were looked at: many tasks ask for few services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceNumber(usize);

/// A service whose tasks may be stopped.
struct Victim {
    key: ServiceKey,
    /// How many of its tasks serve, once that was asked.
    serving: Option<usize>,
}

impl Outline {
    /// Whether it makes room for no other service.
    pub(super) fn is_open_to(&self, service: &ServiceName) -> bool {
        self.makes_room_for.as_ref().is_none_or(|other| other == service)
    }
}

impl Outlines {
    /// The places of hosts.
    pub(super) fn places_of(&mut self, hosts: &[ContainerInstanceId]) -> Vec<HostPlace> {
        if self.last.0 != hosts {
            let places = hosts.iter().map(|host| {
                *self.places.entry(*host).or_insert_with(|| {
                    let (id, outline) = (*host, None);
                    self.hosts.push(Outlined { id, outline });
                    HostPlace(self.hosts.len() - 1)
                })
            });
            let places = places.collect();
            self.last = (hosts.to_vec(), places);
        }
        self.last.1.clone()
    }

    pub(super) fn id(&self, host: HostPlace) -> ContainerInstanceId {
        self.hosts[host.0].id
    }

    /// That of a host, which stays the same until [`Self::forget`]; `None` if the host is gone.
    pub(super) fn of(&mut self, state: &ClusterState, host: HostPlace, now: Timestamp) -> Option<&Outline> {
        if self.hosts[host.0].outline.is_none() {
            let instance = state.container_instance(self.id(host))?;
            self.hosts[host.0].outline = Some(self.found(state, instance, now));
        }
        self.hosts[host.0].outline.as_ref()
    }

    fn found(&mut self, state: &ClusterState, host: &ContainerInstance, now: Timestamp) -> Outline {
        let tasks = state.tasks_of_instance(host.id);
        let may_stop = tasks.filter(|task| state.may_be_preempted(task, now));
        let may_stop = may_stop.map(|task| {
            let service = task.service().filter(|_| is_running(task));
            MayStop {
                task: Arc::clone(task),
                priority: state.priority_of(task),
                service: service.map(|key| self.number_of(key)),
            }
        });
        let may_stop: Vec<MayStop> = may_stop.collect();
        Outline {
            makes_room_for: state.allocation(host.id).makes_room_for().cloned(),
            ground: Ground::of(state, host),
            lowest: may_stop.iter().map(|one| one.priority).min(),
            may_stop,
        }
    }

    pub(super) fn number_of(&mut self, key: &ServiceKey) -> ServiceNumber {
        if let Some(known) = self.numbers.get(key) {
            return *known;
        }
        let number = ServiceNumber(self.services.len());
        self.services.push(Victim {
            key: key.clone(),
            serving: None,
        });
        self.numbers.insert(key.clone(), number);
        number
    }

    /// How many of its tasks that run a service can do without.
    pub(super) fn spare(&mut self, state: &ClusterState, service: ServiceNumber) -> usize {
        let victim = &mut self.services[service.0];
        let Some(service) = state.service(&victim.key) else {
            return usize::MAX;
        };
        let serving = victim.serving.unwrap_or_else(|| serving(state, service));
        // Which tasks are those of a service with task sets depends on which of them is the primary one.
        victim.serving = (!service.is_external()).then_some(serving);
        serving.saturating_sub(Limits::of(service).lower)
    }

    /// Something has become of a task on a host.
    pub(super) fn forget(&mut self, host: ContainerInstanceId) {
        if let Some(place) = self.places.get(&host) {
            self.hosts[place.0].outline = None;
        }
    }

    /// Something has become of a task of a service.
    pub(super) fn forget_service(&mut self, service: &ServiceKey) {
        if let Some(number) = self.numbers.get(service) {
            self.services[number.0].serving = None;
        }
    }

    /// A task of a service was told to stop for one of another.
    pub(super) fn count_stopped(&mut self, service: &ServiceKey, task: &Arc<Task>) {
        if let Some(number) = self.numbers.get(service)
            && let Some(serving) = &mut self.services[number.0].serving
        {
            *serving = serving.saturating_sub(usize::from(serves(task)));
        }
    }
}

/// How many tasks of a service serve, of those that were not told to stop.
fn serving(state: &ClusterState, service: &Service) -> usize {
    let tally = Tally::of(state, service);
    let wanted = tally.current.iter().chain(tally.to_replace());
    wanted.filter(|task| serves(task)).count()
}

fn serves(task: &Arc<Task>) -> bool {
    is_running(task) && !is_unhealthy(task)
}

/// What a host has left beside the tasks that stay.
#[derive(Clone)]
pub(super) struct Ground {
    cpu: i64,
    memory: i64,
    /// Ports, and how many hold them.
    ports: BTreeMap<(TransportProtocol, u16), usize>,
}

impl Ground {
    /// That of a host beside the tasks that were not told to stop.
    fn of(state: &ClusterState, host: &ContainerInstance) -> Self {
        let capacity = host.host.capacity;
        let reserved = RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port));
        let held = reserved.into_iter().chain(host.foreign_ports.iter().copied());
        let mut ground = Self {
            cpu: i64::from(capacity.cpu.0),
            memory: i64::from(capacity.memory.0),
            ports: held.map(|port| (port, 1)).collect(),
        };
        let tasks = state.tasks_of_instance(host.id);
        let staying = tasks.filter(|task| !task.is_stopped() && task.desired_status == DesiredStatus::Running);
        staying.for_each(|task| ground.keep(task));
        ground
    }

    /// With one task more that stays.
    pub(super) fn keep(&mut self, task: &Task) {
        self.cpu -= i64::from(task.reservation.cpu.0);
        self.memory -= i64::from(task.reservation.memory.0);
        for port in ports(task) {
            *self.ports.entry(port).or_default() += 1;
        }
    }

    /// With one task less.
    pub(super) fn release(&mut self, task: &Task) {
        self.cpu += i64::from(task.reservation.cpu.0);
        self.memory += i64::from(task.reservation.memory.0);
        for port in ports(task) {
            if let Some(holders) = self.ports.get_mut(&port) {
                *holders = holders.saturating_sub(1);
            }
        }
    }

    /// How many tasks with such needs fit.
    pub(super) fn times(&self, needs: Resources, ports: &Ports) -> usize {
        if ports
            .iter()
            .any(|port| self.ports.get(port).is_some_and(|holders| *holders > 0))
        {
            return 0;
        }
        let of = |free: i64, needs: u32| match needs {
            // As often as the other fits.
            0 => usize::MAX,
            needs => usize::try_from(free / i64::from(needs)).unwrap_or(0),
        };
        let most = of(self.cpu, needs.cpu.0).min(of(self.memory, needs.memory.0));
        let holds_nothing = ports.is_empty() && most < usize::MAX;
        most.min(if holds_nothing { usize::MAX } else { 1 })
    }
}

/// Ports that a task holds on its host.
fn ports(task: &Task) -> Ports {
    let bound = task.containers.iter().flat_map(|container| &container.network_bindings);
    let bound = bound.map(|binding| (binding.protocol, binding.host_port));
    task.host_ports.iter().copied().chain(bound).collect()
}
