//! Commands on services.

use std::sync::Arc;

use crate::model::{
    CapacityProviderStrategy, Deployment, DeploymentId, DeploymentStatus, FARGATE, NetworkConfiguration, NetworkMode,
    PlatformVersion, RolloutState, SchedulingStrategy, Service, ServiceKey, ServiceStatus, StartBackoff, Task,
    TaskDefinitionKey, Timestamp, UnsupportedByDaemon, UnworkableConfiguration,
};

use super::{
    ClientToken, ClusterState, Event, Feature, MAX_TAGS, Rejection, ServiceProgress, UpdateService, alarms, backoff,
    capacity_providers, daemons, lifecycle, protection, service_deployments, task_sets,
};

/// Events kept for each service (ECS: the last 100).
const MAX_EVENTS: usize = 100;

pub(super) fn create(
    state: &mut ClusterState,
    service: &Service,
    client_token: Option<&ClientToken>,
) -> Result<Vec<Event>, Rejection> {
    if let Some(token) = client_token
        && state.remembered_request(token)?.is_some()
    {
        return Ok(vec![Event::RequestRepeated { tasks: vec![] }]);
    }
    capacity_providers::check_associated(state, &service.key.cluster, &service.capacity_provider_strategy)?;
    if let Some(existing) = state
        .service(&service.key)
        .filter(|s| s.status != ServiceStatus::Inactive)
    {
        let same = existing.status == ServiceStatus::Active && existing.request_digest == service.request_digest;
        return if same {
            Ok(vec![])
        } else {
            Err(Rejection::ServiceExists(service.key.clone()))
        };
    }
    for deployment in &service.deployments {
        state.active_task_definition(&deployment.task_definition)?;
    }
    check_consistent(service)?;
    let alarms = service.deployment_configuration.alarms.as_ref();
    alarms::check_exist(state, &service.key.cluster.scope, alarms)?;
    if service.tags.len() > MAX_TAGS {
        return Err(Rejection::TooManyTags);
    }
    if let Some(token) = client_token {
        state.tokens.remember(token, vec![]);
    }
    let mut service = service.clone();
    let created_at = service.created_at;
    service_deployments::begin(state, &mut service, created_at);
    let key = service.key.clone();
    state.services.insert(key.clone(), Arc::new(service));
    Ok(vec![Event::ServiceCreated(key)])
}

pub(super) fn update(state: &mut ClusterState, update: &UpdateService) -> Result<Vec<Event>, Rejection> {
    let mut service = Service::clone(state.active_service(&update.service)?);
    let deploys =
        update.task_definition.is_some() || update.force_new_deployment || update.capacity_provider_strategy.is_some();
    let deploys = deploys || update.network_configuration.is_some() || update.platform_version.is_some();
    if service.is_external() && deploys {
        return Err(Rejection::DeployedByTaskSets(update.service.clone()));
    }
    let newly_deployed = newly_deployed(&service, update);
    let is_deployed = newly_deployed.is_some();
    if let Some(task_definition) = newly_deployed {
        state.active_task_definition(&task_definition)?;
        demote_all(&mut service, update.at);
        let deployment = Deployment::new(update.deployment_id.clone(), task_definition, update.at);
        service.deployments.insert(0, deployment);
    }
    if let Some(strategy) = &update.capacity_provider_strategy {
        change_capacity(state, &mut service, strategy, update.force_new_deployment)?;
    }
    service.platform_version = platform_version(&service, update);
    set_network(state, &mut service, update.network_configuration.as_ref())?;
    if let Some(count) = update.desired_count {
        if service.scheduling_strategy == SchedulingStrategy::Daemon {
            return Err(UnsupportedByDaemon::DesiredCount.into());
        }
        service.desired_count = count;
    }
    if let Some(constraints) = &update.placement_constraints {
        service.placement_constraints.clone_from(constraints);
    }
    if let Some(strategy) = &update.placement_strategy {
        service.placement_strategy.clone_from(strategy);
    }
    let configuration = service
        .deployment_configuration
        .with(update.deployment_configuration.clone());
    service.deployment_configuration = configuration.map_err(Rejection::DeploymentConfiguration)?;
    let alarms = update.deployment_configuration.alarms.as_ref();
    alarms::check_exist(state, &service.key.cluster.scope, alarms)?;
    // Most services have it since nothing was said, and nobody has to say so to change something else.
    let stays = service.zone_rebalancing && service.check_zone_rebalancing().is_ok();
    service.zone_rebalancing = update.zone_rebalancing.unwrap_or(stays);
    check_consistent(&service)?;
    if let Some(seconds) = update.health_check_grace_period_secs {
        service.health_check_grace_period_secs = Some(seconds);
    }
    if let (Some(settings), Some(daemon)) = (update.daemon_settings, &mut service.managed_daemon) {
        daemon.settings = settings;
        // It is not what it was created as any more, which the same request again would take it for.
        service.request_digest.clear();
    }
    if let Some(propagate_tags) = update.propagate_tags {
        service.propagate_tags = propagate_tags;
    }
    if let Some(enable) = update.enable_ecs_managed_tags {
        service.enable_ecs_managed_tags = enable;
    }
    if is_deployed {
        service_deployments::begin(state, &mut service, update.at);
    } else {
        service_deployments::set_configuration(&mut service);
    }
    service.steady = false;
    Ok(put(state, service))
}

/// Tasks that run stay where they are, so that another division takes effect as a deployment replaces them (ECS's rule).
fn change_capacity(
    state: &ClusterState,
    service: &mut Service,
    strategy: &CapacityProviderStrategy,
    is_deployed: bool,
) -> Result<(), Rejection> {
    if service.capacity_provider_strategy == *strategy {
        return Ok(());
    }
    if !is_deployed {
        return Err(Rejection::NewDeploymentNeeded(service.key.clone()));
    }
    capacity_providers::check_associated(state, &service.key.cluster, strategy)?;
    // What goes back to the launch type goes back to the one that its capacity providers had.
    service.launch_type = service
        .launches_on()
        .filter(|launch_type| strategy.is_empty() && *launch_type == FARGATE)
        .map(str::to_owned);
    service.capacity_provider_strategy.clone_from(strategy);
    Ok(())
}

/// The platform version that the service asks for from now on.
fn platform_version(service: &Service, update: &UpdateService) -> PlatformVersion {
    match service.launches_on() {
        Some(FARGATE) => update.platform_version.unwrap_or(service.platform_version),
        _ => PlatformVersion::default(),
    }
}

/// What the service runs from now on has addresses of its own or not, and so has its network configuration a meaning or not.
fn set_network(
    state: &ClusterState,
    service: &mut Service,
    given: Option<&NetworkConfiguration>,
) -> Result<(), Rejection> {
    if given.is_some() {
        service.network_configuration = given.cloned();
    }
    let definition = service
        .primary()
        .and_then(|primary| state.task_definition(&primary.task_definition));
    match definition.map(|definition| definition.network_mode) {
        Some(NetworkMode::Awsvpc) if service.network_configuration.is_none() => {
            Err(Rejection::NetworkConfigurationNeeded)
        }
        Some(NetworkMode::None | NetworkMode::Host | NetworkMode::Bridge) => {
            service.network_configuration = None;
            match given {
                Some(_) => Err(Rejection::NetworkConfigurationNotValid),
                None => Ok(()),
            }
        }
        Some(NetworkMode::Awsvpc) | None => Ok(()),
    }
}

/// What a new deployment is to run, where the update begins one.
fn newly_deployed(service: &Service, update: &UpdateService) -> Option<TaskDefinitionKey> {
    let current = service.primary().map(|primary| &primary.task_definition);
    let wanted = update.task_definition.as_ref().or(current)?;
    let network = update.network_configuration.as_ref();
    let is_other_network = network.is_some() && network != service.network_configuration.as_ref();
    let is_other_platform = update
        .platform_version
        .is_some_and(|version| version != service.platform_version);
    let is_other = is_other_network || is_other_platform || Some(wanted) != current;
    (update.force_new_deployment || is_other).then(|| wanted.clone())
}

/// Whether the parts of a service go together, whichever requests brought them.
fn check_consistent(service: &Service) -> Result<(), Rejection> {
    service.check_placement()?;
    if service.zone_rebalancing {
        service.check_zone_rebalancing().map_err(Rejection::ZoneRebalancing)?;
    }
    if service.is_external() && service.deployment_configuration.is_for_deployments_alone() {
        return Err(Rejection::DeploymentConfiguration(
            UnworkableConfiguration::StagesOfTaskSets,
        ));
    }
    let checked = service.deployment_configuration.check(service.scheduling_strategy);
    checked.map_err(Rejection::DeploymentConfiguration)
}

pub(super) fn delete(
    state: &mut ClusterState,
    key: &ServiceKey,
    force: bool,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let service = state
        .service(key)
        .ok_or_else(|| Rejection::ServiceNotFound(key.clone()))?;
    if service.status != ServiceStatus::Active && state.uses(Feature::RepeatedDeletion) {
        return Ok(if force {
            protection::end_all_of_service(state, key)
        } else {
            vec![]
        });
    }
    let mut service = Service::clone(state.active_service(key)?);
    let replica = service.scheduling_strategy == SchedulingStrategy::Replica;
    if replica && service.desired_count > 0 && !force {
        return Err(Rejection::ServiceScaledAboveZero(key.clone()));
    }
    service.desired_count = 0;
    service.status = ServiceStatus::Draining;
    service_deployments::end_with_service(state, &mut service, at);
    for deployment in &mut service.deployments {
        deployment.updated_at = at;
    }
    let mut events = put(state, service);
    if force {
        events.extend(protection::end_all_of_service(state, key));
    }
    Ok(events)
}

pub(super) fn record_progress(state: &mut ClusterState, progress: &ServiceProgress) -> Result<Vec<Event>, Rejection> {
    let service = state
        .service(&progress.service)
        .ok_or_else(|| Rejection::ServiceNotFound(progress.service.clone()))?;
    let mut service = Service::clone(service);
    if let Some(found) = &progress.service_deployment {
        service_deployments::record(state, &mut service, found, progress.rollback.as_ref(), progress.at)?;
    }
    task_sets::record(state, &mut service, &progress.task_sets, progress.at)?;
    if let Some(found) = &progress.lifecycle {
        lifecycle::record(&mut service, found, progress.at)?;
    }
    for finding in &progress.deployments {
        let deployment = find(&mut service, &finding.id)?;
        if finding.status < deployment.status {
            return Err(Rejection::Stale(format!(
                "deployment {} is no longer primary",
                finding.id
            )));
        }
        deployment.status = finding.status;
        deployment.rollout_state = finding.rollout_state;
        deployment
            .rollout_state_reason
            .clone_from(&finding.rollout_state_reason);
        if finding.resets_failed_tasks {
            deployment.failed_tasks = 0;
        }
        deployment.updated_at = progress.at;
    }
    service
        .deployments
        .retain(|d| d.status == DeploymentStatus::Primary || !progress.retired.contains(&d.id));
    if let Some(rollback) = &progress.rollback {
        demote_all(&mut service, progress.at);
        service.deployments.retain(|d| d.id != rollback.id);
        service.deployments.insert(0, rollback.clone());
        service = service.as_of(&rollback.id);
    }
    if let Some(primary) = service.primary().filter(|p| p.rollout_state == RolloutState::Completed) {
        service.last_completed = Some(primary.task_definition.clone());
    }
    for event in &progress.events {
        service.events.push_front(event.clone());
    }
    service.events.truncate(MAX_EVENTS);
    if let Some(steady) = progress.steady {
        service.steady = steady;
    }
    if let Some(count) = progress.daemon_desired_count {
        service.desired_count = count;
    }
    if progress.inactive {
        if state.live_tasks_of_service(&service.key).next().is_some() {
            return Err(Rejection::Stale(format!(
                "service {} still has tasks",
                service.key.name
            )));
        }
        service.status = ServiceStatus::Inactive;
        service.inactive_since = Some(progress.at);
        service.deployments.clear();
        // How a daemon was deleted is told by the deployment that did it.
        if !service.is_managed_daemon() {
            service.service_deployments.clear();
        }
        service.task_sets.clear();
    }
    let mut events = put(state, service);
    events.extend(daemons::give_up(
        state,
        &progress.service.name,
        &progress.hosts_given_up,
    ));
    Ok(events)
}

/// Counts a task that stopped although its service wanted it to run, if it never started, did not stay up, or has health checks that never
/// passed. One whose health checks have failed was counted when that was found.
pub(super) fn count_failure(state: &mut ClusterState, task: &Task, at: Timestamp) -> Option<Event> {
    let stayed_up = || ran_for_ms(state, task, at).is_some_and(|ms| ms >= backoff::STAYED_UP_MS);
    if task.has_failed_health_checks() || (!task.was_never_healthy() && stayed_up()) {
        return None;
    }
    count(state, task, true, at)
}

/// Counts a task whose health checks have failed. Where they had passed before, it did start: then the next tries need not wait.
pub(super) fn count_failed_health_checks(state: &mut ClusterState, task: &Task, at: Timestamp) -> Option<Event> {
    count(state, task, task.was_never_healthy(), at)
}

fn count(state: &mut ClusterState, task: &Task, failed_to_start: bool, at: Timestamp) -> Option<Event> {
    let (key, id) = (task.service()?, task.deployment()?);
    let mut service = Service::clone(state.service(key)?);
    let (failed_tasks, backoff) = failures_of(&mut service, id)?;
    *failed_tasks = failed_tasks.saturating_add(1);
    if failed_to_start {
        *backoff = backoff::after_failure(*backoff, at);
    }
    put(state, service).pop()
}

/// Where failures of tasks of the deployment or task set called `id` are counted.
fn failures_of<'a>(service: &'a mut Service, id: &DeploymentId) -> Option<(&'a mut u32, &'a mut StartBackoff)> {
    let of_deployment = service.deployments.iter_mut().find(|d| d.id == *id);
    let of_task_set = service.task_sets.iter_mut().find(|set| set.id == *id);
    of_deployment
        .map(|found| (&mut found.failed_tasks, &mut found.backoff))
        .or(of_task_set.map(|found| (&mut found.failed_tasks, &mut found.backoff)))
}

/// How long a task that ends now has run, as far as anybody has said.
fn ran_for_ms(state: &ClusterState, task: &Task, now: Timestamp) -> Option<i64> {
    if !state.uses(Feature::LeadersClock) {
        return Some(now.ms_since(task.started_at?));
    }
    // A host that was away while its task ran and ended tells of both at once; then only its own clock knows for how long.
    match task.running_since {
        Some(since) => Some(now.ms_since(since)),
        None => task.ran_for_ms(),
    }
}

pub(super) fn forget(state: &mut ClusterState, services: &[ServiceKey]) -> Vec<Event> {
    for key in services {
        if state.service(key).is_some_and(|s| s.status == ServiceStatus::Inactive) {
            state.services.remove(key);
        }
    }
    vec![]
}

pub(super) fn put(state: &mut ClusterState, service: Service) -> Vec<Event> {
    let key = service.key.clone();
    state.services.insert(key.clone(), Arc::new(service));
    vec![Event::ServiceUpdated(key)]
}

fn demote_all(service: &mut Service, at: Timestamp) {
    for old in &mut service.deployments {
        if old.status == DeploymentStatus::Primary {
            old.status = DeploymentStatus::Active;
            old.updated_at = at;
        }
    }
}

fn find<'a>(service: &'a mut Service, id: &DeploymentId) -> Result<&'a mut Deployment, Rejection> {
    service
        .deployments
        .iter_mut()
        .find(|d| d.id == *id)
        .ok_or_else(|| Rejection::Stale(format!("deployment {id} is gone")))
}
