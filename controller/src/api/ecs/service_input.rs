//! What `CreateService` and `UpdateService` have in common: members that are honoured, counts, configuration, deployments. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{
    DeploymentConfiguration as AwsConfiguration, PlacementConstraint as AwsConstraint,
    PropagateTags as AwsPropagateTags,
};
use berth_core::model::{
    CircuitBreaker, DeploymentConfigurationChanges, PlacementConstraint, PropagateTags, SchedulingStrategy,
};

use super::placement;
use crate::api::errors::{client, invalid};
use crate::api::members::Honoured;

/// Most tasks of a service (ECS: 5,000).
const MAX_DESIRED_COUNT: i32 = 5_000;
/// Largest percentage of a deployment configuration.
const MAX_PERCENT: i32 = 10_000;

/// What Berth honours of a deployment configuration.
pub(super) const CONFIGURATION: Honoured = Honoured::Members(&[
    ("maximumPercent", Honoured::All),
    ("minimumHealthyPercent", Honoured::All),
    ("strategy", Honoured::Only(&["ROLLING"])),
    ("bakeTimeInMinutes", Honoured::Only(&["0"])),
    (
        "deploymentCircuitBreaker",
        Honoured::Members(&[("enable", Honoured::All), ("rollback", Honoured::All)]),
    ),
]);
/// The one deployment controller.
pub(super) const CONTROLLER: Honoured = Honoured::Members(&[("type", Honoured::Only(&["ECS"]))]);
/// Rebalancing over zones does not exist yet.
pub(super) const REBALANCING: Honoured = Honoured::Only(&["DISABLED"]);
/// There is no load balancer whose checks could be waited for.
pub(super) const GRACE_PERIOD: Honoured = Honoured::Only(&["0"]);

/// A desired count.
///
/// # Errors
/// `InvalidParameterException` for a number out of range, and for any number on a daemon service.
pub(super) fn desired_count(strategy: SchedulingStrategy, given: Option<i32>) -> Result<Option<u32>, AwsError> {
    match (strategy, given) {
        (_, None) => Ok(None),
        (SchedulingStrategy::Daemon, Some(_)) => Err(invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove a desired count value \
             and try again",
        )),
        (SchedulingStrategy::Replica, Some(count)) if count > MAX_DESIRED_COUNT => Err(invalid(format!(
            "desiredCount must not be greater than {MAX_DESIRED_COUNT}."
        ))),
        (SchedulingStrategy::Replica, Some(count)) => u32::try_from(count)
            .map(Some)
            .map_err(|_| invalid("desiredCount must not be negative.")),
    }
}

/// What the request changes of a deployment configuration; whether the outcome makes sense is checked where it is merged.
///
/// # Errors
/// `InvalidParameterException` for percentages out of range.
pub(super) fn configuration(given: AwsConfiguration) -> Result<DeploymentConfigurationChanges, AwsError> {
    let percent = |member: &str, given: Option<i32>| match given {
        Some(percent) if !(0..=MAX_PERCENT).contains(&percent) => Err(invalid(format!(
            "{member} must be between 0 and {MAX_PERCENT}, not {percent}."
        ))),
        percent => Ok(percent.map(i32::unsigned_abs)),
    };
    Ok(DeploymentConfigurationChanges {
        maximum_percent: percent("maximumPercent", given.maximum_percent)?,
        minimum_healthy_percent: percent("minimumHealthyPercent", given.minimum_healthy_percent)?,
        circuit_breaker: given.deployment_circuit_breaker.map(|breaker| CircuitBreaker {
            enable: breaker.enable.unwrap_or(false),
            rollback: breaker.rollback.unwrap_or(false),
        }),
    })
}

/// The constraints of a service; `distinctInstance` means nothing to a daemon service, which has one task on a host anyway.
///
/// # Errors
/// As [`placement::constraints`], and `InvalidParameterException` for `distinctInstance` on a daemon service.
pub(super) fn constraints(
    strategy: SchedulingStrategy,
    given: Vec<AwsConstraint>,
) -> Result<Vec<PlacementConstraint>, AwsError> {
    let constraints = placement::constraints(given)?;
    let distinct = constraints.contains(&PlacementConstraint::DistinctInstance);
    if strategy == SchedulingStrategy::Daemon && distinct {
        return Err(invalid(
            "The daemon scheduling strategy does not support the distinctInstance placement constraint.",
        ));
    }
    Ok(constraints)
}

/// Refuses placement strategies on a daemon service.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_strategies(strategy: SchedulingStrategy, count: usize) -> Result<(), AwsError> {
    match strategy {
        SchedulingStrategy::Daemon if count > 0 => Err(invalid(
            "Placement strategies are not supported by the daemon scheduling strategy.",
        )),
        _ => Ok(()),
    }
}

/// Where tasks get tags from.
pub(super) fn propagate_tags(given: AwsPropagateTags) -> PropagateTags {
    match given {
        AwsPropagateTags::None => PropagateTags::None,
        AwsPropagateTags::TaskDefinition => PropagateTags::TaskDefinition,
        AwsPropagateTags::Service => PropagateTags::Service,
    }
}

/// Refuses a service name with anything but letters, digits, hyphens and underscores.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_name(name: &str) -> Result<(), AwsError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() {
        return Err(invalid("Service name can not be blank."));
    }
    if name.len() > 255 || !name.bytes().all(allowed) {
        return Err(invalid(
            "Invalid service name: use up to 255 letters, numbers, hyphens and underscores.",
        ));
    }
    Ok(())
}

/// Refuses tasks that would need more than Berth's default launch type.
///
/// # Errors
/// `ClientException` for a definition that requires another launch type.
pub(super) fn check_compatible(requires: &[String]) -> Result<(), AwsError> {
    match requires.is_empty() || requires.iter().any(|name| name == "EC2") {
        true => Ok(()),
        false => Err(client("Task definition does not support launch_type EC2.")),
    }
}
