//! Managed daemons: how they are deleted, which hosts miss one, and where they are told from services. Pure.
//!
//! A host misses a daemon that is critical, belongs to one of its capacity providers, and does not serve there: it takes no other task. Once the task
//! of the daemon has left it, other tasks are to move away as well. What is missed follows from services, tasks and hosts, and is kept beside them
//! for speed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, DeploymentId, DesiredStatus,
    HealthStatus, Scope, Service, ServiceKey, ServiceName, ServiceStatus, StopCode, Task, TaskDefinition,
    TaskDefinitionKey, TaskStatus, Timestamp,
};

use super::{ClusterState, Event, Rejection, STAYED_UP_MS, TaskChange, service_deployments, services};

/// ECS's status of a host that is there and takes no tasks yet.
const REGISTERING: &str = "REGISTERING";

/// A daemon that a host is to have, and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingDaemon {
    /// Its key's name.
    pub name: ServiceName,
    /// Whether its task served on the host and has ended.
    pub has_left: bool,
}

pub(super) fn delete(
    state: &mut ClusterState,
    key: &ServiceKey,
    deployment: &DeploymentId,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut daemon = Service::clone(state.active_service(key)?);
    if !daemon.is_managed_daemon() {
        return Err(Rejection::ServiceNotFound(key.clone()));
    }
    service_deployments::begin_deletion(state, &mut daemon, deployment, at);
    daemon.desired_count = 0;
    daemon.status = ServiceStatus::Draining;
    for deployment in &mut daemon.deployments {
        deployment.updated_at = at;
    }
    Ok(services::put(state, daemon))
}

/// Brings what hosts miss in step with what `events` tell of, and tells of hosts that miss something else than before.
pub(super) fn settle(state: &mut ClusterState, events: &mut Vec<Event>) {
    let mut hosts = BTreeSet::new();
    for event in events.iter() {
        match event {
            Event::TaskChanged(change) if change.service.as_ref().is_some_and(ServiceKey::is_of_daemon) => {
                note_task(state, change);
                hosts.extend(change.container_instance);
            }
            Event::ServiceCreated(key) | Event::ServiceUpdated(key) if key.is_of_daemon() => {
                hosts.extend(state.container_instances_of(&key.cluster).map(|host| host.id));
            }
            Event::ContainerInstanceRegistered { id, .. } | Event::ContainerInstanceChanged { id, .. } => {
                hosts.insert(*id);
            }
            Event::ContainerInstanceDeregistered { id, cluster } => {
                forget_host(state, cluster, *id);
                state.index.missing_daemons.remove(id);
            }
            _ => {}
        }
    }
    for id in hosts {
        if look_at(state, id)
            && let Some(host) = state.container_instance(id)
        {
            let cluster = host.cluster.clone();
            events.push(Event::ContainerInstanceChanged { id, cluster });
        }
    }
}

/// Finds out anew what all hosts miss.
pub(super) fn index(state: &mut ClusterState) {
    let with_daemons: BTreeSet<ClusterKey> = state
        .all_services()
        .filter(|service| service.is_managed_daemon())
        .map(|daemon| daemon.key.cluster.clone())
        .collect();
    for cluster in with_daemons {
        let hosts: Vec<_> = state.container_instances_of(&cluster).map(|host| host.id).collect();
        for host in hosts {
            look_at(state, host);
        }
    }
}

/// Finds out anew what a host misses; whether that is another thing than before.
fn look_at(state: &mut ClusterState, id: ContainerInstanceId) -> bool {
    let host = state.container_instance(id).cloned();
    let found = host.and_then(|host| missed_by(state, &host));
    if state.index.missing_daemons.get(&id) == found.as_ref() {
        return false;
    }
    match found {
        Some(found) => drop(state.index.missing_daemons.insert(id, found)),
        None => drop(state.index.missing_daemons.remove(&id)),
    }
    true
}

/// The first of the daemons that a host misses; one that has left it before others.
fn missed_by(state: &ClusterState, host: &ContainerInstance) -> Option<MissingDaemon> {
    if host.status == ContainerInstanceStatus::Inactive {
        return None;
    }
    let critical = state.daemons_of(&host.cluster).filter(|daemon| {
        daemon.status == ServiceStatus::Active && daemon.is_critical_daemon() && daemon.pool_of(host).is_some()
    });
    let missing = critical.filter(|daemon| !serves_on(state, daemon, host.id));
    let missing = missing.map(|daemon| MissingDaemon {
        name: daemon.key.name.clone(),
        has_left: daemon
            .managed_daemon
            .as_ref()
            .is_some_and(|daemon| daemon.left.contains(&host.id)),
    });
    missing.max_by_key(|missing| missing.has_left)
}

fn serves_on(state: &ClusterState, daemon: &Service, host: ContainerInstanceId) -> bool {
    let mut tasks = state.tasks_of_instance(host).filter(|task| !task.is_stopped());
    tasks.any(|task| task.service() == Some(&daemon.key) && serves(state, task))
}

/// Whether a task of a daemon is there for the others on its host.
fn serves(state: &ClusterState, task: &Task) -> bool {
    let is_healthy = match task.health {
        Some(health) => health.status == HealthStatus::Healthy && health.failed_at.is_none(),
        None => !has_health_checks(state, &task.task_definition),
    };
    task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running && is_healthy
}

fn has_health_checks(state: &ClusterState, key: &TaskDefinitionKey) -> bool {
    let definition = state.task_definition(key);
    definition.is_some_and(|definition| definition.containers.iter().any(|c| c.health_check.is_some()))
}

/// Remembers that a daemon's task has left its host, or serves there again.
fn note_task(state: &mut ClusterState, change: &TaskChange) {
    let Some((task, host)) = state.task(change.task).zip(change.container_instance) else {
        return;
    };
    let (serves, leaves) = (serves(state, task), leaves(task, change));
    let Some(known) = change.service.as_ref().and_then(|key| state.service(key)) else {
        return;
    };
    let Some(has_left) = known.managed_daemon.as_ref().map(|daemon| daemon.left.contains(&host)) else {
        return;
    };
    let is_news = (serves && has_left) || (leaves && !has_left);
    if !is_news || known.status != ServiceStatus::Active {
        return;
    }
    let mut daemon = Service::clone(known);
    if let Some(managed) = &mut daemon.managed_daemon {
        if leaves {
            managed.left.insert(host);
        } else {
            managed.left.remove(&host);
        }
    }
    state.services.insert(daemon.key.clone(), Arc::new(daemon));
}

/// Whether a task that served ends now, and not since its scheduler or the loss of its host had it end.
fn leaves(task: &Task, change: &TaskChange) -> bool {
    let ends = change.from.is_some_and(|from| from <= TaskStatus::Running) && change.to > TaskStatus::Running;
    let served = task.health.is_some_and(|health| health.healthy_since.is_some())
        || ended_at(task)
            .zip(task.running_since)
            .is_some_and(|(ended, since)| ended.ms_since(since) >= STAYED_UP_MS);
    let by_itself = !matches!(
        task.stop_code,
        Some(StopCode::ServiceSchedulerInitiated | StopCode::TerminationNotice)
    );
    ends && served && (by_itself || task.has_failed_health_checks())
}

fn ended_at(task: &Task) -> Option<Timestamp> {
    task.stopping_at.or(task.stopped_at)
}

fn forget_host(state: &mut ClusterState, cluster: &ClusterKey, host: ContainerInstanceId) {
    let has_left = |daemon: &&Arc<Service>| daemon.managed_daemon.as_ref().is_some_and(|d| d.left.contains(&host));
    let concerned: Vec<Service> = state
        .daemons_of(cluster)
        .filter(has_left)
        .map(|daemon| Service::clone(daemon))
        .collect();
    for mut daemon in concerned {
        if let Some(managed) = &mut daemon.managed_daemon {
            managed.left.remove(&host);
        }
        state.services.insert(daemon.key.clone(), Arc::new(daemon));
    }
}

impl ClusterState {
    /// Services of a cluster in name order, deleted ones included as long as they are remembered, without managed daemons.
    pub fn services_of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Service>> {
        let all = self.services_and_daemons_of(cluster);
        all.filter(|service| !service.is_managed_daemon())
    }

    /// Managed daemons of a cluster in name order, deleted ones included as long as they are remembered.
    pub fn daemons_of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Service>> {
        let (first, cluster) = (cluster.daemon(""), cluster.clone());
        let from = self.services.range(first..).map(|(_, daemon)| daemon);
        from.take_while(move |daemon| daemon.key.cluster == cluster && daemon.key.is_of_daemon())
    }

    /// Revisions of an account and region, by family, then by revision, without those of daemon task definitions.
    pub fn task_definitions(&self, scope: &Scope) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        let all = self.all_task_definitions(scope);
        all.filter(|definition| definition.key.family.of_daemons().is_none())
    }

    /// Revisions of daemon task definitions of an account and region, by family, then by revision.
    pub fn daemon_task_definitions(&self, scope: &Scope) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        let all = self.all_task_definitions(scope);
        all.filter(|definition| definition.key.family.of_daemons().is_some())
    }

    /// Whether a daemon has tasks of a revision, is to have some, or may return to it.
    #[must_use]
    pub fn is_used_by_daemons(&self, key: &TaskDefinitionKey) -> bool {
        let uses = |daemon: &Arc<Service>| {
            let mut deployed = daemon.deployments.iter().map(|deployment| &deployment.task_definition);
            let returns_to = daemon.last_reached().map(|revision| &revision.task_definition);
            daemon.status != ServiceStatus::Inactive && (deployed.any(|used| used == key) || returns_to == Some(key))
        };
        let scope = &key.scope;
        self.clusters(scope)
            .any(|cluster| self.daemons_of(&cluster.key).any(&uses))
    }

    /// The daemon that a host misses, if it does: one that is critical and does not serve there.
    #[must_use]
    pub fn missing_daemon(&self, host: ContainerInstanceId) -> Option<&MissingDaemon> {
        self.index.missing_daemons.get(&host)
    }

    /// The status of a host as ECS shows it: one that is active registers until the daemons serve there that it is to have, and drains once one has
    /// left it.
    #[must_use]
    pub fn shown_status(&self, host: &ContainerInstance) -> &'static str {
        let missing = self.missing_daemon(host.id);
        match missing.filter(|_| host.status == ContainerInstanceStatus::Active) {
            Some(missing) if missing.has_left => ContainerInstanceStatus::Draining.as_str(),
            Some(_) => REGISTERING,
            None => host.status.as_str(),
        }
    }

    /// Whether a task is to move away from its host: since that drains, or since a daemon has left it that the host is not to be without.
    #[must_use]
    pub fn must_leave(&self, task: &Task) -> bool {
        let is_left = |host| self.missing_daemon(host).is_some_and(|missing| missing.has_left);
        task.container_instance
            .is_some_and(|host| self.is_draining(host) || (is_left(host) && !task.is_of_daemon()))
    }

    /// Whether a host has tasks that are not over, beside those of daemons.
    #[must_use]
    pub fn has_tasks_beside_daemons(&self, host: ContainerInstanceId) -> bool {
        let mut tasks = self.tasks_of_instance(host).filter(|task| !task.is_stopped());
        tasks.any(|task| !task.is_of_daemon())
    }
}
