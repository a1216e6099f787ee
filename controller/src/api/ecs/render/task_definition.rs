//! Task definitions in answers. Pure.

use berth_aws::ecs::{
    Attribute, Compatibility, ContainerCondition, ContainerDefinition as AwsContainer,
    ContainerDependency as AwsContainerDependency, ContainerRestartPolicy, HealthCheck as AwsHealthCheck, KeyValuePair,
    NetworkMode as AwsNetworkMode, PortMapping as AwsPortMapping, TaskDefinition as AwsTaskDefinition,
    TaskDefinitionStatus as AwsStatus,
};
use berth_core::model::{
    ContainerDefinition, ContainerDependency, DependencyCondition, HealthCheck, NetworkMode, PlacementConstraint,
    PortMapping, RestartPolicy, TaskDefinition, TaskDefinitionStatus,
};

use super::{count, protocol, time, unless_empty};
use crate::api::ecs::definition::{also_given, fargate, runtime_platform};
use crate::api::ecs::placement;

/// How the names of attributes begin that say what a host can do.
const CAPABILITY: &str = "ecs.capability.";

/// A task definition.
pub(in crate::api) fn task_definition(definition: &TaskDefinition) -> AwsTaskDefinition {
    let shown = what_is_honoured(definition);
    if definition.also_given.is_empty() {
        return shown;
    }
    also_given::add(shown, &definition.also_given)
}

fn what_is_honoured(definition: &TaskDefinition) -> AwsTaskDefinition {
    let required = definition.requires_compatibilities.iter();
    let required: Vec<Compatibility> = required.filter_map(|name| name.parse().ok()).collect();
    AwsTaskDefinition {
        task_definition_arn: Some(definition.key.arn()),
        container_definitions: Some(
            definition
                .containers
                .iter()
                .map(|c| container(definition.network_mode, c))
                .collect(),
        ),
        family: Some(definition.key.family.as_str().to_owned()),
        revision: count(definition.key.revision),
        network_mode: definition
            .network_mode_given
            .then(|| network_mode(definition.network_mode)),
        volumes: Some(vec![]),
        status: Some(match definition.status {
            TaskDefinitionStatus::Active => AwsStatus::Active,
            TaskDefinitionStatus::Inactive => AwsStatus::Inactive,
            TaskDefinitionStatus::DeleteInProgress => AwsStatus::DeleteInProgress,
        }),
        requires_attributes: Some(required_attributes(definition)),
        placement_constraints: Some(placement::render_of_definition(&definition.placement_constraints)),
        compatibilities: Some(compatibilities(definition)),
        requires_compatibilities: unless_empty(&required),
        runtime_platform: definition.runtime_platform.map(runtime_platform::render),
        cpu: definition.cpu.map(|cpu| cpu.0.to_string()),
        memory: definition.memory.map(|memory| memory.0.to_string()),
        registered_at: Some(time(definition.registered_at)),
        deregistered_at: definition.deregistered_at.map(time),
        registered_by: Some(definition.registered_by.clone()),
        ..Default::default()
    }
}

/// What hosts have to be able to do, as ECS names it.
fn required_attributes(definition: &TaskDefinition) -> Vec<Attribute> {
    let needed = definition.required_attributes(None, None, &[]);
    let names = needed.into_iter().filter_map(|constraint| match constraint {
        PlacementConstraint::Attribute { name, .. } => Some(name).filter(|name| name.starts_with(CAPABILITY)),
        PlacementConstraint::DistinctInstance | PlacementConstraint::MemberOf { .. } => None,
    });
    let attribute = |name| Attribute {
        name: Some(name),
        ..Default::default()
    };
    names.map(attribute).collect()
}

/// The launch types that it could run on; hosts elsewhere cannot give tasks addresses of their own (ECS's rule).
fn compatibilities(definition: &TaskDefinition) -> Vec<Compatibility> {
    match definition.network_mode {
        NetworkMode::Awsvpc if fargate::check(definition).is_ok() => vec![Compatibility::Ec2, Compatibility::Fargate],
        NetworkMode::Awsvpc => vec![Compatibility::Ec2],
        NetworkMode::None | NetworkMode::Host | NetworkMode::Bridge => {
            vec![Compatibility::External, Compatibility::Ec2]
        }
    }
}

fn network_mode(mode: NetworkMode) -> AwsNetworkMode {
    match mode {
        NetworkMode::None => AwsNetworkMode::None,
        NetworkMode::Host => AwsNetworkMode::Host,
        NetworkMode::Bridge => AwsNetworkMode::Bridge,
        NetworkMode::Awsvpc => AwsNetworkMode::Awsvpc,
    }
}

fn container(mode: NetworkMode, container: &ContainerDefinition) -> AwsContainer {
    let variable = |(name, value): &(String, String)| KeyValuePair {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    AwsContainer {
        name: Some(container.name.clone()),
        image: Some(container.image.clone()),
        cpu: count(container.cpu.0),
        memory: container.memory.and_then(|memory| count(memory.0)),
        memory_reservation: container.memory_reservation.and_then(|memory| count(memory.0)),
        port_mappings: Some(container.port_mappings.iter().map(|m| port_mapping(mode, m)).collect()),
        essential: Some(container.essential),
        entry_point: unless_empty(&container.entry_point),
        command: unless_empty(&container.command),
        environment: Some(container.environment.iter().map(variable).collect()),
        mount_points: Some(vec![]),
        volumes_from: Some(vec![]),
        system_controls: Some(vec![]),
        stop_timeout: container.stop_timeout_secs.and_then(count),
        user: container.user.clone(),
        working_directory: container.working_directory.clone(),
        restart_policy: container.restart_policy.as_ref().map(restart_policy),
        health_check: container.health_check.as_ref().map(health_check),
        depends_on: unless_empty(&container.depends_on.iter().map(dependency).collect::<Vec<_>>()),
        start_timeout: container.start_timeout_secs.and_then(count),
        docker_labels: (!container.docker_labels.is_empty()).then(|| container.docker_labels.clone()),
        ..Default::default()
    }
}

fn restart_policy(policy: &RestartPolicy) -> ContainerRestartPolicy {
    ContainerRestartPolicy {
        enabled: Some(policy.enabled),
        ignored_exit_codes: unless_empty(&policy.ignored_exit_codes),
        restart_attempt_period: policy.attempt_period_secs.and_then(count),
    }
}

/// With its defaults, as ECS shows it.
fn health_check(check: &HealthCheck) -> AwsHealthCheck {
    AwsHealthCheck {
        command: Some(check.command.clone()),
        interval: count(check.interval_secs),
        timeout: count(check.timeout_secs),
        retries: count(check.retries),
        start_period: check.start_period_secs.and_then(count),
    }
}

fn dependency(dependency: &ContainerDependency) -> AwsContainerDependency {
    AwsContainerDependency {
        container_name: Some(dependency.container_name.clone()),
        condition: Some(match dependency.condition {
            DependencyCondition::Start => ContainerCondition::Start,
            DependencyCondition::Complete => ContainerCondition::Complete,
            DependencyCondition::Success => ContainerCondition::Success,
            DependencyCondition::Healthy => ContainerCondition::Healthy,
        }),
    }
}

fn port_mapping(mode: NetworkMode, mapping: &PortMapping) -> AwsPortMapping {
    let unnamed = match mode {
        NetworkMode::Host | NetworkMode::Awsvpc => mapping.container_port,
        NetworkMode::Bridge | NetworkMode::None => 0,
    };
    AwsPortMapping {
        container_port: Some(mapping.container_port.into()),
        host_port: Some(mapping.host_port.unwrap_or(unnamed).into()),
        protocol: Some(protocol(mapping.protocol)),
        name: mapping.name.clone(),
        ..Default::default()
    }
}
