//! Managed daemons, their revisions and their deployments in answers. Pure.

use berth_aws::Timestamp as AwsTimestamp;
use berth_aws::ecs::{
    DaemonCapacityProvider, DaemonCircuitBreaker, DaemonContainerImage, DaemonDeployment, DaemonDeploymentAlarms,
    DaemonDeploymentCapacityProvider, DaemonDeploymentConfiguration, DaemonDeploymentRevisionDetail,
    DaemonDeploymentRollbackMonitorsStatus as BreakerStatus, DaemonDeploymentStatus as AwsStatus,
    DaemonDeploymentSummary, DaemonDetail, DaemonPropagateTags, DaemonRevision as AwsRevision, DaemonRevisionDetail,
    DaemonRollback, DaemonStatus, DaemonSummary,
};
use berth_core::model::{
    CapacityProviderName, ContainerInstanceStatus, CountedFailures, DeploymentId, DesiredStatus, PropagateTags,
    Service, ServiceDeployment, ServiceDeploymentStatus, ServiceRevision, ServiceStatus, TaskCounts, TaskStatus,
};
use berth_core::state::ClusterState;

use super::{count, time};

/// A daemon, with the revisions that it has tasks of.
pub(in crate::api::ecs) fn daemon(state: &ClusterState, daemon: &Service) -> DaemonDetail {
    let known = daemon.service_deployments.iter().map(|deployment| &deployment.revision);
    let current = known.filter(|revision| daemon.deployment(&revision.id).is_some());
    DaemonDetail {
        daemon_arn: Some(daemon.key.arn()),
        cluster_arn: Some(daemon.key.cluster.arn()),
        status: Some(daemon_status(daemon.status)),
        current_revisions: Some(
            current
                .map(|revision| current_revision(state, daemon, revision))
                .collect(),
        ),
        deployment_arn: newest_deployment_arn(daemon),
        created_at: Some(time(daemon.created_at)),
        updated_at: Some(daemon_updated_at(daemon)),
    }
}

/// What lists of daemons show of one.
pub(in crate::api::ecs) fn daemon_summary(daemon: &Service) -> DaemonSummary {
    DaemonSummary {
        daemon_arn: Some(daemon.key.arn()),
        status: Some(daemon_status(daemon.status)),
        created_at: Some(time(daemon.created_at)),
        updated_at: Some(daemon_updated_at(daemon)),
    }
}

/// A status in ECS's words, which has none for a daemon that is gone.
pub(in crate::api::ecs) fn daemon_status(status: ServiceStatus) -> DaemonStatus {
    match status {
        ServiceStatus::Active => DaemonStatus::Active,
        ServiceStatus::Draining | ServiceStatus::Inactive => DaemonStatus::DeleteInProgress,
    }
}

/// When somebody last changed a daemon, each time of which is a deployment.
pub(in crate::api::ecs) fn daemon_updated_at(daemon: &Service) -> AwsTimestamp {
    let newest = daemon.current_service_deployment();
    time(newest.map_or(daemon.created_at, |deployment| deployment.created_at))
}

/// The ARN of its newest deployment.
pub(in crate::api::ecs) fn newest_deployment_arn(daemon: &Service) -> Option<String> {
    let newest = daemon.current_service_deployment()?;
    Some(daemon.key.service_deployment_arn(newest.id()))
}

/// The ARN of the deployment that its creation began, as long as that is remembered.
pub(in crate::api::ecs) fn first_deployment_arn(daemon: &Service) -> Option<String> {
    let mut known = daemon.service_deployments.iter();
    let first = known.find(|deployment| deployment.created_at == daemon.created_at)?;
    Some(daemon.key.service_deployment_arn(first.id()))
}

/// Hosts of one capacity provider, by what a revision is to them.
#[derive(Clone, Copy, Default)]
struct Hosts {
    running: usize,
    draining: usize,
    without: usize,
}

impl Hosts {
    fn and(self, other: &Self) -> Self {
        Self {
            running: self.running + other.running,
            draining: self.draining + other.draining,
            without: self.without + other.without,
        }
    }
}

/// How it is on the hosts of each capacity provider of a revision. Only the revision that is wanted is missed where the daemon does not run.
fn hosts_of(state: &ClusterState, daemon: &Service, revision: &ServiceRevision) -> Vec<(CapacityProviderName, Hosts)> {
    let is_wanted = daemon.primary().is_some_and(|primary| primary.id == revision.id);
    let names = revision
        .capacity_provider_strategy
        .iter()
        .map(|item| &item.capacity_provider);
    let of_pool = |name: &CapacityProviderName| {
        let mut hosts = Hosts::default();
        for host in state.container_instances_of(&daemon.key.cluster) {
            let tasks = state.tasks_of_instance(host.id).filter(|task| !task.is_stopped());
            let own = tasks.filter(|task| task.service() == Some(&daemon.key));
            let mut is_there = false;
            for task in own.filter(|task| task.capacity_provider.as_ref() == Some(name)) {
                let runs = task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running;
                is_there |= runs;
                let is_of_it = task.deployment() == Some(&revision.id);
                hosts.running += usize::from(is_of_it && runs);
                hosts.draining += usize::from(is_of_it && task.desired_status == DesiredStatus::Stopped);
            }
            let is_in_pool = host.host.capacity_provider.as_ref() == Some(name);
            let takes_tasks = host.status == ContainerInstanceStatus::Active;
            hosts.without += usize::from(is_wanted && is_in_pool && takes_tasks && !is_there);
        }
        (name.clone(), hosts)
    };
    names.map(of_pool).collect()
}

fn arn_of(daemon: &Service, name: &CapacityProviderName) -> String {
    daemon.key.cluster.scope.capacity_provider(name.as_str()).arn()
}

fn current_revision(state: &ClusterState, daemon: &Service, revision: &ServiceRevision) -> DaemonRevisionDetail {
    let pools = hosts_of(state, daemon, revision);
    let total = pools.iter().fold(Hosts::default(), |sum, (_, hosts)| sum.and(hosts));
    let pool = |(name, hosts): &(CapacityProviderName, Hosts)| DaemonCapacityProvider {
        arn: Some(arn_of(daemon, name)),
        running_count: count(hosts.running),
        without_daemon_count: count(hosts.without),
    };
    DaemonRevisionDetail {
        arn: Some(daemon.key.service_revision_arn(&revision.id)),
        capacity_providers: Some(pools.iter().map(pool).collect()),
        total_running_count: count(total.running),
        total_without_daemon_count: count(total.without),
    }
}

/// A revision.
pub(in crate::api::ecs) fn daemon_revision(
    state: &ClusterState,
    daemon: &Service,
    revision: &ServiceRevision,
) -> AwsRevision {
    let images = state.images_of(&daemon.key, revision).into_iter();
    let images = images.map(|image| DaemonContainerImage {
        container_name: Some(image.container),
        image_digest: image.digest.as_deref().map(str::to_owned),
        image: Some(image.image),
    });
    let said = revision.daemon.as_ref();
    AwsRevision {
        daemon_revision_arn: Some(daemon.key.service_revision_arn(&revision.id)),
        cluster_arn: Some(daemon.key.cluster.arn()),
        daemon_arn: Some(daemon.key.arn()),
        daemon_task_definition_arn: Some(revision.task_definition.arn()),
        created_at: Some(time(revision.created_at)),
        container_images: Some(images.collect()),
        propagate_tags: said.map(|said| match said.propagate_tags {
            PropagateTags::Service => DaemonPropagateTags::Daemon,
            PropagateTags::None | PropagateTags::TaskDefinition => DaemonPropagateTags::None,
        }),
        enable_ecs_managed_tags: said.map(|said| said.enable_ecs_managed_tags),
        enable_execute_command: Some(false),
        critical: said.map(|said| said.settings.critical),
    }
}

/// A deployment, with the hosts of its revisions as they are now, or how many they were when it was over.
pub(in crate::api::ecs) fn daemon_deployment(
    state: &ClusterState,
    daemon: &Service,
    deployment: &ServiceDeployment,
) -> DaemonDeployment {
    let sources = deployment.sources.iter();
    let sources = sources.map(|source| revision_detail(state, daemon, deployment, &source.id, source.tasks));
    let target = || revision_detail(state, daemon, deployment, deployment.id(), deployment.tasks);
    DaemonDeployment {
        daemon_deployment_arn: Some(daemon.key.service_deployment_arn(deployment.id())),
        cluster_arn: Some(daemon.key.cluster.arn()),
        status: Some(daemon_deployment_status(deployment.status)),
        status_reason: deployment.status_reason.clone(),
        target_daemon_revision: (!is_deletion(daemon, deployment)).then(target),
        source_daemon_revisions: Some(sources.collect()),
        circuit_breaker: Some(circuit_breaker(daemon, deployment)),
        alarms: Some(DaemonDeploymentAlarms {
            status: Some(BreakerStatus::Disabled),
            alarm_names: Some(vec![]),
            triggered_alarm_names: Some(vec![]),
        }),
        rollback: rollback(daemon, deployment),
        deployment_configuration: Some(DaemonDeploymentConfiguration {
            drain_percent: deployment.revision.daemon.map(|said| said.settings.drain.percent()),
            bake_time_in_minutes: count(deployment.configuration.bake_minutes),
            alarms: None,
        }),
        created_at: Some(time(deployment.created_at)),
        started_at: deployment.started_at.map(time),
        stopped_at: deployment.stopped_at.map(time),
        finished_at: deployment.finished_at.map(time),
    }
}

/// Whether a deployment deletes its daemon: then it is the last, and brings no revision.
fn is_deletion(daemon: &Service, deployment: &ServiceDeployment) -> bool {
    let newest = daemon.current_service_deployment();
    daemon.status != ServiceStatus::Active && newest.is_some_and(|newest| newest.id() == deployment.id())
}

fn revision_detail(
    state: &ClusterState,
    daemon: &Service,
    deployment: &ServiceDeployment,
    id: &DeploymentId,
    at_the_end: TaskCounts,
) -> DaemonDeploymentRevisionDetail {
    let arn = Some(daemon.key.service_revision_arn(id));
    let known = daemon.service_deployment(id).map(|known| &known.revision);
    let Some(revision) = known.filter(|_| !deployment.status.is_over()) else {
        return DaemonDeploymentRevisionDetail {
            arn,
            total_running_instance_count: count(at_the_end.running),
            ..Default::default()
        };
    };
    let pools = hosts_of(state, daemon, revision);
    let total = pools.iter().fold(Hosts::default(), |sum, (_, hosts)| sum.and(hosts));
    let pool = |(name, hosts): &(CapacityProviderName, Hosts)| DaemonDeploymentCapacityProvider {
        arn: Some(arn_of(daemon, name)),
        running_instance_count: count(hosts.running),
        without_daemon_instance_count: count(hosts.without),
        draining_instance_count: count(hosts.draining),
    };
    DaemonDeploymentRevisionDetail {
        arn,
        capacity_providers: Some(pools.iter().map(pool).collect()),
        total_running_instance_count: count(total.running),
        total_without_daemon_instance_count: count(total.without),
        total_draining_instance_count: count(total.draining),
    }
}

fn circuit_breaker(daemon: &Service, deployment: &ServiceDeployment) -> DaemonCircuitBreaker {
    let failures = deployment.failures.unwrap_or_else(|| CountedFailures {
        failed_tasks: daemon.deployment(deployment.id()).map_or(0, |d| d.failed_tasks),
        threshold: daemon
            .deployment_configuration
            .circuit_breaker
            .threshold_for(daemon.desired_count),
        triggered: false,
    });
    DaemonCircuitBreaker {
        failure_count: count(failures.failed_tasks),
        status: Some(match failures.triggered {
            true => BreakerStatus::Triggered,
            false if deployment.status.is_over() => BreakerStatus::MonitoringComplete,
            false => BreakerStatus::Monitoring,
        }),
        threshold: count(failures.threshold),
    }
}

fn rollback(daemon: &Service, deployment: &ServiceDeployment) -> Option<DaemonRollback> {
    let rollback = deployment.rollback.as_ref()?;
    let target = daemon.service_deployment(&rollback.revision);
    let pools = target.map(|target| {
        let names = target.revision.capacity_provider_strategy.iter();
        names.map(|item| arn_of(daemon, &item.capacity_provider)).collect()
    });
    Some(DaemonRollback {
        reason: Some(rollback.reason.clone()),
        started_at: Some(time(rollback.started_at)),
        rollback_target_daemon_revision_arn: Some(daemon.key.service_revision_arn(&rollback.revision)),
        rollback_capacity_providers: pools,
    })
}

/// What lists of deployments show of one.
pub(in crate::api::ecs) fn daemon_deployment_summary(
    daemon: &Service,
    deployment: &ServiceDeployment,
) -> DaemonDeploymentSummary {
    let target = daemon.key.service_revision_arn(deployment.id());
    DaemonDeploymentSummary {
        daemon_deployment_arn: Some(daemon.key.service_deployment_arn(deployment.id())),
        daemon_arn: Some(daemon.key.arn()),
        cluster_arn: Some(daemon.key.cluster.arn()),
        status: Some(daemon_deployment_status(deployment.status)),
        status_reason: deployment.status_reason.clone(),
        target_daemon_revision_arn: Some(target).filter(|_| !is_deletion(daemon, deployment)),
        created_at: Some(time(deployment.created_at)),
        started_at: deployment.started_at.map(time),
        stopped_at: deployment.stopped_at.map(time),
        finished_at: deployment.finished_at.map(time),
    }
}

/// A status in ECS's words. Nobody can ask for the rollback of a daemon.
pub(in crate::api::ecs) fn daemon_deployment_status(status: ServiceDeploymentStatus) -> AwsStatus {
    match status {
        ServiceDeploymentStatus::Pending => AwsStatus::Pending,
        ServiceDeploymentStatus::InProgress => AwsStatus::InProgress,
        ServiceDeploymentStatus::Successful => AwsStatus::Successful,
        ServiceDeploymentStatus::StopRequested => AwsStatus::StopRequested,
        ServiceDeploymentStatus::Stopped => AwsStatus::Stopped,
        ServiceDeploymentStatus::RollbackRequested | ServiceDeploymentStatus::RollbackInProgress => {
            AwsStatus::RollbackInProgress
        }
        ServiceDeploymentStatus::RollbackSuccessful => AwsStatus::RollbackSuccessful,
        ServiceDeploymentStatus::RollbackFailed => AwsStatus::RollbackFailed,
    }
}
