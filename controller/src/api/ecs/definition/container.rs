//! One container of a task definition. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::ContainerDefinition as AwsContainer;
use berth_core::model::{ContainerDefinition, NetworkMode};

use super::{check_name, dependencies, health_check, ports, quantity, restart_policy};
use crate::api::ecs::overrides::environment;
use crate::api::errors::client;

/// Longest image reference (ECS: 255 characters).
const MAX_IMAGE: usize = 255;
/// Longest start or stop timeout that makes sense to wait for: a day.
const MAX_TIMEOUT_SECS: u32 = 24 * 60 * 60;

/// Reads a container, whose members have been checked to be honoured.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(super) fn from_request(mode: NetworkMode, given: AwsContainer) -> Result<ContainerDefinition, AwsError> {
    let name = given.name.unwrap_or_default();
    check_name("Container.name", &name)?;
    let image = given.image.unwrap_or_default();
    if image.trim().is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    if image.len() > MAX_IMAGE || image.contains(char::is_whitespace) {
        return Err(client("Container.image contains invalid characters."));
    }
    let memory = |member, mib: Option<i32>| {
        mib.map(|mib| quantity::container_memory(&name, member, mib))
            .transpose()
    };
    Ok(ContainerDefinition {
        cpu: quantity::container_cpu(&name, given.cpu.unwrap_or(0))?,
        memory: memory("memory", given.memory)?,
        memory_reservation: memory("memoryReservation", given.memory_reservation)?,
        essential: given.essential.unwrap_or(true),
        entry_point: given.entry_point.unwrap_or_default(),
        command: given.command.unwrap_or_default(),
        environment: environment(&name, given.environment)?,
        working_directory: given.working_directory.filter(|text| !text.is_empty()),
        user: given.user.filter(|text| !text.is_empty()),
        port_mappings: ports::from_request(mode, &name, given.port_mappings.unwrap_or_default())?,
        stop_timeout_secs: given
            .stop_timeout
            .map(|secs| timeout(&name, "stopTimeout", secs))
            .transpose()?,
        docker_labels: given.docker_labels.unwrap_or_default(),
        restart_policy: given
            .restart_policy
            .map(|policy| restart_policy::from_request(&name, policy))
            .transpose()?,
        health_check: given
            .health_check
            .map(|check| health_check::from_request(&name, check))
            .transpose()?,
        depends_on: dependencies::from_request(&name, given.depends_on.unwrap_or_default())?,
        start_timeout_secs: given
            .start_timeout
            .map(|secs| timeout(&name, "startTimeout", secs))
            .transpose()?,
        image,
        name,
    })
}

fn timeout(container: &str, member: &str, secs: i32) -> Result<u32, AwsError> {
    u32::try_from(secs)
        .ok()
        .filter(|secs| *secs <= MAX_TIMEOUT_SECS)
        .ok_or_else(|| {
            client(format!(
                "Invalid setting for container '{container}'. '{member}' must be between 0 and {MAX_TIMEOUT_SECS} seconds, not {secs}."
            ))
        })
}
