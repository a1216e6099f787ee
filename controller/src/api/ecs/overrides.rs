//! Overrides of a task: read, held against the task definition, merged into what is reserved, and shown. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{ContainerOverride as AwsContainerOverride, KeyValuePair, TaskOverride as AwsTaskOverride};
use berth_core::model::{ContainerOverride, Resources, TaskDefinition, TaskOverride};

use super::definition::quantity;
use crate::api::errors::{client, invalid};
use crate::api::members::Honoured;

/// What Berth honours of overrides.
pub(super) const HONOURED: Honoured = Honoured::Members(&[
    ("cpu", Honoured::All),
    ("memory", Honoured::All),
    (
        "containerOverrides",
        Honoured::Members(&[
            ("name", Honoured::All),
            ("command", Honoured::All),
            ("environment", Honoured::All),
            ("cpu", Honoured::All),
            ("memory", Honoured::All),
            ("memoryReservation", Honoured::All),
        ]),
    ),
]);
/// Largest overrides in bytes (ECS: 8,192 characters, the JSON included).
const MAX_BYTES: usize = 8192;

/// Reads the overrides of a task of `definition`.
///
/// # Errors
/// `InvalidParameterException` for a container that the definition does not have; `ClientException` for values out of range.
pub(super) fn from_request(
    definition: &TaskDefinition,
    given: Option<AwsTaskOverride>,
) -> Result<TaskOverride, AwsError> {
    let given = given.unwrap_or_default();
    if serde_json::to_vec(&given).map_or(0, |json| json.len()) > MAX_BYTES {
        return Err(invalid(format!(
            "The overrides are longer than {MAX_BYTES} characters."
        )));
    }
    let mut containers: Vec<ContainerOverride> = vec![];
    for container in given.container_overrides.unwrap_or_default() {
        let container = container_override(definition, container)?;
        if containers.iter().any(|known| known.name == container.name) {
            return Err(invalid(format!(
                "There are two overrides for the container {}.",
                container.name
            )));
        }
        containers.push(container);
    }
    Ok(TaskOverride {
        cpu: given.cpu.as_deref().map(quantity::task_cpu).transpose()?,
        memory: given.memory.as_deref().map(quantity::task_memory).transpose()?,
        containers,
    })
}

fn container_override(definition: &TaskDefinition, given: AwsContainerOverride) -> Result<ContainerOverride, AwsError> {
    let name = given.name.unwrap_or_default();
    if definition.container(&name).is_none() {
        return Err(invalid(format!(
            "Override for container named {name} is not a container in the TaskDefinition."
        )));
    }
    let memory = |member, mib: Option<i32>| {
        mib.map(|mib| quantity::container_memory(&name, member, mib))
            .transpose()
    };
    Ok(ContainerOverride {
        command: given.command,
        environment: environment(&name, given.environment)?,
        cpu: given
            .cpu
            .map(|units| quantity::container_cpu(&name, units))
            .transpose()?,
        memory: memory("memory", given.memory)?,
        memory_reservation: memory("memoryReservation", given.memory_reservation)?,
        name,
    })
}

/// Environment variables, in the order given.
///
/// # Errors
/// `ClientException` for a variable without a name.
pub(super) fn environment(
    container: &str,
    given: Option<Vec<KeyValuePair>>,
) -> Result<Vec<(String, String)>, AwsError> {
    let pair = |pair: KeyValuePair| match pair.name.filter(|name| !name.is_empty() && !name.contains(['=', '\0'])) {
        Some(name) => Ok((name, pair.value.unwrap_or_default())),
        None => Err(client(format!(
            "Invalid setting for container '{container}'. The name of an environment variable must not be empty or contain '='."
        ))),
    };
    given.unwrap_or_default().into_iter().map(pair).collect()
}

/// What a task of `definition` with these overrides reserves on its host.
pub(super) fn reservation(definition: &TaskDefinition, overrides: &TaskOverride) -> Resources {
    let mut merged = definition.clone();
    merged.cpu = overrides.cpu.or(merged.cpu);
    merged.memory = overrides.memory.or(merged.memory);
    for container in &mut merged.containers {
        let Some(other) = overrides.containers.iter().find(|o| o.name == container.name) else {
            continue;
        };
        container.cpu = other.cpu.unwrap_or(container.cpu);
        container.memory = other.memory.or(container.memory);
        container.memory_reservation = other.memory_reservation.or(container.memory_reservation);
    }
    merged.reservation()
}
