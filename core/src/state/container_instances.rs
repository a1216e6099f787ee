//! Commands on container instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    AgentId, Attributes, Cluster, ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus,
    HostDescription, Ports, Power, Tags, Timestamp,
};

use super::{ClusterState, Event, Rejection, power, tasks};

/// The cluster that the first host to name it creates (ECS's default cluster).
const DEFAULT_CLUSTER: &str = "default";

/// A host that was deregistered does not come back because its agent connects again; only an agent that was started
/// anew, and so has not been anything yet, registers it as a new one (ECS's behaviour).
pub(super) fn check_not_deregistered(
    state: &ClusterState,
    previous: Option<ContainerInstanceId>,
    agent: &AgentId,
) -> Result<(), Rejection> {
    let previous = previous.and_then(|id| state.container_instance(id));
    match previous.filter(|known| known.agent == *agent && known.status == ContainerInstanceStatus::Inactive) {
        Some(deregistered) => Err(Rejection::ContainerInstanceDeregistered(deregistered.id)),
        None => Ok(()),
    }
}

pub(super) fn register(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    cluster: &ClusterKey,
    agent: &AgentId,
    host: &HostDescription,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut events = vec![];
    if state.active_cluster(cluster).is_err() {
        if cluster.name.as_str() != DEFAULT_CLUSTER {
            return Err(Rejection::ClusterNotFound(cluster.clone()));
        }
        let created = Cluster::new(cluster.clone(), at);
        state.clusters.insert(cluster.clone(), Arc::new(created));
        events.push(Event::ClusterCreated(cluster.clone()));
    }
    let known = state.container_instance_of_agent(cluster, agent);
    // A smaller capacity is taken as it is, even below what the host's tasks hold: they run, and whoever made the host
    // smaller did not ask for their end. Nothing counts as free until enough of them have stopped.
    let mut instance = match known.and_then(|known| state.container_instance(known)) {
        Some(known) => ContainerInstance {
            host: host.clone(),
            agent_connected: true,
            connection_changed_at: at,
            last_heard_at: at,
            lost_at: None,
            foreign_ports: Ports::new(),
            version: known.version + 1,
            ..ContainerInstance::clone(known)
        },
        None => ContainerInstance {
            id,
            cluster: cluster.clone(),
            agent: agent.clone(),
            host: host.clone(),
            user_attributes: Attributes::new(),
            status: ContainerInstanceStatus::Active,
            agent_connected: true,
            connection_changed_at: at,
            last_heard_at: at,
            lost_at: None,
            foreign_ports: Ports::new(),
            power: Power::default(),
            absent_daemons: BTreeMap::new(),
            registered_at: at,
            version: 1,
            tags: Tags::new(),
        },
    };
    events.push(Event::ContainerInstanceRegistered {
        id: instance.id,
        cluster: cluster.clone(),
    });
    let before = instance.power.state;
    power::registered(&mut instance, at);
    if instance.power.state != before {
        events.push(Event::PowerChanged {
            id: instance.id,
            cluster: cluster.clone(),
        });
    }
    state.put_instance(instance);
    Ok(events)
}

pub(super) fn record_disconnected(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    last_heard_at: Timestamp,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut instance = ContainerInstance::clone(state.live_instance(id)?);
    if !instance.agent_connected {
        return Ok(vec![]);
    }
    instance.agent_connected = false;
    instance.last_heard_at = last_heard_at.min(at);
    instance.connection_changed_at = at;
    Ok(power::disconnected(state, instance, at))
}

pub(super) fn declare_lost(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut instance = ContainerInstance::clone(state.live_instance(id)?);
    if instance.agent_connected {
        return Err(Rejection::AgentConnected(id));
    }
    instance.lost_at = Some(at);
    let mut events = vec![put_changed(state, instance)];
    events.extend(tasks::end_all_of_instance(state, id, reason, at));
    Ok(events)
}

pub(super) fn record_foreign_ports(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    ports: &Ports,
) -> Result<Vec<Event>, Rejection> {
    let mut instance = ContainerInstance::clone(state.live_instance(id)?);
    if instance.foreign_ports == *ports {
        return Ok(vec![]);
    }
    instance.foreign_ports.clone_from(ports);
    Ok(vec![put_changed(state, instance)])
}

pub(super) fn update_status(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    status: ContainerInstanceStatus,
    at: Option<Timestamp>,
) -> Result<Vec<Event>, Rejection> {
    let mut instance = ContainerInstance::clone(state.live_instance(id)?);
    power::status_set(&mut instance, status, at);
    Ok(vec![put_changed(state, instance)])
}

pub(super) fn deregister(
    state: &mut ClusterState,
    id: ContainerInstanceId,
    force: bool,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut instance = ContainerInstance::clone(state.live_instance(id)?);
    if !force && state.tasks_of_instance(id).any(|t| !t.is_stopped()) {
        return Err(Rejection::ContainerInstanceHasTasks(id));
    }
    let mut events = tasks::end_all_of_instance(state, id, "The container instance was deregistered.", at);
    let cluster = instance.cluster.clone();
    instance.status = ContainerInstanceStatus::Inactive;
    instance.agent_connected = false;
    instance.connection_changed_at = at;
    instance.version += 1;
    state.put_instance(instance);
    events.push(Event::ContainerInstanceDeregistered { id, cluster });
    Ok(events)
}

pub(super) fn forget(state: &mut ClusterState, instances: &[ContainerInstanceId]) -> Vec<Event> {
    for id in instances {
        let over = state
            .container_instance(*id)
            .is_some_and(|c| c.status == ContainerInstanceStatus::Inactive);
        if over && state.tasks_of_instance(*id).next().is_none() {
            state.remove_instance(*id);
        }
    }
    vec![]
}

pub(super) fn put_changed(state: &mut ClusterState, mut instance: ContainerInstance) -> Event {
    instance.version += 1;
    let event = Event::ContainerInstanceChanged {
        id: instance.id,
        cluster: instance.cluster.clone(),
    };
    state.put_instance(instance);
    event
}
