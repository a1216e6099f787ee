//! [`Outlines`]: hosts as those see them who look for tasks to be stopped for others, and [`Ground`], what a host would have left. Pure.

use std::collections::BTreeMap;

use crate::model::{
    ContainerInstance, ContainerInstanceId, DesiredStatus, Ports, Priority, RESERVED_TCP_PORTS, Resources, Task,
    Timestamp, TransportProtocol,
};
use crate::state::ClusterState;

/// What there is to know of hosts before any task of theirs is chosen, found out once in a pass: many services ask for the same hosts, and most of them in vain.
#[derive(Default)]
pub(super) struct Outlines {
    hosts: BTreeMap<ContainerInstanceId, Outline>,
}

/// What there is to know of one.
pub(super) struct Outline {
    /// What it has left once all is over that is stopping.
    pub(super) ground: Ground,
    /// The lowest priority of its tasks that may be stopped, if any may.
    pub(super) lowest: Option<Priority>,
}

impl Outlines {
    /// That of a host, which stays the same until [`Self::forget`].
    pub(super) fn of(&mut self, state: &ClusterState, host: &ContainerInstance, now: Timestamp) -> &Outline {
        self.hosts.entry(host.id).or_insert_with(|| {
            let tasks = state.tasks_of_instance(host.id);
            let may_stop = tasks.filter(|task| state.may_be_preempted(task, now));
            Outline {
                ground: Ground::of(state, host, |task| task.desired_status == DesiredStatus::Running),
                lowest: may_stop.map(|task| state.priority_of(task)).min(),
            }
        })
    }

    /// Something has become of a task on a host.
    pub(super) fn forget(&mut self, host: ContainerInstanceId) {
        self.hosts.remove(&host);
    }
}

/// What a host has left beside the tasks that stay.
pub(super) struct Ground {
    cpu: i64,
    memory: i64,
    /// Ports, and how many hold them.
    ports: BTreeMap<(TransportProtocol, u16), usize>,
}

impl Ground {
    /// That of a host beside the tasks that are not over and stay.
    pub(super) fn of(state: &ClusterState, host: &ContainerInstance, stays: impl Fn(&Task) -> bool) -> Self {
        let capacity = host.host.capacity;
        let reserved = RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port));
        let held = reserved.into_iter().chain(host.foreign_ports.iter().copied());
        let mut ground = Self {
            cpu: i64::from(capacity.cpu.0),
            memory: i64::from(capacity.memory.0),
            ports: held.map(|port| (port, 1)).collect(),
        };
        let tasks = state.tasks_of_instance(host.id);
        let staying = tasks.filter(|task| !task.is_stopped() && stays(task));
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
