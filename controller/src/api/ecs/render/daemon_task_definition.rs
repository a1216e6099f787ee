//! Daemon task definitions in answers. Pure.

use berth_aws::ecs::{
    ContainerDefinition as AwsContainer, DaemonContainerDefinition, DaemonTaskDefinition, DaemonTaskDefinitionStatus,
    DaemonTaskDefinitionSummary,
};
use berth_core::model::{TaskDefinition, TaskDefinitionStatus};

use super::{task_definition, time};
use crate::api::ecs::definition::also_given;

/// A daemon task definition; deleted where no daemon uses it any more.
pub(in crate::api::ecs) fn daemon_task_definition(
    definition: &TaskDefinition,
    is_unused: bool,
) -> DaemonTaskDefinition {
    let as_of_tasks = TaskDefinition {
        also_given: String::new(),
        ..definition.clone()
    };
    let shown = task_definition(&as_of_tasks);
    let containers = shown.container_definitions.unwrap_or_default();
    let shown = DaemonTaskDefinition {
        daemon_task_definition_arn: shown.task_definition_arn,
        family: definition.key.family.of_daemons().map(str::to_owned),
        revision: shown.revision,
        container_definitions: Some(containers.into_iter().map(container).collect()),
        volumes: shown.volumes.map(|_| vec![]),
        cpu: shown.cpu,
        memory: shown.memory,
        status: Some(daemon_task_definition_status(definition, is_unused)),
        registered_at: shown.registered_at,
        delete_requested_at: definition.deregistered_at.map(time),
        registered_by: shown.registered_by,
        ..Default::default()
    };
    match definition.also_given.is_empty() {
        true => shown,
        false => also_given::add(shown, &definition.also_given),
    }
}

/// What lists of daemon task definitions show of one.
pub(in crate::api::ecs) fn daemon_task_definition_summary(
    definition: &TaskDefinition,
    is_unused: bool,
) -> DaemonTaskDefinitionSummary {
    DaemonTaskDefinitionSummary {
        arn: Some(definition.key.arn()),
        registered_at: Some(time(definition.registered_at)),
        registered_by: Some(definition.registered_by.clone()),
        delete_requested_at: definition.deregistered_at.map(time),
        status: Some(daemon_task_definition_status(definition, is_unused)),
    }
}

/// A status in ECS's words.
pub(in crate::api::ecs) fn daemon_task_definition_status(
    definition: &TaskDefinition,
    is_unused: bool,
) -> DaemonTaskDefinitionStatus {
    match definition.status {
        TaskDefinitionStatus::Active => DaemonTaskDefinitionStatus::Active,
        _ if is_unused => DaemonTaskDefinitionStatus::Deleted,
        _ => DaemonTaskDefinitionStatus::DeleteInProgress,
    }
}

fn container(shown: AwsContainer) -> DaemonContainerDefinition {
    DaemonContainerDefinition {
        name: shown.name,
        image: shown.image,
        memory: shown.memory,
        memory_reservation: shown.memory_reservation,
        health_check: shown.health_check,
        cpu: shown.cpu,
        essential: shown.essential,
        entry_point: shown.entry_point,
        command: shown.command,
        working_directory: shown.working_directory,
        environment: shown.environment,
        mount_points: shown.mount_points,
        user: shown.user,
        depends_on: shown.depends_on,
        start_timeout: shown.start_timeout,
        stop_timeout: shown.stop_timeout,
        system_controls: shown.system_controls,
        restart_policy: shown.restart_policy,
        ..Default::default()
    }
}
