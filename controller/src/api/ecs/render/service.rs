//! Services in answers. Pure.

use berth_aws::ecs::{
    AvailabilityZoneRebalancing, Deployment as AwsDeployment, DeploymentCircuitBreaker,
    DeploymentConfiguration as AwsDeploymentConfiguration, DeploymentController as AwsDeploymentController,
    DeploymentControllerType, DeploymentRolloutState, LaunchType, PropagateTags as AwsPropagateTags,
    SchedulingStrategy as AwsSchedulingStrategy, Service as AwsService, ServiceCurrentRevisionSummary,
    ServiceEvent as AwsServiceEvent,
};
use berth_core::model::{
    CapacityProviderStrategyItem, Deployment, DeploymentConfiguration, DeploymentController, DeploymentId,
    DeploymentStatus, NetworkConfiguration, PropagateTags, RolloutState, SchedulingStrategy, Service, ServiceEvent,
    ServiceStatus, TaskCounts,
};
use berth_core::state::{ClusterState, ServiceTaskCounts};

use super::capacity_provider::capacity_provider_strategy;
use super::{count, task_set, time, unless_empty};
use crate::api::ecs::{deployment_criteria, deployment_stages, launch_type, network_configuration, placement, tags};

/// A service with its counts; its tags only where they were asked for.
pub(in crate::api) fn service(state: &ClusterState, service: &Service, with_tags: bool) -> AwsService {
    let counts = state.task_counts(&service.key);
    let shown = service.deployments.iter();
    let shown = shown.filter(|d| d.status != DeploymentStatus::Inactive);
    let (platform_version, platform_family) = launch_type::platform(service.launches_on(), service.platform_version);
    AwsService {
        service_arn: Some(service.key.arn()),
        service_name: Some(service.key.name.as_str().to_owned()),
        cluster_arn: Some(service.key.cluster.arn()),
        load_balancers: Some(vec![]),
        service_registries: Some(vec![]),
        status: Some(status(service.status).to_owned()),
        desired_count: count(service.desired_count),
        running_count: count(counts.all.running),
        pending_count: count(counts.all.pending),
        launch_type: launched(&service.capacity_provider_strategy, service.launch_type.as_deref()),
        platform_family,
        platform_version,
        capacity_provider_strategy: unless_empty(&capacity_provider_strategy(&service.capacity_provider_strategy)),
        task_definition: service.primary().map(|d| d.task_definition.arn()),
        deployment_configuration: Some(configuration(&service.deployment_configuration)),
        deployments: Some(
            shown
                .map(|d| deployment(service, d, counts.of(service, &d.id)))
                .collect(),
        ),
        task_sets: service.is_external().then(|| {
            let sets = service.task_sets.iter();
            sets.map(|set| task_set(state, service, set, with_tags)).collect()
        }),
        current_service_deployment: service
            .current_service_deployment()
            .map(|current| service.key.service_deployment_arn(current.id())),
        current_service_revisions: unless_empty(&current_revisions(service, &counts)),
        events: Some(service.events.iter().map(event).collect()),
        created_at: Some(time(service.created_at)),
        network_configuration: service
            .network_configuration
            .as_ref()
            .map(network_configuration::render),
        placement_constraints: Some(placement::render_constraints(&service.placement_constraints)),
        placement_strategy: Some(placement::render_strategies(&service.placement_strategy)),
        scheduling_strategy: Some(match service.scheduling_strategy {
            SchedulingStrategy::Replica => AwsSchedulingStrategy::Replica,
            SchedulingStrategy::Daemon => AwsSchedulingStrategy::Daemon,
        }),
        deployment_controller: Some(AwsDeploymentController {
            r#type: Some(match service.deployment_controller {
                DeploymentController::Ecs => DeploymentControllerType::Ecs,
                DeploymentController::External => DeploymentControllerType::External,
            }),
        }),
        tags: Some(if with_tags { tags::render(&service.tags) } else { vec![] }),
        created_by: Some(service.created_by.clone()),
        health_check_grace_period_seconds: service.health_check_grace_period_secs.and_then(count),
        enable_ecs_managed_tags: Some(service.enable_ecs_managed_tags),
        propagate_tags: Some(match service.propagate_tags {
            PropagateTags::None => AwsPropagateTags::None,
            PropagateTags::TaskDefinition => AwsPropagateTags::TaskDefinition,
            PropagateTags::Service => AwsPropagateTags::Service,
        }),
        enable_execute_command: Some(false),
        availability_zone_rebalancing: Some(match service.zone_rebalancing {
            true => AvailabilityZoneRebalancing::Enabled,
            false => AvailabilityZoneRebalancing::Disabled,
        }),
        ..Default::default()
    }
}

/// The launch type, which there is where there is no capacity provider strategy.
pub(super) fn launched(strategy: &[CapacityProviderStrategyItem], launch_type: Option<&str>) -> Option<LaunchType> {
    strategy.is_empty().then(|| launch_type::render(launch_type))
}

/// The revisions that a service has tasks of, or will have.
fn current_revisions(service: &Service, counts: &ServiceTaskCounts<'_>) -> Vec<ServiceCurrentRevisionSummary> {
    let known = |d: &&Deployment| service.service_deployment(&d.id).is_some();
    let summary = |d: &Deployment| {
        let tasks = counts.of(service, &d.id);
        ServiceCurrentRevisionSummary {
            arn: Some(service.key.service_revision_arn(&d.id)),
            requested_task_count: count(tasks.requested),
            running_task_count: count(tasks.running),
            pending_task_count: count(tasks.pending),
        }
    };
    service.deployments.iter().filter(known).map(summary).collect()
}

fn deployment(service: &Service, deployment: &Deployment, counts: TaskCounts) -> AwsDeployment {
    let is_primary = deployment.status == DeploymentStatus::Primary;
    let (platform_version, platform_family) = launch_type::resolved_platform(service.launches_on());
    AwsDeployment {
        id: Some(deployment.id.as_str().to_owned()),
        status: Some(deployment_status(deployment.status).to_owned()),
        task_definition: Some(deployment.task_definition.arn()),
        desired_count: count(counts.requested),
        pending_count: count(counts.pending),
        running_count: count(counts.running),
        failed_tasks: count(deployment.failed_tasks),
        created_at: Some(time(deployment.created_at)),
        updated_at: Some(time(deployment.updated_at)),
        launch_type: launched(&service.capacity_provider_strategy, service.launch_type.as_deref()),
        platform_family,
        platform_version,
        capacity_provider_strategy: is_primary
            .then(|| unless_empty(&capacity_provider_strategy(&service.capacity_provider_strategy)))
            .flatten(),
        network_configuration: network_of(service, &deployment.id).map(network_configuration::render),
        rollout_state: Some(match deployment.rollout_state {
            RolloutState::InProgress => DeploymentRolloutState::InProgress,
            RolloutState::Completed => DeploymentRolloutState::Completed,
            RolloutState::Failed => DeploymentRolloutState::Failed,
        }),
        rollout_state_reason: Some(deployment.rollout_state_reason.clone()),
        ..Default::default()
    }
}

/// What its tasks have, which is not what the service has now where it was given something else meanwhile.
fn network_of<'s>(service: &'s Service, deployment: &DeploymentId) -> Option<&'s NetworkConfiguration> {
    match service.service_deployment(deployment) {
        Some(known) => known.revision.network_configuration.as_ref(),
        None => service.network_configuration.as_ref(),
    }
}

/// How deployments proceed.
pub(super) fn configuration(configuration: &DeploymentConfiguration) -> AwsDeploymentConfiguration {
    AwsDeploymentConfiguration {
        deployment_circuit_breaker: Some(DeploymentCircuitBreaker {
            enable: Some(configuration.circuit_breaker.enable),
            rollback: Some(configuration.circuit_breaker.rollback),
            reset_on_healthy_task: configuration.circuit_breaker.reset_on_healthy_task,
            threshold_configuration: configuration
                .circuit_breaker
                .threshold
                .map(deployment_criteria::render_threshold),
        }),
        maximum_percent: count(configuration.maximum_percent),
        minimum_healthy_percent: count(configuration.minimum_healthy_percent),
        early_success_criteria: configuration
            .early_success
            .map(deployment_criteria::render_early_success),
        alarms: configuration.alarms.as_ref().map(deployment_criteria::render_alarms),
        ..deployment_stages::render(configuration)
    }
}

fn event(event: &ServiceEvent) -> AwsServiceEvent {
    AwsServiceEvent {
        id: Some(event.id.clone()),
        created_at: Some(time(event.created_at)),
        message: Some(event.message.clone()),
    }
}

fn status(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Active => "ACTIVE",
        ServiceStatus::Draining => "DRAINING",
        ServiceStatus::Inactive => "INACTIVE",
    }
}

fn deployment_status(status: DeploymentStatus) -> &'static str {
    match status {
        DeploymentStatus::Primary => "PRIMARY",
        DeploymentStatus::Active => "ACTIVE",
        DeploymentStatus::Inactive => "INACTIVE",
    }
}
