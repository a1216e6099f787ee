//! Task definitions as requests carry them: ECS's rules, in ECS's words, and what the model keeps. Pure.

pub(in crate::api::ecs) mod also_given;
mod container;
pub(super) mod daemon;
mod dependencies;
pub(in crate::api::ecs) mod fargate;
mod health_check;
mod ports;
pub(super) mod quantity;
mod restart_policy;
pub(in crate::api::ecs) mod runtime_platform;

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::ecs::{NetworkMode as AwsNetworkMode, RegisterTaskDefinitionRequest};
use berth_core::model::{
    ContainerDefinition, FARGATE, NetworkMode, TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus,
};

use super::tags::{self, Carrier};
use super::{names, placement, render};
use crate::api::context::Call;
use crate::api::errors::client;
use crate::api::members::{Honoured, refuse_others};

/// Most containers of a task definition (ECS: 10).
const MAX_CONTAINERS: usize = 10;
/// Largest task definition in bytes (ECS: 64 KiB).
const MAX_BYTES: usize = 64 * 1024;

/// What Berth honours of a task definition; all else is refused by name.
const HONOURED: Honoured = Honoured::Members(&[
    ("family", Honoured::All),
    ("networkMode", Honoured::All),
    ("cpu", Honoured::All),
    ("memory", Honoured::All),
    ("tags", Honoured::All),
    ("placementConstraints", Honoured::All),
    (
        "runtimePlatform",
        Honoured::Members(&[
            ("cpuArchitecture", Honoured::All),
            ("operatingSystemFamily", Honoured::All),
        ]),
    ),
    (
        "requiresCompatibilities",
        Honoured::Only(&["EC2", "EXTERNAL", "FARGATE"]),
    ),
    (
        "containerDefinitions",
        Honoured::Members(&[
            ("name", Honoured::All),
            ("image", Honoured::All),
            ("cpu", Honoured::All),
            ("memory", Honoured::All),
            ("memoryReservation", Honoured::All),
            ("essential", Honoured::All),
            ("entryPoint", Honoured::All),
            ("command", Honoured::All),
            ("environment", Honoured::All),
            ("workingDirectory", Honoured::All),
            ("user", Honoured::All),
            ("stopTimeout", Honoured::All),
            ("dockerLabels", Honoured::All),
            ("restartPolicy", Honoured::All),
            ("healthCheck", Honoured::All),
            ("dependsOn", Honoured::All),
            ("startTimeout", Honoured::All),
            ("versionConsistency", Honoured::Only(&["disabled"])),
            (
                "portMappings",
                Honoured::Members(&[
                    ("containerPort", Honoured::All),
                    ("hostPort", Honoured::All),
                    ("protocol", Honoured::All),
                    ("name", Honoured::All),
                ]),
            ),
        ]),
    ),
]);

/// Reads a task definition; its revision is 0 until the state gives it one.
///
/// # Errors
/// `ClientException` or `InvalidParameterException` for what ECS refuses, and for members that Berth does not honour.
pub(super) fn from_request(call: &Call, input: RegisterTaskDefinitionRequest) -> Result<TaskDefinition, AwsError> {
    check_size(&input)?;
    refuse_others(&input, &HONOURED)?;
    let given = input.clone();
    let family = input.family.unwrap_or_default();
    check_name("Family", &family)?;
    let network_mode = network_mode(input.network_mode);
    let containers: Vec<ContainerDefinition> = input
        .container_definitions
        .unwrap_or_default()
        .into_iter()
        .map(|container| container::from_request(network_mode, container))
        .collect::<Result<_, _>>()?;
    let requires = input.requires_compatibilities.unwrap_or_default();
    let mut definition = TaskDefinition {
        key: TaskDefinitionKey {
            scope: call.scope.clone(),
            family: family.into(),
            revision: 0,
        },
        status: TaskDefinitionStatus::Active,
        containers,
        network_mode,
        network_mode_given: input.network_mode.is_some(),
        cpu: input.cpu.as_deref().map(quantity::task_cpu).transpose()?,
        memory: input.memory.as_deref().map(quantity::task_memory).transpose()?,
        runtime_platform: runtime_platform::from_request(input.runtime_platform)?,
        placement_constraints: placement::of_definition(input.placement_constraints.unwrap_or_default())?,
        requires_compatibilities: requires.iter().map(|c| c.as_str().to_owned()).collect(),
        tags: tags::from_request(Carrier::TaskDefinition, input.tags)?,
        registered_at: call.now,
        deregistered_at: None,
        registered_by: call.caller_arn.clone(),
        also_given: String::new(),
    };
    check_containers(&definition)?;
    dependencies::check(&definition.containers)?;
    // Without sizes of the task, that is what to say, and not that its containers have none either.
    if definition.requires_compatibilities.iter().any(|name| name == FARGATE) {
        fargate::check(&definition)?;
    }
    check_memory(&definition)?;
    check_cpu(&definition)?;
    check_host_ports(&definition)?;
    check_network_mode(&definition)?;
    definition.also_given = also_given::of(&given, &render::task_definition(&definition));
    Ok(definition)
}

fn check_size(input: &RegisterTaskDefinitionRequest) -> Result<(), AwsError> {
    let bytes = serde_json::to_vec(input).map_or(0, |json| json.len());
    if bytes > MAX_BYTES {
        return Err(client(format!(
            "Actual length: '{bytes}' bytes. Max allowed length is '{MAX_BYTES}' bytes."
        )));
    }
    Ok(())
}

/// Refuses a name that is empty, too long, or has more than letters, digits, hyphens and underscores.
fn check_name(what: &str, name: &str) -> Result<(), AwsError> {
    if name.is_empty() {
        return Err(client(format!("{what} should not be null or empty.")));
    }
    if name.len() > names::MAX_NAME {
        return Err(client(format!(
            "{what} should not be longer than {} characters.",
            names::MAX_NAME
        )));
    }
    if !names::has_only_allowed(name) {
        return Err(client(format!("{what} contains invalid characters.")));
    }
    Ok(())
}

fn network_mode(given: Option<AwsNetworkMode>) -> NetworkMode {
    match given {
        None | Some(AwsNetworkMode::Bridge) => NetworkMode::Bridge,
        Some(AwsNetworkMode::Host) => NetworkMode::Host,
        Some(AwsNetworkMode::None) => NetworkMode::None,
        Some(AwsNetworkMode::Awsvpc) => NetworkMode::Awsvpc,
    }
}

fn check_containers(definition: &TaskDefinition) -> Result<(), AwsError> {
    let containers = &definition.containers;
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(client(format!(
            "A task definition can have at most {MAX_CONTAINERS} containers, not {}.",
            containers.len()
        )));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = containers.iter().find(|c| !names.insert(&c.name)) {
        return Err(client(format!(
            "Container names must be unique: '{}' is there twice.",
            twice.name
        )));
    }
    if !containers.iter().any(|c| c.essential) {
        return Err(client("At least one container must be marked as essential."));
    }
    Ok(())
}

fn check_memory(definition: &TaskDefinition) -> Result<(), AwsError> {
    for container in &definition.containers {
        let name = &container.name;
        if definition.memory.is_none() && container.memory.or(container.memory_reservation).is_none() {
            return Err(client(format!(
                "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
            )));
        }
        if let (Some(soft), Some(hard)) = (container.memory_reservation, container.memory)
            && soft > hard
        {
            return Err(client(format!(
                "Invalid setting for container '{name}'. 'memoryReservation' ({} MiB) must not be greater than 'memory' ({} MiB).",
                soft.0, hard.0
            )));
        }
        if let (Some(hard), Some(task)) = (container.memory.or(container.memory_reservation), definition.memory)
            && hard > task
        {
            return Err(client(format!(
                "Invalid setting for container '{name}'. Its memory ({} MiB) must not be greater than the memory of the task ({} MiB).",
                hard.0, task.0
            )));
        }
    }
    let reserved: u64 = definition
        .containers
        .iter()
        .map(|c| u64::from(c.memory_reservation.or(c.memory).unwrap_or_default().0))
        .sum();
    match definition.memory {
        Some(task) if reserved > u64::from(task.0) => Err(client(format!(
            "The memory reserved for all containers ({reserved} MiB) must not be greater than the memory of the task ({} MiB).",
            task.0
        ))),
        _ => Ok(()),
    }
}

fn check_cpu(definition: &TaskDefinition) -> Result<(), AwsError> {
    let reserved: u64 = definition.containers.iter().map(|c| u64::from(c.cpu.0)).sum();
    match definition.cpu {
        Some(task) if reserved > u64::from(task.0) => Err(client(format!(
            "The cpu units reserved for all containers ({reserved}) must not be greater than those of the task ({}).",
            task.0
        ))),
        _ => Ok(()),
    }
}

/// ECS gives tasks an address of their own only where it has networks of its own.
fn check_network_mode(definition: &TaskDefinition) -> Result<(), AwsError> {
    let is_external = definition
        .requires_compatibilities
        .iter()
        .any(|name| name == "EXTERNAL");
    match definition.network_mode == NetworkMode::Awsvpc && is_external {
        true => Err(client(
            "When the launch type is EXTERNAL, the only supported network modes are bridge, host, and none.",
        )),
        false => Ok(()),
    }
}

/// A task that takes a host port twice could run nowhere.
fn check_host_ports(definition: &TaskDefinition) -> Result<(), AwsError> {
    let mut taken = BTreeSet::new();
    for container in &definition.containers {
        for mapping in &container.port_mappings {
            // Containers share the address of a task that has one.
            let (of, port) = match definition.network_mode {
                NetworkMode::Awsvpc => ("container", Some(mapping.container_port)),
                _ => ("host", definition.fixed_host_port(mapping)),
            };
            let Some(port) = port else { continue };
            if !taken.insert((mapping.protocol, port)) {
                let port = mapping.protocol.port(port);
                return Err(client(format!(
                    "Invalid setting for container '{}'. The {of} port {port} is used twice in the task definition.",
                    container.name
                )));
            }
        }
    }
    Ok(())
}
