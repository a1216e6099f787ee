//! Problems taken from the replicated state: the one place where placement knows how hosts and tasks are stored. Pure.

use super::problem::{Host, PlacementProblem, TaskRequest};
use super::scale_in::StopCandidate;
use super::strategy::{service_default, standalone_default};
use crate::model::{ClusterKey, ContainerInstance, RESERVED_TCP_PORTS, Task, TransportProtocol};
use crate::state::ClusterState;

impl PlacementProblem {
    /// The hosts of a cluster, deregistered ones left out, and requests for these tasks in the order given.
    #[must_use]
    pub fn from_state<'t>(
        state: &ClusterState,
        cluster: &ClusterKey,
        tasks: impl IntoIterator<Item = &'t Task>,
    ) -> Self {
        let hosts = state.container_instances_of(cluster);
        Self {
            hosts: hosts.map(|host| Host::from_state(state, host)).collect(),
            requests: tasks.into_iter().map(TaskRequest::of).collect(),
        }
    }
}

impl Host {
    /// The host with what its tasks hold now.
    #[must_use]
    pub fn from_state(state: &ClusterState, instance: &ContainerInstance) -> Self {
        let allocation = state.allocation(instance.id);
        let reserved = RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port));
        let mut used_ports = allocation.ports();
        used_ports.extend(reserved);
        let groups = allocation.groups().map(|(group, tasks)| (group.to_owned(), tasks));
        Self {
            id: instance.id,
            name: instance.host.host_name.clone(),
            attributes: instance.all_attributes(),
            registered: instance.host.capacity,
            free: allocation.free(instance.host.capacity),
            used_ports,
            status: instance.status,
            agent_connected: instance.agent_connected,
            agent_version: instance.host.agent_version.clone(),
            registered_at: instance.registered_at,
            running_tasks: allocation.running_tasks(),
            tasks_by_group: groups.collect(),
        }
    }
}

impl TaskRequest {
    /// What the task asks for. One that names no strategy gets the default of a service's tasks or of standalone ones.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let strategies = match (task.placement_strategy.as_slice(), task.service()) {
            ([], Some(_)) => service_default(),
            ([], None) => standalone_default(),
            (named, _) => named.to_vec(),
        };
        Self {
            id: task.id,
            group: task.group.clone(),
            resources: task.reservation,
            host_ports: task.host_ports.clone(),
            constraints: task.placement_constraints.clone(),
            strategies,
            only_hosts: None,
        }
    }
}

impl StopCandidate {
    /// The task as one that may be stopped.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        Self {
            task: task.id,
            host: task.container_instance,
            status: task.last_status,
            created_at: task.created_at,
            reservation: task.reservation,
        }
    }
}
