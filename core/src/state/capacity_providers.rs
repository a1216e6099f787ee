//! Commands on capacity providers, and whose they may be. Pure.

use std::sync::Arc;

use crate::model::{
    CapacityProvider, CapacityProviderKey, CapacityProviderName, CapacityProviderStrategy,
    CapacityProviderStrategyItem, Cluster, ClusterKey, ClusterStatus, PredefinedCapacityProvider, Service,
    ServiceStatus,
};

use super::{ClusterState, Event, Feature, MAX_TAGS, Rejection, UpdateCapacityProvider};

pub(super) fn create(state: &mut ClusterState, provider: &CapacityProvider) -> Result<Vec<Event>, Rejection> {
    if state.capacity_providers.contains_key(&provider.key) {
        return Err(Rejection::CapacityProviderExists(provider.key.clone()));
    }
    if provider.tags.len() > MAX_TAGS {
        return Err(Rejection::TooManyTags);
    }
    provider.check().map_err(Rejection::ManagedScaling)?;
    let (key, provider) = (provider.key.clone(), Arc::new(provider.clone()));
    state.capacity_providers.insert(key.clone(), provider);
    Ok(vec![Event::CapacityProviderCreated(key)])
}

pub(super) fn update(state: &mut ClusterState, update: &UpdateCapacityProvider) -> Result<Vec<Event>, Rejection> {
    let known = state.existing_capacity_provider(&update.capacity_provider)?;
    let scaling = update.managed_scaling;
    let managed_scaling = match scaling {
        Some(changes) => Some(known.managed_scaling.unwrap_or_default().with(&changes)),
        None => known.managed_scaling,
    };
    let was_scaled = known.scaling().is_some();
    let is_scaled = managed_scaling.is_some_and(|scaling| scaling.enabled);
    let provider = CapacityProvider {
        managed_scaling,
        managed_termination_protection: update
            .managed_termination_protection
            .unwrap_or(known.managed_termination_protection && is_scaled),
        // ECS drains where nobody says otherwise.
        managed_draining: update
            .managed_draining
            .unwrap_or(known.managed_draining || (is_scaled && !was_scaled)),
        updated: true,
        ..CapacityProvider::clone(known)
    };
    provider.check().map_err(Rejection::ManagedScaling)?;
    let key = provider.key.clone();
    let has_it = |cluster: &&Arc<Cluster>| {
        cluster.status == ClusterStatus::Active && cluster.capacity_providers.contains(&key.name)
    };
    let concerned = state.clusters(&key.scope).filter(has_it);
    let concerned: Vec<Event> = concerned.map(|c| Event::ClusterUpdated(c.key.clone())).collect();
    state.capacity_providers.insert(key.clone(), Arc::new(provider));
    let mut events = vec![Event::CapacityProviderUpdated(key)];
    events.extend(concerned);
    Ok(events)
}

pub(super) fn delete(state: &mut ClusterState, key: &CapacityProviderKey) -> Result<Vec<Event>, Rejection> {
    state.existing_capacity_provider(key)?;
    let has_it = |cluster: &&Arc<Cluster>| {
        cluster.status == ClusterStatus::Active && cluster.capacity_providers.contains(&key.name)
    };
    if let Some(cluster) = state.clusters(&key.scope).find(has_it) {
        return Err(Rejection::CapacityProviderAssociated {
            capacity_provider: key.name.clone(),
            cluster: cluster.key.name.clone(),
        });
    }
    state.capacity_providers.remove(key);
    Ok(vec![Event::CapacityProviderDeleted(key.clone())])
}

pub(super) fn put_of_cluster(
    state: &mut ClusterState,
    key: &ClusterKey,
    providers: &[CapacityProviderName],
    default_strategy: &CapacityProviderStrategy,
) -> Result<Vec<Event>, Rejection> {
    let before = state.active_cluster(key)?;
    let after = Cluster {
        capacity_providers: providers.to_vec(),
        default_capacity_provider_strategy: default_strategy.clone(),
        ..Cluster::clone(before)
    };
    check_of_cluster(state, &after)?;
    let mut gone = before
        .capacity_providers
        .iter()
        .filter(|name| !providers.contains(*name));
    if let Some((used, by)) = gone.find_map(|name| Some((name, used_by(state, key, name)?))) {
        return Err(Rejection::CapacityProviderInUse {
            capacity_provider: used.clone(),
            by,
        });
    }
    state.clusters.insert(key.clone(), Arc::new(after));
    Ok(vec![Event::ClusterUpdated(key.clone())])
}

/// The first service of the cluster or task that is not over that was given the capacity provider, or service that may return to it.
fn used_by(state: &ClusterState, cluster: &ClusterKey, name: &CapacityProviderName) -> Option<String> {
    let mut services = state
        .services_and_daemons_of(cluster)
        .filter(|s| s.status != ServiceStatus::Inactive);
    let mut tasks = state.tasks_of_cluster(cluster).filter(|task| !task.is_stopped());
    let returns_to = |service: &Service| {
        let reached = service.last_reached();
        reached.is_some_and(|revision| names(&revision.capacity_provider_strategy, name))
    };
    let by_task_set = |service: &Service| {
        let mut sets = service.task_sets.iter();
        sets.any(|set| names(&set.capacity_provider_strategy, name))
    };
    let by_service = services.find_map(|service| {
        let own_name = &service.key.name;
        let spoken = match own_name.of_daemon() {
            Some(daemon) => format!("daemon {daemon}"),
            None => format!("service {own_name}"),
        };
        match () {
            () if names(&service.capacity_provider_strategy, name) => Some(spoken),
            () if by_task_set(service) => Some(format!("a task set of {spoken}")),
            () if returns_to(service) => Some(format!("{spoken}, which may return to it")),
            () => None,
        }
    });
    by_service.or_else(|| {
        let task = tasks.find(|task| task.capacity_provider.as_ref() == Some(name))?;
        Some(format!("task {} of {}", task.id, task.group))
    })
}

fn names(strategy: &[CapacityProviderStrategyItem], name: &CapacityProviderName) -> bool {
    strategy.iter().any(|item| item.capacity_provider == *name)
}

/// Whether a cluster can have the capacity providers that it names: each exists, and its strategy names no other.
pub(super) fn check_of_cluster(state: &ClusterState, cluster: &Cluster) -> Result<(), Rejection> {
    let scope = &cluster.key.scope;
    let is_predefined = |name: &&CapacityProviderName| {
        state.uses(Feature::FargatePlatform) && PredefinedCapacityProvider::of(name).is_some()
    };
    for name in cluster.capacity_providers.iter().filter(|name| !is_predefined(name)) {
        state.existing_capacity_provider(&scope.capacity_provider(name.as_str()))?;
    }
    check_in(cluster, &cluster.default_capacity_provider_strategy)
}

/// Whether a strategy names capacity providers of the cluster alone; the cluster must be active.
pub(super) fn check_associated(
    state: &ClusterState,
    cluster: &ClusterKey,
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), Rejection> {
    check_in(state.active_cluster(cluster)?, strategy)
}

fn check_in(cluster: &Cluster, strategy: &[CapacityProviderStrategyItem]) -> Result<(), Rejection> {
    let has = |name: &CapacityProviderName| cluster.capacity_providers.contains(name);
    match strategy.iter().find(|item| !has(&item.capacity_provider)) {
        Some(item) => {
            let key = cluster.key.scope.capacity_provider(item.capacity_provider.as_str());
            Err(Rejection::CapacityProviderNotAssociated(key))
        }
        None => Ok(()),
    }
}

impl ClusterState {
    /// Capacity providers of an account and region, in name order.
    pub fn capacity_providers(
        &self,
        scope: &crate::model::Scope,
    ) -> impl Iterator<Item = &Arc<CapacityProvider>> + use<'_> {
        let (from, scope) = (scope.capacity_provider(""), scope.clone());
        let providers = self.capacity_providers.range(from..).map(|(_, provider)| provider);
        providers.take_while(move |provider| provider.key.scope == scope)
    }

    /// A capacity provider.
    #[must_use]
    pub fn capacity_provider(&self, key: &CapacityProviderKey) -> Option<&Arc<CapacityProvider>> {
        self.capacity_providers.get(key)
    }

    pub(super) fn existing_capacity_provider(
        &self,
        key: &CapacityProviderKey,
    ) -> Result<&Arc<CapacityProvider>, Rejection> {
        self.capacity_provider(key)
            .ok_or_else(|| Rejection::CapacityProviderNotFound(key.clone()))
    }
}
