//! Managed daemons: how they are deleted, which hosts miss one, and where they are told from services. Pure.
//!
//! A host misses a daemon that is critical, belongs to one of its capacity providers, and does not serve there: it takes no other task. Once the daemon
//! has been away for so long that a reconciler gave it up there, other tasks are to move away as well. What is missed follows from services, tasks and
//! hosts, and is kept beside them for speed. It is found out anew for the hosts that a change may concern, and for no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    CapacityProviderName, ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, DaemonAbsence,
    DeploymentId, DesiredStatus, HealthStatus, PowerState, Scope, Service, ServiceKey, ServiceName, ServiceStatus,
    StopCode, Task, TaskDefinition, TaskDefinitionKey, TaskStatus, Timestamp,
};

use super::{
    ClusterState, Event, Rejection, STAYED_UP_MS, TaskChange, container_instances, service_deployments, services,
};

/// ECS's status of a host that is there and takes no tasks yet.
const REGISTERING: &str = "REGISTERING";

/// A daemon that a host is to have, and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingDaemon {
    /// Its key's name.
    pub name: ServiceName,
    /// Whether it served on the host, and was given up there after it had been away for long.
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
                note_absence(state, change);
                hosts.extend(change.container_instance);
            }
            Event::ServiceCreated(key) | Event::ServiceUpdated(key) if key.is_of_daemon() => {
                hosts.extend(hosts_concerned(state, key));
            }
            Event::ContainerInstanceRegistered { id, .. } | Event::ContainerInstanceChanged { id, .. } => {
                hosts.insert(*id);
            }
            Event::ContainerInstanceDeregistered { id, .. } => {
                keep_absences(state, *id, |_, _| false);
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

/// Takes note of whether and where a daemon is to be; returns the hosts to which that is another thing than before.
fn hosts_concerned(state: &mut ClusterState, key: &ServiceKey) -> Vec<ContainerInstanceId> {
    let now = state.service(key).and_then(|daemon| pools_of(daemon));
    let known = &mut state.index.critical_daemons;
    let before = match &now {
        Some(pools) if known.get(key) == Some(pools) => return vec![],
        Some(pools) => known.insert(key.clone(), pools.clone()),
        None => known.remove(key),
    };
    let pools: BTreeSet<CapacityProviderName> = before.into_iter().chain(now).flatten().collect();
    let pool_of = |host: &ContainerInstance| host.host.capacity_provider.clone();
    let hosts = state.container_instances_of(&key.cluster);
    let concerned = hosts.filter(|host| pool_of(host).is_some_and(|pool| pools.contains(&pool)));
    concerned.map(|host| host.id).collect()
}

/// The capacity providers on whose hosts a daemon is to be before other tasks.
fn pools_of(daemon: &Service) -> Option<Vec<CapacityProviderName>> {
    let strategy = daemon.capacity_provider_strategy.iter();
    let pools = strategy.map(|item| item.capacity_provider.clone());
    daemon.is_to_be_on_hosts().then(|| pools.collect())
}

/// Finds out anew what all hosts miss.
pub(super) fn index(state: &mut ClusterState) {
    let daemons = state.all_services().filter(|service| service.is_managed_daemon());
    let daemons: Vec<ServiceKey> = daemons.map(|daemon| daemon.key.clone()).collect();
    let mut hosts = BTreeSet::new();
    for daemon in &daemons {
        hosts.extend(hosts_concerned(state, daemon));
    }
    for host in hosts {
        look_at(state, host);
    }
}

/// Finds out anew what a host misses; whether that is another thing than before.
fn look_at(state: &mut ClusterState, id: ContainerInstanceId) -> bool {
    let host = state.container_instance(id);
    let wanted = host.map(|host| wanted_on(state, host)).unwrap_or_default();
    keep_absences(state, id, |state, name| {
        let mut wanted = wanted.iter().filter(|daemon| daemon.name == *name);
        wanted.any(|daemon| !is_healthy_on(state, daemon, id))
    });
    let missing: Vec<MissingDaemon> = wanted
        .iter()
        .filter(|daemon| !serves_on(state, daemon, id))
        .map(|daemon| MissingDaemon {
            name: daemon.name.clone(),
            has_left: state.absence(daemon, id).is_some_and(|absence| absence.given_up),
        })
        .collect();
    // Of several the first; one that has left the host before others.
    let has_left = missing.iter().find(|missing| missing.has_left);
    let found = has_left.or(missing.first());
    if state.index.missing_daemons.get(&id) == found {
        return false;
    }
    match found.cloned() {
        Some(found) => drop(state.index.missing_daemons.insert(id, found)),
        None => drop(state.index.missing_daemons.remove(&id)),
    }
    true
}

/// The daemons that a host is to have before other tasks, in the order of their names.
fn wanted_on(state: &ClusterState, host: &ContainerInstance) -> Vec<ServiceKey> {
    let pool = host.host.capacity_provider.as_ref();
    let Some(pool) = pool.filter(|_| host.status != ContainerInstanceStatus::Inactive) else {
        return vec![];
    };
    let daemons = state.index.critical_daemons.range(host.cluster.daemon("")..);
    let daemons = daemons.take_while(|(key, _)| key.cluster == host.cluster);
    let wanted = daemons.filter(|(_, pools)| pools.contains(pool));
    wanted.map(|(key, _)| key.clone()).collect()
}

fn serves_on(state: &ClusterState, daemon: &ServiceKey, host: ContainerInstanceId) -> bool {
    tasks_on(state, daemon, host).any(|task| serves(state, task))
}

/// Whether it serves there beyond doubt. One without health checks may do so for a moment, and end.
fn is_healthy_on(state: &ClusterState, daemon: &ServiceKey, host: ContainerInstanceId) -> bool {
    tasks_on(state, daemon, host).any(|task| serves(state, task) && task.health.is_some())
}

fn tasks_on<'s>(
    state: &'s ClusterState,
    daemon: &'s ServiceKey,
    host: ContainerInstanceId,
) -> impl Iterator<Item = &'s Arc<Task>> {
    let tasks = state.tasks_of_instance(host).filter(|task| !task.is_stopped());
    tasks.filter(move |task| task.service() == Some(daemon))
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

/// Remembers that a critical daemon's task, which served on its host, has left it. If the next one ends before it served, it is away since then all
/// the same.
fn note_absence(state: &mut ClusterState, change: &TaskChange) {
    let Some((task, host)) = state.task(change.task).zip(change.container_instance) else {
        return;
    };
    let ends = change.from.is_some_and(|from| from <= TaskStatus::Running) && change.to > TaskStatus::Running;
    let daemon = change.service.as_ref().and_then(|key| state.service(key));
    let daemon = daemon.filter(|daemon| ends && served(task) && daemon.is_to_be_on_hosts());
    let Some((daemon, host)) = daemon.zip(state.container_instance(host)) else {
        return;
    };
    let since = ended_at(task).filter(|_| leaves(task));
    let absence = since.map(|since| DaemonAbsence { since, given_up: false });
    let (name, known) = (&daemon.key.name, &host.absent_daemons);
    if known.get(name) == absence.as_ref() {
        return;
    }
    let (mut host, name) = (ContainerInstance::clone(host), name.clone());
    match absence {
        Some(absence) => drop(host.absent_daemons.insert(name, absence)),
        None => drop(host.absent_daemons.remove(&name)),
    }
    state.put_instance(host);
}

/// Forgets what is remembered of daemons on a host, but for those to be kept.
fn keep_absences(
    state: &mut ClusterState,
    host: ContainerInstanceId,
    is_kept: impl Fn(&ClusterState, &ServiceName) -> bool,
) {
    let Some(host) = state.container_instance(host) else {
        return;
    };
    if host.absent_daemons.keys().all(|name| is_kept(state, name)) {
        return;
    }
    let mut host = ContainerInstance::clone(host);
    host.absent_daemons.retain(|name, _| is_kept(state, name));
    state.put_instance(host);
}

/// Gives a daemon up on hosts that it has been away from for long, so that other tasks leave them too.
pub(super) fn give_up(state: &mut ClusterState, daemon: &ServiceName, hosts: &[ContainerInstanceId]) -> Vec<Event> {
    let mut events = vec![];
    for id in hosts {
        let Some(host) = state.container_instance(*id) else {
            continue;
        };
        let mut host = ContainerInstance::clone(host);
        // It may be back since that was decided.
        if let Some(absence) = host.absent_daemons.get_mut(daemon) {
            absence.given_up = true;
            events.push(container_instances::put_changed(state, host));
        }
    }
    events
}

/// Whether a task was there for the others on its host: it was healthy, or ran for long enough.
fn served(task: &Task) -> bool {
    let ran_for_long = ended_at(task)
        .zip(task.running_since)
        .is_some_and(|(ended, since)| ended.ms_since(since) >= STAYED_UP_MS);
    task.health.is_some_and(|health| health.healthy_since.is_some()) || ran_for_long
}

/// Whether a task that ends does so of its own, and not since its scheduler or the loss of its host had it end.
fn leaves(task: &Task) -> bool {
    let by_itself = !matches!(
        task.stop_code,
        Some(StopCode::ServiceSchedulerInitiated | StopCode::TerminationNotice)
    );
    by_itself || task.has_failed_health_checks()
}

fn ended_at(task: &Task) -> Option<Timestamp> {
    task.stopping_at.or(task.stopped_at)
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

    /// Whether a host that is awake takes no tasks as yet, since a critical daemon has still to come to serve there.
    #[must_use]
    pub fn waits_for_daemon(&self, host: &ContainerInstance) -> bool {
        let missing = self.missing_daemon(host.id);
        host.power.state == PowerState::Awake && missing.is_some_and(|missing| !missing.has_left)
    }

    /// Hosts of a cluster that are awake and take no tasks as yet, since a critical daemon has still to come to serve there.
    pub fn hosts_that_wait_for_daemons<'s>(
        &'s self,
        cluster: &'s ClusterKey,
    ) -> impl Iterator<Item = &'s Arc<ContainerInstance>> {
        let missing = self.index.missing_daemons.keys();
        let hosts = missing.filter_map(|id| self.container_instance(*id));
        hosts.filter(move |host| host.cluster == *cluster && self.waits_for_daemon(host))
    }

    /// Since when a critical daemon that served on a host has not served there, or not for long enough.
    #[must_use]
    pub fn absence(&self, daemon: &ServiceKey, host: ContainerInstanceId) -> Option<DaemonAbsence> {
        let host = self.container_instance(host)?;
        let absence = host.absent_daemons.get(&daemon.name)?;
        (!serves_on(self, daemon, host.id)).then_some(*absence)
    }

    /// The status of a host as ECS shows it: one that is active registers until the daemons serve there that it is to have, and drains once one was
    /// given up there.
    #[must_use]
    pub fn shown_status(&self, host: &ContainerInstance) -> &'static str {
        let missing = self.missing_daemon(host.id);
        match missing.filter(|_| host.status == ContainerInstanceStatus::Active) {
            Some(missing) if missing.has_left => ContainerInstanceStatus::Draining.as_str(),
            Some(_) => REGISTERING,
            None => host.status.as_str(),
        }
    }

    /// Whether a task is to move away from its host: since that drains, or since a daemon was given up there that the host is not to be without.
    #[must_use]
    pub fn must_leave(&self, task: &Task) -> bool {
        let is_left = |host| self.is_left_by_daemon(host);
        task.container_instance
            .is_some_and(|host| self.is_draining(host) || (is_left(host) && !task.is_of_daemon()))
    }

    /// Whether tasks are to leave a host: all, or those that are of no daemon.
    #[must_use]
    pub fn is_being_left(&self, host: ContainerInstanceId) -> bool {
        self.is_draining(host) || self.is_left_by_daemon(host)
    }

    fn is_left_by_daemon(&self, host: ContainerInstanceId) -> bool {
        self.missing_daemon(host).is_some_and(|missing| missing.has_left)
    }

    /// Whether a host has tasks that are not over, beside those of daemons.
    #[must_use]
    pub fn has_tasks_beside_daemons(&self, host: ContainerInstanceId) -> bool {
        let mut tasks = self.tasks_of_instance(host).filter(|task| !task.is_stopped());
        tasks.any(|task| !task.is_of_daemon())
    }
}
