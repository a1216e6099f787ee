//! CPU and memory as ECS writes them: `1024`, `1 vCPU`, `.25 vcpu`, `512`, `0.5 GB`. Pure.

use berth_aws::AwsError;
use berth_core::model::{CpuUnits, MemoryMib};

use crate::api::errors::client;

/// Task-level CPU on EC2 (ECS: 128 to 196,608 units).
const TASK_CPU: std::ops::RangeInclusive<u32> = 128..=196_608;
/// Least memory of a container or task (Docker's least).
const LEAST_MEMORY_MIB: u32 = 6;
/// Most digits after the point that are read.
const MAX_FRACTION_DIGITS: usize = 6;

/// A task's CPU, in units or vCPUs.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(in crate::api::ecs) fn task_cpu(text: &str) -> Result<CpuUnits, AwsError> {
    parse(text, "vcpu")
        .filter(|units| TASK_CPU.contains(units))
        .map(CpuUnits)
        .ok_or_else(|| {
            client(format!(
                "Invalid 'cpu' setting for task: '{text}'. Give units between {} and {}, or vCPUs such as '0.5 vCPU'.",
                TASK_CPU.start(),
                TASK_CPU.end()
            ))
        })
}

/// A task's memory, in MiB or GB.
///
/// # Errors
/// `ClientException` in ECS's words.
pub(in crate::api::ecs) fn task_memory(text: &str) -> Result<MemoryMib, AwsError> {
    parse(text, "gb")
        .filter(|mib| *mib >= LEAST_MEMORY_MIB)
        .map(MemoryMib)
        .ok_or_else(|| {
            client(format!(
                "Invalid 'memory' setting for task: '{text}'. Give at least {LEAST_MEMORY_MIB} MiB, or GB such as '0.5 GB'."
            ))
        })
}

/// A container's memory or memory reservation in MiB.
///
/// # Errors
/// `ClientException` for less than a container can have.
pub(in crate::api::ecs) fn container_memory(container: &str, member: &str, mib: i32) -> Result<MemoryMib, AwsError> {
    u32::try_from(mib)
        .ok()
        .filter(|mib| *mib >= LEAST_MEMORY_MIB)
        .map(MemoryMib)
        .ok_or_else(|| {
            client(format!(
                "Invalid setting for container '{container}'. '{member}' must be at least {LEAST_MEMORY_MIB} MiB, not {mib}."
            ))
        })
}

/// A container's CPU units.
///
/// # Errors
/// `ClientException` for a negative number.
pub(in crate::api::ecs) fn container_cpu(container: &str, units: i32) -> Result<CpuUnits, AwsError> {
    u32::try_from(units).map(CpuUnits).map_err(|_| {
        client(format!(
            "Invalid setting for container '{container}'. 'cpu' must not be negative, not {units}."
        ))
    })
}

/// A whole number, or a decimal number of 1024 with this suffix.
fn parse(text: &str, suffix: &str) -> Option<u32> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_suffix(suffix) {
        None => lower.parse().ok(),
        Some(number) => times_1024(number.trim_end()),
    }
}

fn times_1024(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let nothing = whole.is_empty() && fraction.is_empty();
    if nothing || fraction.len() > MAX_FRACTION_DIGITS || whole.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parse = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
    let scaled = parse(whole)
        .ok()?
        .checked_mul(scale)?
        .checked_add(parse(fraction).ok()?)?;
    u32::try_from(scaled.checked_mul(1024)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantity_in_units_or_words_is_the_same() {
        for text in ["512", "0.5 vCPU", ".5vcpu", " 512 "] {
            assert_eq!(task_cpu(text), Ok(CpuUnits(512)), "{text}");
        }
        for text in ["1024", "1GB", "1.0 gb"] {
            assert_eq!(task_memory(text), Ok(MemoryMib(1024)), "{text}");
        }
    }

    #[test]
    fn quantity_out_of_range_or_no_number_is_refused() {
        for text in ["", "64", "200000", "x", "1.2.3 vcpu", ". vcpu", "-1", "vcpu"] {
            assert!(task_cpu(text).is_err(), "{text}");
        }
        for text in ["5", "0 GB", "many"] {
            assert!(task_memory(text).is_err(), "{text}");
        }
    }
}
