//! Service deployments and service revisions in answers. Pure.

use berth_aws::ecs::{
    ContainerImage as AwsContainerImage, DeploymentLifecycleHookDetail, DeploymentLifecycleHookStatus as AwsHookStatus,
    DeploymentLifecycleHookTargetType, Rollback, ServiceDeployment as AwsServiceDeployment, ServiceDeploymentAlarms,
    ServiceDeploymentBrief, ServiceDeploymentCircuitBreaker, ServiceDeploymentLifecycleStage as AwsStage,
    ServiceDeploymentRollbackMonitorsStatus as MonitorStatus, ServiceDeploymentStatus as AwsStatus,
    ServiceRevision as AwsServiceRevision, ServiceRevisionSummary,
};
use berth_core::model::{
    AlarmName, ContainerImage, CountedFailures, DeploymentId, HookRun, HookStatus, LifecycleStage, Service,
    ServiceDeployment, ServiceDeploymentStatus, ServiceRevision, TaskCounts,
};
use berth_core::state::ClusterState;

use super::capacity_provider::capacity_provider_strategy;
use super::service::{configuration, launched};
use super::{count, time, unless_empty};
use crate::api::ecs::{deployment_stages, launch_type, network_configuration};

/// A service deployment, with the tasks of its revisions as they are now, or as they were when it was over.
pub(in crate::api::ecs) fn service_deployment(
    state: &ClusterState,
    service: &Service,
    deployment: &ServiceDeployment,
) -> AwsServiceDeployment {
    let counts = state.task_counts(&service.key);
    let is_over = deployment.status.is_over();
    let tasks_of = |id: &DeploymentId, at_the_end: TaskCounts| match is_over {
        true => at_the_end,
        false => counts.of(service, id),
    };
    let sources = deployment.sources.iter();
    AwsServiceDeployment {
        service_deployment_arn: Some(service.key.service_deployment_arn(deployment.id())),
        service_arn: Some(service.key.arn()),
        cluster_arn: Some(service.key.cluster.arn()),
        created_at: Some(time(deployment.created_at)),
        started_at: deployment.started_at.map(time),
        finished_at: deployment.finished_at.map(time),
        stopped_at: deployment.stopped_at.map(time),
        updated_at: Some(time(deployment.updated_at)),
        source_service_revisions: Some(
            sources
                .map(|source| {
                    let tasks = tasks_of(&source.id, source.tasks);
                    summary(service, deployment, &source.id, tasks)
                })
                .collect(),
        ),
        target_service_revision: Some(summary(
            service,
            deployment,
            deployment.id(),
            tasks_of(deployment.id(), deployment.tasks),
        )),
        status: Some(status(deployment.status)),
        status_reason: deployment.status_reason.clone(),
        lifecycle_stage: deployment.stage().map(stage),
        lifecycle_hook_details: hook_details(deployment),
        deployment_configuration: Some(configuration(&deployment.configuration)),
        rollback: deployment.rollback.as_ref().map(|rollback| Rollback {
            reason: Some(rollback.reason.clone()),
            started_at: Some(time(rollback.started_at)),
            service_revision_arn: Some(service.key.service_revision_arn(&rollback.revision)),
        }),
        deployment_circuit_breaker: Some(circuit_breaker(service, deployment)),
        alarms: Some(alarms(deployment)),
    }
}

fn circuit_breaker(service: &Service, deployment: &ServiceDeployment) -> ServiceDeploymentCircuitBreaker {
    let breaker = deployment.configuration.circuit_breaker;
    let failures = deployment.failures.unwrap_or_else(|| CountedFailures {
        failed_tasks: service.deployment(deployment.id()).map_or(0, |d| d.failed_tasks),
        threshold: breaker.threshold_for(service.desired_count),
        triggered: false,
    });
    let is_on = breaker.enable;
    ServiceDeploymentCircuitBreaker {
        status: Some(match failures.triggered {
            true => MonitorStatus::Triggered,
            false if !is_on => MonitorStatus::Disabled,
            false if !deployment.status.is_over() => MonitorStatus::Monitoring,
            false => MonitorStatus::MonitoringComplete,
        }),
        failure_count: count(failures.failed_tasks),
        threshold: count(failures.threshold),
    }
}

/// Whether alarms are monitored, and which went off. Nobody monitors those of a deployment that goes back.
fn alarms(deployment: &ServiceDeployment) -> ServiceDeploymentAlarms {
    let names = |names: &[AlarmName]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        unless_empty(&names)
    };
    let configured = deployment.configuration.alarms.as_ref();
    let triggered = deployment.alarms.as_ref().map(|monitored| &monitored.triggered);
    ServiceDeploymentAlarms {
        status: Some(match triggered {
            None => MonitorStatus::Disabled,
            Some(triggered) if !triggered.is_empty() => MonitorStatus::Triggered,
            Some(_) if deployment.status.is_forward() => MonitorStatus::Monitoring,
            Some(_) => MonitorStatus::MonitoringComplete,
        }),
        alarm_names: configured.and_then(|configured| names(&configured.names)),
        triggered_alarm_names: triggered.and_then(|triggered| names(triggered)),
    }
}

/// What lists of service deployments show of one.
pub(in crate::api::ecs) fn service_deployment_brief(
    service: &Service,
    deployment: &ServiceDeployment,
) -> ServiceDeploymentBrief {
    ServiceDeploymentBrief {
        service_deployment_arn: Some(service.key.service_deployment_arn(deployment.id())),
        service_arn: Some(service.key.arn()),
        cluster_arn: Some(service.key.cluster.arn()),
        started_at: deployment.started_at.map(time),
        created_at: Some(time(deployment.created_at)),
        finished_at: deployment.finished_at.map(time),
        target_service_revision_arn: Some(service.key.service_revision_arn(deployment.id())),
        status: Some(status(deployment.status)),
        status_reason: deployment.status_reason.clone(),
    }
}

/// A revision of a service deployment, with its tasks and its share of traffic, where traffic is divided by revisions.
fn summary(
    service: &Service,
    deployment: &ServiceDeployment,
    revision: &DeploymentId,
    tasks: TaskCounts,
) -> ServiceRevisionSummary {
    let traffic = deployment.traffic.of(revision);
    ServiceRevisionSummary {
        arn: Some(service.key.service_revision_arn(revision)),
        requested_task_count: count(tasks.requested),
        running_task_count: count(tasks.running),
        pending_task_count: count(tasks.pending),
        requested_production_traffic_weight: traffic.map(|(production, _)| deployment_stages::percent(production)),
        requested_test_traffic_weight: traffic.map(|(_, test)| deployment_stages::percent(test)),
    }
}

/// A stage in ECS's words. The model has none for what is before a shift of production traffic: it is shown as the shift.
fn stage(stage: LifecycleStage) -> AwsStage {
    match stage {
        LifecycleStage::ReconcileService => AwsStage::ReconcileService,
        LifecycleStage::PreScaleUp => AwsStage::PreScaleUp,
        LifecycleStage::ScaleUp => AwsStage::ScaleUp,
        LifecycleStage::PostScaleUp => AwsStage::PostScaleUp,
        LifecycleStage::TestTrafficShift => AwsStage::TestTrafficShift,
        LifecycleStage::PostTestTrafficShift => AwsStage::PostTestTrafficShift,
        LifecycleStage::PreProductionTrafficShift | LifecycleStage::ProductionTrafficShift => {
            AwsStage::ProductionTrafficShift
        }
        LifecycleStage::PostProductionTrafficShift => AwsStage::PostProductionTrafficShift,
        LifecycleStage::BakeTime => AwsStage::BakeTime,
        LifecycleStage::CleanUp => AwsStage::CleanUp,
    }
}

/// The hooks of the stage that a service deployment is in.
fn hook_details(deployment: &ServiceDeployment) -> Option<Vec<DeploymentLifecycleHookDetail>> {
    let hooks = &deployment.lifecycle.as_ref()?.hooks;
    let detail = |hook: &HookRun| DeploymentLifecycleHookDetail {
        hook_id: Some(hook.id.clone()),
        target_type: Some(DeploymentLifecycleHookTargetType::Pause),
        status: Some(match hook.status {
            HookStatus::AwaitingAction => AwsHookStatus::AwaitingAction,
            HookStatus::Succeeded => AwsHookStatus::Succeeded,
            HookStatus::Failed => AwsHookStatus::Failed,
            HookStatus::TimedOut => AwsHookStatus::TimedOut,
        }),
        expires_at: Some(time(hook.expires_at)),
        timeout_action: Some(deployment_stages::render_action(hook.at_timeout)),
        ..Default::default()
    };
    (!hooks.is_empty()).then(|| hooks.iter().map(detail).collect())
}

/// A service revision.
pub(in crate::api::ecs) fn service_revision(
    state: &ClusterState,
    service: &Service,
    revision: &ServiceRevision,
) -> AwsServiceRevision {
    let image = |image: ContainerImage| AwsContainerImage {
        container_name: Some(image.container),
        image: Some(image.image),
        image_digest: image.digest.as_deref().map(str::to_owned),
    };
    let (platform_version, platform_family) = launch_type::resolved_platform(revision.launches_on());
    let images = state.images_of(&service.key, revision);
    AwsServiceRevision {
        service_revision_arn: Some(service.key.service_revision_arn(&revision.id)),
        service_arn: Some(service.key.arn()),
        cluster_arn: Some(service.key.cluster.arn()),
        task_definition: Some(revision.task_definition.arn()),
        launch_type: launched(&revision.capacity_provider_strategy, revision.launch_type.as_deref()),
        platform_family,
        platform_version,
        capacity_provider_strategy: unless_empty(&capacity_provider_strategy(&revision.capacity_provider_strategy)),
        network_configuration: revision
            .network_configuration
            .as_ref()
            .map(network_configuration::render),
        load_balancers: Some(vec![]),
        service_registries: Some(vec![]),
        container_images: Some(images.into_iter().map(image).collect()),
        guard_duty_enabled: Some(false),
        created_at: Some(time(revision.created_at)),
        ..Default::default()
    }
}

/// A status in ECS's words.
pub(in crate::api::ecs) fn status(status: ServiceDeploymentStatus) -> AwsStatus {
    match status {
        ServiceDeploymentStatus::Pending => AwsStatus::Pending,
        ServiceDeploymentStatus::InProgress => AwsStatus::InProgress,
        ServiceDeploymentStatus::Successful => AwsStatus::Successful,
        ServiceDeploymentStatus::StopRequested => AwsStatus::StopRequested,
        ServiceDeploymentStatus::Stopped => AwsStatus::Stopped,
        ServiceDeploymentStatus::RollbackRequested => AwsStatus::RollbackRequested,
        ServiceDeploymentStatus::RollbackInProgress => AwsStatus::RollbackInProgress,
        ServiceDeploymentStatus::RollbackSuccessful => AwsStatus::RollbackSuccessful,
        ServiceDeploymentStatus::RollbackFailed => AwsStatus::RollbackFailed,
    }
}
