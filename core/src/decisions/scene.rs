//! [`Scene`]: the hosts of a recording at a moment, with what their tasks hold, as placement sees them. A copy costs next to nothing. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{ContainerInstanceId, Ports, RESERVED_TCP_PORTS, Resources, TransportProtocol};
use crate::placement::{Ask, Host};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    hosts: OrdMap<ContainerInstanceId, Arc<Standing>>,
    /// Where each task is.
    places: OrdMap<u32, ContainerInstanceId>,
    /// Hosts with a task.
    used: usize,
}

#[derive(Clone, Debug)]
struct Standing {
    /// Without tasks.
    bare: Arc<Host>,
    tasks: BTreeMap<u32, Held>,
    /// With them.
    host: Arc<Host>,
}

/// What a task holds on its host.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it asked for.
    pub ask: Arc<Ask>,
    /// Whether it is wanted to run.
    pub wanted: bool,
    /// Whether it runs.
    pub running: bool,
    /// Ports that its host gave it beyond those that it asked for.
    pub bound: Ports,
}

impl Held {
    /// What a task holds that was just put on its host.
    #[must_use]
    pub fn new(ask: Arc<Ask>) -> Self {
        Self {
            ask,
            wanted: true,
            running: false,
            bound: Ports::new(),
        }
    }
}

impl Scene {
    /// Takes in a host that is new, or otherwise than it was. Whatever `bare` says of tasks is left out.
    pub fn describe(&mut self, bare: Arc<Host>) {
        let known = self.hosts.remove(&bare.id);
        let tasks = known.map(|known| Arc::unwrap_or_clone(known).tasks).unwrap_or_default();
        let host = Arc::new(with_tasks(&bare, &tasks));
        self.hosts.insert(bare.id, Arc::new(Standing { bare, tasks, host }));
    }

    /// Takes a host out, and returns the tasks that were on it.
    pub fn remove(&mut self, host: ContainerInstanceId) -> Vec<(u32, Held)> {
        let Some(standing) = self.hosts.remove(&host) else {
            return vec![];
        };
        let tasks = Arc::unwrap_or_clone(standing).tasks;
        self.used -= usize::from(!tasks.is_empty());
        for task in tasks.keys() {
            self.places.remove(task);
        }
        tasks.into_iter().collect()
    }

    /// Puts a task on a host, from wherever it was. Whether the host is there.
    pub fn put(&mut self, task: u32, host: ContainerInstanceId, held: Held) -> bool {
        self.take_off(task);
        let is_there = self.with(host, |tasks| _ = tasks.insert(task, held));
        if is_there {
            self.places.insert(task, host);
        }
        is_there
    }

    /// Changes what a task holds. Whether it is on a host.
    pub fn change(&mut self, task: u32, change: impl FnOnce(&mut Held)) -> bool {
        let Some(host) = self.place_of(task) else {
            return false;
        };
        self.with(host, |tasks| {
            if let Some(held) = tasks.get_mut(&task) {
                change(held);
            }
        })
    }

    /// Takes a task off its host, and returns what it held and where.
    pub fn take_off(&mut self, task: u32) -> Option<(ContainerInstanceId, Held)> {
        let host = self.places.remove(&task)?;
        let mut held = None;
        self.with(host, |tasks| held = tasks.remove(&task));
        held.map(|held| (host, held))
    }

    /// The host that a task is on.
    #[must_use]
    pub fn place_of(&self, task: u32) -> Option<ContainerInstanceId> {
        self.places.get(&task).copied()
    }

    /// How many hosts have a task.
    #[must_use]
    pub fn hosts_used(&self) -> usize {
        self.used
    }

    /// A host.
    #[must_use]
    pub fn host(&self, id: ContainerInstanceId) -> Option<&Arc<Host>> {
        self.hosts.get(&id).map(|standing| &standing.host)
    }

    /// The hosts, in the order of their ids.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.values().map(|standing| &standing.host)
    }

    /// How many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.places.len()
    }

    /// The tasks on a host.
    pub fn tasks_on(&self, host: ContainerInstanceId) -> impl Iterator<Item = u32> {
        let standing = self.hosts.get(&host).into_iter();
        standing.flat_map(|standing| standing.tasks.keys().copied())
    }

    fn with(&mut self, host: ContainerInstanceId, change: impl FnOnce(&mut BTreeMap<u32, Held>)) -> bool {
        let Some(standing) = self.hosts.get_mut(&host) else {
            return false;
        };
        let standing = Arc::make_mut(standing);
        self.used -= usize::from(!standing.tasks.is_empty());
        change(&mut standing.tasks);
        self.used += usize::from(!standing.tasks.is_empty());
        standing.host = Arc::new(with_tasks(&standing.bare, &standing.tasks));
        true
    }
}

/// The host as the state would describe it with these tasks.
fn with_tasks(bare: &Host, tasks: &BTreeMap<u32, Held>) -> Host {
    let mut host = bare.clone();
    host.used_ports = RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port)).into();
    host.tasks_by_group.clear();
    host.running_tasks = 0;
    let (mut cpu, mut memory) = (0u64, 0u64);
    for held in tasks.values() {
        let ask = &held.ask;
        cpu += u64::from(ask.shape.resources.cpu.0);
        memory += u64::from(ask.shape.resources.memory.0);
        host.used_ports.extend(ask.host_ports.iter().chain(&held.bound));
        host.running_tasks += u32::from(held.running);
        if held.wanted {
            match host.tasks_by_group.get_mut(&ask.group) {
                Some(count) => *count += 1,
                None => _ = host.tasks_by_group.insert(ask.group.clone(), 1),
            }
        }
    }
    // A host that shrank below what its tasks hold has nothing free.
    let left = |of: u32, held: u64| u32::try_from(u64::from(of).saturating_sub(held)).unwrap_or(0);
    host.free = Resources::new(left(host.registered.cpu.0, cpu), left(host.registered.memory.0, memory));
    host
}
