//! Tasks in answers. Pure.

use berth_aws::ecs::{
    Attribute, Connectivity, Container as AwsContainer, ContainerOverride as AwsContainerOverride,
    HealthStatus as AwsHealthStatus, KeyValuePair, NetworkBinding as AwsNetworkBinding, Task as AwsTask,
    TaskOverride as AwsTaskOverride,
};
use berth_core::model::{
    Container, ContainerInstance, ContainerOverride, FARGATE, HealthStatus, NetworkBinding, Task, TaskDefinition,
    attribute_names,
};
use berth_core::state::ClusterState;

use super::{count, network_interface, protocol, time, unless_empty};
use crate::api::ecs::{launch_type, tags};

/// A task; its tags only where they were asked for.
pub(in crate::api) fn task(state: &ClusterState, task: &Task, with_tags: bool) -> AwsTask {
    let host = task.container_instance.and_then(|id| state.container_instance(id));
    let definition = state.task_definition(&task.task_definition);
    task_on(task, host.map(AsRef::as_ref), definition.map(AsRef::as_ref), with_tags)
}

/// The same, where host and definition are known.
pub(super) fn task_on(
    task: &Task,
    host: Option<&ContainerInstance>,
    definition: Option<&TaskDefinition>,
    with_tags: bool,
) -> AwsTask {
    let containers = task.containers.iter().enumerate();
    let launched = task.launch_type.as_deref();
    let (platform_version, platform_family) = launch_type::resolved_platform(launched);
    // As on ECS, where it runs is nobody's business but the one's who has the hosts.
    let shown_host = host.filter(|_| launched != Some(FARGATE));
    AwsTask {
        attachments: Some(network_interface::attachment(task, definition).into_iter().collect()),
        attributes: Some(host.map(attributes).unwrap_or_default()),
        availability_zone: host.and_then(|host| host.availability_zone()).map(str::to_owned),
        capacity_provider_name: task.capacity_provider.as_ref().map(ToString::to_string),
        cluster_arn: Some(task.cluster.arn()),
        connectivity: host.map(connectivity),
        connectivity_at: host.map(|host| {
            time(
                host.connection_changed_at
                    .max(task.placed_at.unwrap_or(task.created_at)),
            )
        }),
        container_instance_arn: shown_host.map(|host| host.arn()),
        containers: Some(
            containers
                .map(|(index, c)| container(task, definition, index, c))
                .collect(),
        ),
        cpu: Some(task.reservation.cpu.0.to_string()),
        created_at: Some(time(task.created_at)),
        desired_status: Some(task.desired_status.as_str().to_owned()),
        enable_execute_command: Some(false),
        execution_stopped_at: task.execution_stopped_at.map(time),
        group: Some(task.group.clone()),
        health_status: Some(health_status(task.health.map(|health| health.status))),
        last_status: Some(task.last_status.as_str().to_owned()),
        launch_type: Some(launch_type::render(launched)),
        memory: Some(task.reservation.memory.0.to_string()),
        overrides: Some(overrides(task)),
        platform_family,
        platform_version,
        pull_started_at: task.pull_started_at.map(time),
        pull_stopped_at: task.pull_stopped_at.map(time),
        started_at: task.started_at.map(time),
        started_by: task.started_by.clone(),
        stop_code: task.stop_code.and_then(|code| code.as_str().parse().ok()),
        stopped_at: task.stopped_at.map(time),
        stopped_reason: task.stopped_reason.clone(),
        stopping_at: task.stopping_at.map(time),
        tags: Some(if with_tags { tags::render(&task.tags) } else { vec![] }),
        task_arn: Some(task.arn()),
        task_definition_arn: Some(task.task_definition.arn()),
        version: Some(i64::try_from(task.version).unwrap_or(i64::MAX)),
        ..Default::default()
    }
}

/// What has no health check is `UNKNOWN` to ECS.
fn health_status(status: Option<HealthStatus>) -> AwsHealthStatus {
    match status {
        Some(HealthStatus::Healthy) => AwsHealthStatus::Healthy,
        Some(HealthStatus::Unhealthy) => AwsHealthStatus::Unhealthy,
        Some(HealthStatus::Unknown) | None => AwsHealthStatus::Unknown,
    }
}

fn attributes(host: &ContainerInstance) -> Vec<Attribute> {
    let value = host.attribute(attribute_names::CPU_ARCHITECTURE).flatten();
    let attribute = |value: &str| Attribute {
        name: Some(attribute_names::CPU_ARCHITECTURE.to_owned()),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    value.map(attribute).into_iter().collect()
}

fn connectivity(host: &ContainerInstance) -> Connectivity {
    match host.agent_connected {
        true => Connectivity::Connected,
        false => Connectivity::Disconnected,
    }
}

fn container(task: &Task, definition: Option<&TaskDefinition>, index: usize, container: &Container) -> AwsContainer {
    let defined = definition.and_then(|d| d.container(&container.name));
    let changed = task.overrides.containers.iter().find(|o| *o.name == *container.name);
    let cpu = changed.and_then(|o| o.cpu).or(defined.map(|c| c.cpu));
    let memory = changed.and_then(|o| o.memory).or_else(|| defined?.memory);
    let reserved = changed
        .and_then(|o| o.memory_reservation)
        .or_else(|| defined?.memory_reservation);
    AwsContainer {
        container_arn: Some(container_arn(task, index)),
        task_arn: Some(task.arn()),
        name: Some(container.name.to_string()),
        image: Some(container.image.to_string()),
        image_digest: container.image_digest.as_deref().map(str::to_owned),
        runtime_id: container.runtime_id.clone(),
        last_status: Some(container.last_status.as_str().to_owned()),
        exit_code: container.exit_code,
        reason: container.reason.clone(),
        network_bindings: Some(container.network_bindings.iter().map(network_binding).collect()),
        network_interfaces: Some(network_interface::of_container(task).into_iter().collect()),
        health_status: Some(health_status(container.health)),
        cpu: cpu.map(|cpu| cpu.0.to_string()),
        memory: memory.map(|memory| memory.0.to_string()),
        memory_reservation: reserved.map(|memory| memory.0.to_string()),
        ..Default::default()
    }
}

/// A container has no id of its own in the state: its place in the task makes one that stays.
fn container_arn(task: &Task, index: usize) -> String {
    let uuid = uuid_of(task, index as u128 + 1);
    task.cluster.arn_of("container", format_args!("{}/{uuid}", task.id))
}

/// What belongs to a task and has no id in the state, told from others of it by a number that stays.
pub(super) fn uuid_of(task: &Task, number: u128) -> String {
    let id = format!("{:032x}", task.id.0 ^ number);
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

fn network_binding(binding: &NetworkBinding) -> AwsNetworkBinding {
    AwsNetworkBinding {
        bind_ip: Some(binding.bind_ip.clone()),
        container_port: Some(binding.container_port.into()),
        host_port: Some(binding.host_port.into()),
        protocol: Some(protocol(binding.protocol)),
        ..Default::default()
    }
}

/// ECS names every container in the overrides, those without any included.
fn overrides(task: &Task) -> AwsTaskOverride {
    let of = |container: &Container| {
        let changed = task.overrides.containers.iter().find(|o| *o.name == *container.name);
        changed.map_or_else(
            || AwsContainerOverride {
                name: Some(container.name.to_string()),
                ..Default::default()
            },
            container_override,
        )
    };
    AwsTaskOverride {
        container_overrides: Some(task.containers.iter().map(of).collect()),
        inference_accelerator_overrides: Some(vec![]),
        cpu: task.overrides.cpu.map(|cpu| cpu.0.to_string()),
        memory: task.overrides.memory.map(|memory| memory.0.to_string()),
        ..Default::default()
    }
}

fn container_override(changed: &ContainerOverride) -> AwsContainerOverride {
    let variable = |(name, value): &(String, String)| KeyValuePair {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    let environment: Vec<KeyValuePair> = changed.environment.iter().map(variable).collect();
    AwsContainerOverride {
        name: Some(changed.name.clone()),
        command: changed.command.clone(),
        environment: unless_empty(&environment),
        cpu: changed.cpu.and_then(|cpu| count(cpu.0)),
        memory: changed.memory.and_then(|memory| count(memory.0)),
        memory_reservation: changed.memory_reservation.and_then(|memory| count(memory.0)),
        ..Default::default()
    }
}
