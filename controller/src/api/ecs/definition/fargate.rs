//! What the launch type FARGATE asks of a task definition (ECS's rules). Pure.

use berth_aws::AwsError;
use berth_core::model::{CpuUnits, MemoryMib, NetworkMode, TaskDefinition};

use crate::api::errors::client;

/// CPU units of tasks, and the least, the most and the step of the memory in MiB that goes with them (ECS's table). The smallest has 512 MiB as well.
const SIZES: [(u32, u32, u32, u32); 7] = [
    (256, 1_024, 2_048, 1_024),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
];
/// The memory of the smallest task.
const SMALLEST: (u32, u32) = (256, 512);
/// Longest start and stop timeout of a container (ECS: 120 s).
const MAX_TIMEOUT_SECS: u32 = 120;

/// Refuses a definition whose tasks could not be of the launch type FARGATE.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(in crate::api::ecs) fn check(definition: &TaskDefinition) -> Result<(), AwsError> {
    if definition.network_mode != NetworkMode::Awsvpc {
        return Err(client("Fargate only supports network mode 'awsvpc'."));
    }
    check_size(definition.cpu, definition.memory)?;
    if !definition.placement_constraints.is_empty() {
        return Err(client(
            "Fargate does not support placement constraints in a task definition.",
        ));
    }
    for container in &definition.containers {
        let timeouts = [
            ("startTimeout", container.start_timeout_secs),
            ("stopTimeout", container.stop_timeout_secs),
        ];
        for (member, secs) in timeouts {
            if let Some(secs) = secs.filter(|secs| *secs > MAX_TIMEOUT_SECS) {
                return Err(client(format!(
                    "Invalid setting for container '{}'. With Fargate '{member}' must not be greater than {MAX_TIMEOUT_SECS} seconds, not {secs}.",
                    container.name
                )));
            }
        }
    }
    Ok(())
}

/// Refuses a size that no task of the launch type FARGATE has.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(in crate::api::ecs) fn check_size(cpu: Option<CpuUnits>, memory: Option<MemoryMib>) -> Result<(), AwsError> {
    let needed = |what: &str| client(format!("Fargate requires that '{what}' be defined at the task level."));
    let cpu = cpu.ok_or_else(|| needed("cpu"))?.0;
    let memory = memory.ok_or_else(|| needed("memory"))?.0;
    let fits = |(units, least, most, step): &(u32, u32, u32, u32)| {
        *units == cpu && (*least..=*most).contains(&memory) && (memory - least) % step == 0
    };
    match SIZES.iter().any(fits) || (cpu, memory) == SMALLEST {
        true => Ok(()),
        false => Err(client(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. {}",
            possible(cpu)
        ))),
    }
}

/// Which memory would go with the CPU units.
fn possible(cpu: u32) -> String {
    match SIZES.iter().find(|(units, ..)| *units == cpu) {
        Some((_, least, most, step)) => {
            let or = if cpu == SMALLEST.0 { "512, or " } else { "" };
            format!("With {cpu} CPU units memory is {or}{least} to {most} MiB in steps of {step}.")
        }
        None => {
            let units: Vec<String> = SIZES.iter().map(|(units, ..)| units.to_string()).collect();
            format!("CPU units are one of {}.", units.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_table_are_taken_and_no_others() {
        let check = |cpu, memory| check_size(Some(CpuUnits(cpu)), Some(MemoryMib(memory)));
        for (cpu, memory) in [
            (256, 512),
            (256, 1_024),
            (256, 2_048),
            (512, 4_096),
            (1_024, 2_048),
            (2_048, 16_384),
            (4_096, 30_720),
            (8_192, 20_480),
            (16_384, 122_880),
        ] {
            assert_eq!(check(cpu, memory), Ok(()), "{cpu} {memory}");
        }
        for (cpu, memory) in [
            (256, 4_096),
            (512, 512),
            (512, 1_536),
            (1_024, 1_024),
            (8_192, 17_408),
            (16_384, 36_864),
            (300, 512),
        ] {
            let error = check(cpu, memory).expect_err("refused");
            let begins = format!("No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. ");
            assert!(error.message.starts_with(&begins), "{}", error.message);
        }
        let error = check_size(None, Some(MemoryMib(512))).expect_err("refused");
        assert_eq!(
            error.message,
            "Fargate requires that 'cpu' be defined at the task level."
        );
    }
}
