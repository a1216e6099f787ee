//! Reading the state, and the one way of writing a task or a host, which keeps the indexes in step.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::model::{
    AgentId, Cluster, ClusterKey, ClusterStatus, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus,
    Family, HostSettings, LogIndex, PowerState, Scope, Service, ServiceKey, ServiceName, ServiceStatus, Task,
    TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus, TaskId, Timestamp,
};

use super::sharing::share;
use super::{Allocation, ClientToken, ClusterState, Rejection, RememberedRequest, preemption};

const FIRST_TASK: TaskId = TaskId(0);
const LAST_TASK: TaskId = TaskId(u128::MAX);

impl ClusterState {
    /// Index of the last command applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// All clusters of an account and region, inactive ones included, in name order.
    pub fn clusters(&self, scope: &Scope) -> impl Iterator<Item = &Arc<Cluster>> {
        let scope = scope.clone();
        let from = ClusterKey {
            scope: scope.clone(),
            name: "".into(),
        };
        self.clusters
            .range(from..)
            .map(|(_, c)| c)
            .take_while(move |c| c.key.scope == scope)
    }

    /// The cluster, if it ever existed.
    #[must_use]
    pub fn cluster(&self, key: &ClusterKey) -> Option<&Arc<Cluster>> {
        self.clusters.get(key)
    }

    /// The cluster, if it is active.
    ///
    /// # Errors
    /// `ClusterNotFound`.
    pub fn active_cluster(&self, key: &ClusterKey) -> Result<&Arc<Cluster>, Rejection> {
        self.clusters
            .get(key)
            .filter(|c| c.status == ClusterStatus::Active)
            .ok_or_else(|| Rejection::ClusterNotFound(key.clone()))
    }

    /// Whether any host, service or task of a cluster is remembered, deregistered, deleted and stopped ones included.
    #[must_use]
    pub fn remembers_contents_of(&self, key: &ClusterKey) -> bool {
        let first = (key.clone(), ContainerInstanceId(0));
        let last = (key.clone(), ContainerInstanceId(u128::MAX));
        let mut hosts = self.index.instances_by_cluster.range(first..=last);
        hosts.next().is_some()
            || self.services_and_daemons_of(key).next().is_some()
            || self.tasks_of_cluster(key).next().is_some()
    }

    /// All clusters of all accounts and regions.
    pub fn all_clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    pub(super) fn all_task_definitions(&self, scope: &Scope) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        let first = TaskDefinitionKey {
            scope: scope.clone(),
            family: "".into(),
            revision: 0,
        };
        let mut after = scope.clone();
        after.region = format!("{}\0", scope.region).into();
        let end = TaskDefinitionKey {
            scope: after,
            family: "".into(),
            revision: 0,
        };
        self.task_definitions.range(first..end).map(|(_, d)| d)
    }

    /// A revision.
    #[must_use]
    pub fn task_definition(&self, key: &TaskDefinitionKey) -> Option<&Arc<TaskDefinition>> {
        self.task_definitions.get(key)
    }

    /// A revision that new tasks may use.
    ///
    /// # Errors
    /// `TaskDefinitionNotFound`.
    pub fn active_task_definition(&self, key: &TaskDefinitionKey) -> Result<&Arc<TaskDefinition>, Rejection> {
        self.task_definitions
            .get(key)
            .filter(|d| d.status == TaskDefinitionStatus::Active)
            .ok_or_else(|| Rejection::TaskDefinitionNotFound(key.clone()))
    }

    /// Revisions that are being deleted.
    pub fn deleting_task_definitions(&self) -> impl Iterator<Item = &TaskDefinitionKey> {
        self.index.deleting.iter()
    }

    /// Those of `keys` that a task that is remembered or a service uses. Looks at all tasks and services, once.
    #[must_use]
    pub fn used_task_definitions(&self, keys: &BTreeSet<&TaskDefinitionKey>) -> BTreeSet<TaskDefinitionKey> {
        if keys.is_empty() {
            return BTreeSet::new();
        }
        let by_tasks = self.tasks.values().map(|task| &task.task_definition);
        let by_services = self.services.values().flat_map(|service| {
            let deployed = service.deployments.iter().map(|d| &d.task_definition);
            let by_task_sets = service.task_sets.iter().map(|set| &set.task_definition);
            deployed.chain(&service.last_completed).chain(by_task_sets)
        });
        let used = by_tasks.chain(by_services);
        used.filter(|key| keys.contains(key)).cloned().collect()
    }

    /// The newest active revision of a family.
    #[must_use]
    pub fn latest_task_definition(&self, scope: &Scope, family: &Family) -> Option<&Arc<TaskDefinition>> {
        let first = TaskDefinitionKey {
            scope: scope.clone(),
            family: family.clone(),
            revision: 0,
        };
        let last = TaskDefinitionKey {
            revision: u32::MAX,
            ..first.clone()
        };
        self.task_definitions
            .range(first..=last)
            .rev()
            .map(|(_, d)| d)
            .find(|d| d.status == TaskDefinitionStatus::Active)
    }

    /// A service, deleted ones included as long as they are remembered.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// A service that is not deleted.
    ///
    /// # Errors
    /// `ServiceNotFound` or `ServiceNotActive`.
    pub fn active_service(&self, key: &ServiceKey) -> Result<&Arc<Service>, Rejection> {
        let service = self
            .services
            .get(key)
            .ok_or_else(|| Rejection::ServiceNotFound(key.clone()))?;
        if service.status != ServiceStatus::Active {
            return Err(Rejection::ServiceNotActive(key.clone()));
        }
        Ok(service)
    }

    /// Services and managed daemons of a cluster in name order, deleted ones included as long as they are remembered.
    pub fn services_and_daemons_of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Service>> {
        let cluster = cluster.clone();
        let from = ServiceKey {
            cluster: cluster.clone(),
            name: ServiceName::from(""),
        };
        self.services
            .range(from..)
            .map(|(_, s)| s)
            .take_while(move |s| s.key.cluster == cluster)
    }

    /// All services, managed daemons included.
    pub fn all_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// A task, stopped ones included as long as they are remembered.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }

    /// Tasks of a cluster in id order, stopped ones included as long as they are remembered.
    pub fn tasks_of_cluster(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.index.tasks_by_cluster.get(cluster);
        ids.into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks of a service in id order, stopped ones included as long as they are remembered.
    pub fn tasks_of_service(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.index.tasks_by_service.get(service);
        ids.into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks of a service that are not over, in id order.
    pub fn live_tasks_of_service(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Task>> {
        let live = self.index.live_by_service.get(service);
        live.into_iter().flat_map(OrdMap::values)
    }

    /// Tasks of a host in id order, stopped ones included as long as they are remembered.
    pub fn tasks_of_instance(&self, id: ContainerInstanceId) -> impl Iterator<Item = &Arc<Task>> {
        self.index
            .tasks_by_instance
            .range((id, FIRST_TASK)..=(id, LAST_TASK))
            .filter_map(|(_, t)| self.tasks.get(t))
    }

    /// Stopped tasks, those that stopped first at the front.
    pub fn stopped_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.index.stopped.iter().filter_map(|(_, id)| self.tasks.get(id))
    }

    /// Number of stopped tasks that are remembered.
    #[must_use]
    pub fn stopped_task_count(&self) -> usize {
        self.index.stopped.len()
    }

    /// A host, inactive ones included as long as they are remembered.
    #[must_use]
    pub fn container_instance(&self, id: ContainerInstanceId) -> Option<&Arc<ContainerInstance>> {
        self.container_instances.get(&id)
    }

    /// Hosts of a cluster that are not deregistered, in id order.
    pub fn container_instances_of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<ContainerInstance>> {
        let first = (cluster.clone(), ContainerInstanceId(0));
        let last = (cluster.clone(), ContainerInstanceId(u128::MAX));
        self.index
            .instances_by_cluster
            .range(first..=last)
            .filter_map(|(_, id)| self.container_instances.get(id))
            .filter(|c| c.status != ContainerInstanceStatus::Inactive)
    }

    /// All hosts, inactive ones included as long as they are remembered.
    pub fn all_container_instances(&self) -> impl Iterator<Item = &Arc<ContainerInstance>> {
        self.container_instances.values()
    }

    /// How many hosts of a cluster are not deregistered.
    #[must_use]
    pub fn host_count(&self, cluster: &ClusterKey) -> usize {
        self.index.host_counts.get(cluster).copied().unwrap_or_default()
    }

    /// Whether the tasks of a host are to move away.
    #[must_use]
    pub fn is_draining(&self, id: ContainerInstanceId) -> bool {
        self.index.draining.contains(&id)
    }

    /// Since when some agent of a cluster has been connected without a break; `None` if none is.
    #[must_use]
    pub fn in_touch_since(&self, cluster: &ClusterKey) -> Option<Timestamp> {
        let first = (cluster.clone(), Timestamp(i64::MIN), ContainerInstanceId(0));
        let last = (cluster.clone(), Timestamp(i64::MAX), ContainerInstanceId(u128::MAX));
        self.index
            .connected
            .range(first..=last)
            .next()
            .map(|(_, since, _)| *since)
    }

    /// When the hosts of a cluster that are not back were given up, from `since` on, the earliest first.
    pub fn hosts_lost_since(&self, cluster: &ClusterKey, since: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = (cluster.clone(), since, ContainerInstanceId(0));
        let last = (cluster.clone(), Timestamp(i64::MAX), ContainerInstanceId(u128::MAX));
        self.index.lost.range(first..=last).map(|(_, at, _)| *at)
    }

    /// How a cluster keeps in touch with its hosts.
    #[must_use]
    pub fn host_settings(&self, cluster: &ClusterKey) -> HostSettings {
        self.clusters.get(cluster).map(|c| c.host_settings).unwrap_or_default()
    }

    /// What the tasks of a host hold.
    #[must_use]
    pub fn allocation(&self, id: ContainerInstanceId) -> Arc<Allocation> {
        self.index.allocations.get(&id).cloned().unwrap_or_default()
    }

    /// The container instance of an agent in a cluster.
    #[must_use]
    pub fn container_instance_of_agent(&self, cluster: &ClusterKey, agent: &AgentId) -> Option<ContainerInstanceId> {
        self.index.agents.get(&(cluster.clone(), agent.clone())).copied()
    }

    /// The request that came with this client token before.
    ///
    /// # Errors
    /// `ClientTokenReused` where it was another request.
    pub fn remembered_request(&self, token: &ClientToken) -> Result<Option<&RememberedRequest>, Rejection> {
        let Some(request) = self.tokens.seen(token) else {
            return Ok(None);
        };
        if request.request_digest == token.request_digest {
            return Ok(Some(request));
        }
        let made = request.tasks.iter().filter_map(|id| self.task(*id));
        Err(Rejection::ClientTokenReused {
            tasks: made.map(|task| task.arn()).collect(),
        })
    }

    pub(super) fn live_instance(&self, id: ContainerInstanceId) -> Result<&Arc<ContainerInstance>, Rejection> {
        self.container_instances
            .get(&id)
            .filter(|c| c.status != ContainerInstanceStatus::Inactive)
            .ok_or(Rejection::ContainerInstanceNotFound(id))
    }

    pub(super) fn put_task(&mut self, mut task: Task) {
        let before = self.tasks.get(&task.id);
        let (is_new, left) = (before.is_none(), before.and_then(|before| before.container_instance));
        share(self, &mut task, is_new);
        self.unindex_task(task.id);
        let index = &mut self.index;
        if is_new {
            insert(&mut index.tasks_by_cluster, &task.cluster, task.id);
            if let Some(service) = task.service() {
                insert(&mut index.tasks_by_service, service, task.id);
            }
        }
        if left != task.container_instance {
            if let Some(instance) = left {
                index.tasks_by_instance.remove(&(instance, task.id));
            }
            if let Some(instance) = task.container_instance {
                index.tasks_by_instance.insert((instance, task.id));
            }
        }
        if task.is_provisioning() {
            insert(&mut index.provisioning, &task.cluster, task.id);
        }
        if let Some(instance) = task.container_instance.filter(|_| !task.is_stopped()) {
            Arc::make_mut(index.allocations.entry(instance).or_default()).add(&task);
        }
        if let Some(service) = task.makes_room_for() {
            insert(&mut index.making_room, &task.cluster.service(service.as_str()), task.id);
        }
        if let Some(stopped_at) = stopped_at(&task) {
            index.stopped.insert((stopped_at, task.id));
        }
        if preemption::says_its_own(&task) {
            insert(&mut index.prioritized, &task.cluster, task.id);
        }
        let task = Arc::new(task);
        if let Some(service) = task.service() {
            self.index_liveness(service, &task);
        }
        self.tasks.insert(task.id, task);
    }

    fn index_liveness(&mut self, service: &ServiceKey, task: &Arc<Task>) {
        let live = &mut self.index.live_by_service;
        if task.is_stopped() {
            self.forget_live(service, task.id);
        } else if let Some(tasks) = live.get_mut(service) {
            tasks.insert(task.id, Arc::clone(task));
        } else {
            live.insert(service.clone(), OrdMap::unit(task.id, Arc::clone(task)));
        }
    }

    /// As [`remove`] does, of tasks themselves.
    fn forget_live(&mut self, service: &ServiceKey, id: TaskId) {
        if let Some(tasks) = self.index.live_by_service.get_mut(service) {
            tasks.remove(&id);
            if tasks.is_empty() {
                self.index.live_by_service.remove(service);
            }
        }
    }

    pub(super) fn remove_task(&mut self, id: TaskId) {
        self.unindex_task(id);
        if let Some(task) = self.tasks.remove(&id) {
            remove(&mut self.index.tasks_by_cluster, &task.cluster, id);
            if let Some(service) = task.service() {
                remove(&mut self.index.tasks_by_service, service, id);
                self.forget_live(service, id);
            }
            if let Some(instance) = task.container_instance {
                self.index.tasks_by_instance.remove(&(instance, id));
            }
        }
    }

    /// Takes out of the indexes what a change of the task may change. Cluster and service stay.
    fn unindex_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let Some(stopped_at) = stopped_at(task) {
            self.index.stopped.remove(&(stopped_at, id));
        }
        if let Some(service) = task.makes_room_for() {
            remove(&mut self.index.making_room, &task.cluster.service(service.as_str()), id);
        }
        if preemption::says_its_own(task) {
            remove(&mut self.index.prioritized, &task.cluster, id);
        }
        if task.is_provisioning() {
            remove(&mut self.index.provisioning, &task.cluster, id);
        }
        let Some(instance) = task.container_instance.filter(|_| !task.is_stopped()) else {
            return;
        };
        if let Some(allocation) = self.index.allocations.get_mut(&instance) {
            Arc::make_mut(allocation).remove(task);
            // A state that was built from a snapshot has none for a host that holds nothing, and must be equal.
            if **allocation == Allocation::default() {
                self.index.allocations.remove(&instance);
            }
        }
    }

    pub(super) fn put_instance(&mut self, instance: ContainerInstance) {
        self.unindex_instance(instance.id);
        self.index_instance(&instance);
        let agent = (instance.cluster.clone(), instance.agent.clone());
        if instance.status == ContainerInstanceStatus::Inactive {
            if self.index.agents.get(&agent) == Some(&instance.id) {
                self.index.agents.remove(&agent);
            }
        } else {
            self.index.agents.insert(agent, instance.id);
        }
        self.index
            .instances_by_cluster
            .insert((instance.cluster.clone(), instance.id));
        self.container_instances.insert(instance.id, Arc::new(instance));
    }

    /// Counts a change of a host that its record does not tell; no index depends on the count.
    pub(super) fn count_change_of_instance(&mut self, id: ContainerInstanceId) {
        if let Some(instance) = self.container_instances.get_mut(&id) {
            Arc::make_mut(instance).version += 1;
        }
    }

    fn index_instance(&mut self, instance: &ContainerInstance) {
        if instance.status == ContainerInstanceStatus::Inactive {
            return;
        }
        let index = &mut self.index;
        count_one(&mut index.host_counts, &instance.cluster);
        if let Some(since) = connected_since(instance) {
            index.connected.insert((instance.cluster.clone(), since, instance.id));
        }
        if instance.status == ContainerInstanceStatus::Draining {
            index.draining.insert(instance.id);
        }
        if instance.power.state == PowerState::Waking {
            index.waking.insert(instance.id);
        }
        if instance.power.state != PowerState::Awake {
            index.not_awake.insert((instance.cluster.clone(), instance.id));
        }
        if sleeps(instance) {
            count_one(&mut index.sleeper_counts, &instance.cluster);
        }
        if let Some(at) = instance.lost_at {
            index.lost.insert((instance.cluster.clone(), at, instance.id));
        }
    }

    fn unindex_instance(&mut self, id: ContainerInstanceId) {
        let known = self.container_instances.get(&id);
        let Some(known) = known.filter(|i| i.status != ContainerInstanceStatus::Inactive) else {
            return;
        };
        let index = &mut self.index;
        count_one_less(&mut index.host_counts, &known.cluster);
        if let Some(since) = connected_since(known) {
            index.connected.remove(&(known.cluster.clone(), since, id));
        }
        index.draining.remove(&id);
        index.waking.remove(&id);
        index.not_awake.remove(&(known.cluster.clone(), id));
        if sleeps(known) {
            count_one_less(&mut index.sleeper_counts, &known.cluster);
        }
        if let Some(at) = known.lost_at {
            index.lost.remove(&(known.cluster.clone(), at, id));
        }
    }

    pub(super) fn remove_instance(&mut self, id: ContainerInstanceId) {
        self.unindex_instance(id);
        if let Some(instance) = self.container_instances.remove(&id) {
            self.index.instances_by_cluster.remove(&(instance.cluster.clone(), id));
            self.index.allocations.remove(&id);
        }
    }
}

/// Whether nothing can be heard of a host since it sleeps, or has not come yet.
fn sleeps(instance: &ContainerInstance) -> bool {
    matches!(instance.power.state, PowerState::Asleep | PowerState::Waking)
}

fn count_one(counts: &mut OrdMap<ClusterKey, usize>, cluster: &ClusterKey) {
    *counts.entry(cluster.clone()).or_default() += 1;
}

fn count_one_less(counts: &mut OrdMap<ClusterKey, usize>, cluster: &ClusterKey) {
    if let Some(count) = counts.get_mut(cluster) {
        *count -= 1;
        if *count == 0 {
            counts.remove(cluster);
        }
    }
}

fn insert<K: Ord + Clone>(index: &mut OrdMap<K, OrdSet<TaskId>>, key: &K, task: TaskId) {
    index.entry(key.clone()).or_default().insert(task);
}

/// Leaves no empty set behind: a state that was built from a snapshot has none, and must be equal.
fn remove<K: Ord + Clone>(index: &mut OrdMap<K, OrdSet<TaskId>>, key: &K, task: TaskId) {
    if let Some(tasks) = index.get_mut(key) {
        tasks.remove(&task);
        if tasks.is_empty() {
            index.remove(key);
        }
    }
}

fn connected_since(instance: &ContainerInstance) -> Option<Timestamp> {
    instance.agent_connected.then_some(instance.connection_changed_at)
}

fn stopped_at(task: &Task) -> Option<Timestamp> {
    task.is_stopped().then(|| task.stopped_at.unwrap_or(task.created_at))
}
