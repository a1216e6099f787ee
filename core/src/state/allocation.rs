//! What the tasks of a host hold of it. Kept in step with the tasks by [`super::ClusterState`]'s one way of writing
//! a task, and checked whenever a task is put on a host: a host is never promised more than it has.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    ContainerInstance, DesiredStatus, Ports, RESERVED_TCP_PORTS, Resources, ServiceName, Task, TaskId, TaskStatus,
    TransportProtocol,
};

use super::Rejection;

/// What the tasks of one host hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// CPU and memory reserved, in sums that cannot overflow.
    cpu: u64,
    memory: u64,
    ports: BTreeSet<(TransportProtocol, u16, TaskId)>,
    by_group: BTreeMap<String, u32>,
    running: u32,
    pending: u32,
    /// Tasks that are ending so that one of another service fits in their place, by that service.
    making_room: BTreeMap<ServiceName, u32>,
}

impl Allocation {
    /// What is left of `registered`; a quantity that shrank below what is held counts as 0.
    #[must_use]
    pub fn free(&self, registered: Resources) -> Resources {
        let left = |of: u32, held: u64| u32::try_from(u64::from(of).saturating_sub(held)).unwrap_or(0);
        Resources::new(left(registered.cpu.0, self.cpu), left(registered.memory.0, self.memory))
    }

    /// Host ports in use by tasks.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
            .iter()
            .map(|(protocol, port, _)| (*protocol, *port))
            .collect()
    }

    /// Tasks of each group that are wanted to run, whether or not they do yet: what placement spreads and keeps apart.
    pub fn groups(&self) -> impl Iterator<Item = (&str, u32)> {
        self.by_group.iter().map(|(group, count)| (group.as_str(), *count))
    }

    /// Tasks that run.
    #[must_use]
    pub fn running_tasks(&self) -> u32 {
        self.running
    }

    /// Tasks that are on their way to run.
    #[must_use]
    pub fn pending_tasks(&self) -> u32 {
        self.pending
    }

    /// For which service the host makes room, if it does: of several, the first by name.
    #[must_use]
    pub fn makes_room_for(&self) -> Option<&ServiceName> {
        self.making_room.keys().next()
    }

    /// Whether `task` fits beside what is held already.
    pub(super) fn check(&self, host: &ContainerInstance, task: &Task) -> Result<(), Rejection> {
        let (free, needed) = (self.free(host.host.capacity), task.reservation);
        if needed.cpu > free.cpu {
            return Err(Rejection::InsufficientCpu {
                container_instance: host.id,
                needed: needed.cpu.0,
                free: free.cpu.0,
            });
        }
        if needed.memory > free.memory {
            return Err(Rejection::InsufficientMemory {
                container_instance: host.id,
                needed: needed.memory,
                free: free.memory,
            });
        }
        for (protocol, port) in &task.host_ports {
            let reserved = *protocol == TransportProtocol::Tcp && RESERVED_TCP_PORTS.contains(port);
            if reserved || self.holds_port(*protocol, *port) {
                return Err(Rejection::PortInUse {
                    container_instance: host.id,
                    protocol: *protocol,
                    port: *port,
                });
            }
        }
        Ok(())
    }

    fn holds_port(&self, protocol: TransportProtocol, port: u16) -> bool {
        let all = (protocol, port, TaskId(0))..=(protocol, port, TaskId(u128::MAX));
        self.ports.range(all).next().is_some()
    }

    pub(super) fn add(&mut self, task: &Task) {
        self.cpu += u64::from(task.reservation.cpu.0);
        self.memory += u64::from(task.reservation.memory.0);
        for (protocol, port) in ports_of(task) {
            self.ports.insert((protocol, port, task.id));
        }
        if task.desired_status == DesiredStatus::Running {
            *self.by_group.entry(task.group.clone()).or_insert(0) += 1;
        }
        if let Some(service) = task.makes_room_for() {
            *self.making_room.entry(service.clone()).or_insert(0) += 1;
        }
        if let Some(counter) = self.counter(task) {
            *counter += 1;
        }
    }

    pub(super) fn remove(&mut self, task: &Task) {
        let less = |held: u64, by: u32| {
            held.checked_sub(u64::from(by))
                .expect("a task that was added is removed once")
        };
        self.cpu = less(self.cpu, task.reservation.cpu.0);
        self.memory = less(self.memory, task.reservation.memory.0);
        for (protocol, port) in ports_of(task) {
            self.ports.remove(&(protocol, port, task.id));
        }
        if task.desired_status == DesiredStatus::Running
            && let Some(count) = self.by_group.get_mut(&task.group)
        {
            *count -= 1;
            if *count == 0 {
                self.by_group.remove(&task.group);
            }
        }
        if let Some(service) = task.makes_room_for()
            && let Some(count) = self.making_room.get_mut(service)
        {
            *count -= 1;
            if *count == 0 {
                self.making_room.remove(service);
            }
        }
        if let Some(counter) = self.counter(task) {
            *counter -= 1;
        }
    }

    /// Where the task is counted; one that is being stopped neither runs nor is about to (ECS's rule).
    fn counter(&mut self, task: &Task) -> Option<&mut u32> {
        match task.last_status.cmp(&TaskStatus::Running) {
            Ordering::Less => Some(&mut self.pending),
            Ordering::Equal => Some(&mut self.running),
            Ordering::Greater => None,
        }
    }
}

/// Ports that a task holds: those it was promised, and those its host bound for it.
fn ports_of(task: &Task) -> Ports {
    let bound = task
        .containers
        .iter()
        .flat_map(|c| &c.network_bindings)
        .map(|b| (b.protocol, b.host_port));
    task.host_ports.iter().copied().chain(bound).collect()
}
