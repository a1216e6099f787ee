//! A container's health check, as requests carry it. Pure.

use std::ops::RangeInclusive;

use berth_aws::AwsError;
use berth_aws::ecs::HealthCheck as AwsHealthCheck;
use berth_core::model::HealthCheck;

use crate::api::errors::client;

/// What a number may be, and what it is where it is not given (ECS).
struct Bounds {
    member: &'static str,
    unit: &'static str,
    range: RangeInclusive<i32>,
    default: u32,
}

const INTERVAL: Bounds = Bounds {
    member: "interval",
    unit: " seconds",
    range: 5..=300,
    default: 30,
};
const TIMEOUT: Bounds = Bounds {
    member: "timeout",
    unit: " seconds",
    range: 2..=60,
    default: 5,
};
const RETRIES: Bounds = Bounds {
    member: "retries",
    unit: "",
    range: 1..=10,
    default: 3,
};
const START_PERIOD: Bounds = Bounds {
    member: "startPeriod",
    unit: " seconds",
    range: 0..=300,
    default: 0,
};

/// Reads the health check of a container.
///
/// # Errors
/// `ClientException` for what is out of ECS's bounds, and for a command of no known kind.
pub(super) fn from_request(container: &str, given: AwsHealthCheck) -> Result<HealthCheck, AwsError> {
    let number = |bounds: &Bounds, given: Option<i32>| number(container, bounds, given);
    Ok(HealthCheck {
        interval_secs: number(&INTERVAL, given.interval)?.unwrap_or(INTERVAL.default),
        timeout_secs: number(&TIMEOUT, given.timeout)?.unwrap_or(TIMEOUT.default),
        retries: number(&RETRIES, given.retries)?.unwrap_or(RETRIES.default),
        start_period_secs: number(&START_PERIOD, given.start_period)?,
        command: command(container, given.command.unwrap_or_default())?,
    })
}

fn number(container: &str, bounds: &Bounds, given: Option<i32>) -> Result<Option<u32>, AwsError> {
    let Bounds {
        member, unit, range, ..
    } = bounds;
    match given {
        Some(outside) if !range.contains(&outside) => Err(client(format!(
            "Invalid setting for container '{container}'. 'healthCheck.{member}' must be between {} and {}{unit}, not {outside}.",
            range.start(),
            range.end()
        ))),
        within => Ok(within.and_then(|number| u32::try_from(number).ok())),
    }
}

fn command(container: &str, command: Vec<String>) -> Result<Vec<String>, AwsError> {
    let invalid = |why: &str| {
        client(format!(
            "Invalid setting for container '{container}'. 'healthCheck.command' {why}"
        ))
    };
    let (kind, rest) = command
        .split_first()
        .ok_or_else(|| invalid("should not be null or empty."))?;
    match kind.as_str() {
        HealthCheck::NONE if rest.is_empty() => Ok(command),
        HealthCheck::NONE => Err(invalid("must have nothing after NONE.")),
        HealthCheck::CMD | HealthCheck::CMD_SHELL if rest.first().is_none_or(String::is_empty) => {
            Err(invalid(&format!("must have a command after {kind}.")))
        }
        HealthCheck::CMD | HealthCheck::CMD_SHELL => Ok(command),
        _ => Err(invalid(
            "must start with CMD to run the arguments that follow, with CMD-SHELL to run what follows with the shell of the container, or be \
             NONE.",
        )),
    }
}
