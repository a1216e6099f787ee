//! Service deployments and service revisions in answers. Pure.

use berth_aws::ecs::{
    ContainerImage as AwsContainerImage, Rollback, ServiceDeployment as AwsServiceDeployment, ServiceDeploymentBrief,
    ServiceDeploymentCircuitBreaker, ServiceDeploymentRollbackMonitorsStatus as BreakerStatus,
    ServiceDeploymentStatus as AwsStatus, ServiceRevision as AwsServiceRevision, ServiceRevisionSummary,
};
use berth_core::model::{
    CircuitBreaker, ContainerImage, CountedFailures, DeploymentId, Service, ServiceDeployment, ServiceDeploymentStatus,
    ServiceRevision, TaskCounts,
};
use berth_core::state::ClusterState;

use super::capacity_provider::capacity_provider_strategy;
use super::service::{configuration, launch_type};
use super::{count, time, unless_empty};

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
                .map(|source| summary(service, &source.id, tasks_of(&source.id, source.tasks)))
                .collect(),
        ),
        target_service_revision: Some(summary(
            service,
            deployment.id(),
            tasks_of(deployment.id(), deployment.tasks),
        )),
        status: Some(status(deployment.status)),
        status_reason: deployment.status_reason.clone(),
        deployment_configuration: Some(configuration(&deployment.configuration)),
        rollback: deployment.rollback.as_ref().map(|rollback| Rollback {
            reason: Some(rollback.reason.clone()),
            started_at: Some(time(rollback.started_at)),
            service_revision_arn: Some(service.key.service_revision_arn(&rollback.revision)),
        }),
        deployment_circuit_breaker: Some(circuit_breaker(service, deployment)),
        ..Default::default()
    }
}

fn circuit_breaker(service: &Service, deployment: &ServiceDeployment) -> ServiceDeploymentCircuitBreaker {
    let failures = deployment.failures.unwrap_or_else(|| CountedFailures {
        failed_tasks: service.deployment(deployment.id()).map_or(0, |d| d.failed_tasks),
        threshold: CircuitBreaker::threshold(service.desired_count),
        triggered: false,
    });
    let is_on = deployment.configuration.circuit_breaker.enable;
    ServiceDeploymentCircuitBreaker {
        status: Some(match failures.triggered {
            true => BreakerStatus::Triggered,
            false if !is_on => BreakerStatus::Disabled,
            false if !deployment.status.is_over() => BreakerStatus::Monitoring,
            false => BreakerStatus::MonitoringComplete,
        }),
        failure_count: count(failures.failed_tasks),
        threshold: count(failures.threshold),
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

fn summary(service: &Service, revision: &DeploymentId, tasks: TaskCounts) -> ServiceRevisionSummary {
    ServiceRevisionSummary {
        arn: Some(service.key.service_revision_arn(revision)),
        requested_task_count: count(tasks.requested),
        running_task_count: count(tasks.running),
        pending_task_count: count(tasks.pending),
        ..Default::default()
    }
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
    let images = state.images_of(&service.key, revision);
    AwsServiceRevision {
        service_revision_arn: Some(service.key.service_revision_arn(&revision.id)),
        service_arn: Some(service.key.arn()),
        cluster_arn: Some(service.key.cluster.arn()),
        task_definition: Some(revision.task_definition.arn()),
        launch_type: launch_type(&revision.capacity_provider_strategy),
        capacity_provider_strategy: unless_empty(&capacity_provider_strategy(&revision.capacity_provider_strategy)),
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
