//! What `CreateService` and `UpdateService` have in common: members that are honoured, counts, configuration, deployments. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{
    DeploymentConfiguration as AwsConfiguration, PlacementConstraint as AwsConstraint,
    PropagateTags as AwsPropagateTags,
};
use berth_core::model::{
    CircuitBreaker, Deployment, DeploymentConfiguration, DeploymentId, DeploymentStatus, PlacementConstraint,
    PropagateTags, RolloutState, SchedulingStrategy, StartBackoff, TaskDefinitionKey, Timestamp,
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

/// The deployment configuration that a service starts with (ECS's defaults).
pub(super) fn default_configuration(strategy: SchedulingStrategy) -> DeploymentConfiguration {
    let (maximum_percent, minimum_healthy_percent) = match strategy {
        SchedulingStrategy::Replica => (200, 100),
        SchedulingStrategy::Daemon => (100, 0),
    };
    DeploymentConfiguration {
        maximum_percent,
        minimum_healthy_percent,
        circuit_breaker: CircuitBreaker::default(),
    }
}

/// `current` with what the request changes of it.
///
/// # Errors
/// `InvalidParameterException` for percentages with which no deployment could proceed.
pub(super) fn configuration(
    current: DeploymentConfiguration,
    strategy: SchedulingStrategy,
    given: AwsConfiguration,
) -> Result<DeploymentConfiguration, AwsError> {
    let percent = |member: &str, given: Option<i32>, current: u32| match given {
        None => Ok(current),
        Some(percent) if (0..=MAX_PERCENT).contains(&percent) => Ok(percent.unsigned_abs()),
        Some(percent) => Err(invalid(format!(
            "{member} must be between 0 and {MAX_PERCENT}, not {percent}."
        ))),
    };
    let breaker = given.deployment_circuit_breaker;
    let changed = DeploymentConfiguration {
        maximum_percent: percent("maximumPercent", given.maximum_percent, current.maximum_percent)?,
        minimum_healthy_percent: percent(
            "minimumHealthyPercent",
            given.minimum_healthy_percent,
            current.minimum_healthy_percent,
        )?,
        circuit_breaker: breaker.map_or(current.circuit_breaker, |breaker| CircuitBreaker {
            enable: breaker.enable.unwrap_or(false),
            rollback: breaker.rollback.unwrap_or(false),
        }),
    };
    let (most, least) = (changed.maximum_percent, changed.minimum_healthy_percent);
    match strategy {
        SchedulingStrategy::Daemon if most != 100 => Err(invalid(
            "The daemon scheduling strategy supports no maximumPercent but 100.",
        )),
        SchedulingStrategy::Daemon if least >= 100 => Err(invalid(
            "minimumHealthyPercent must be less than 100 for the daemon scheduling strategy, or deployments could not \
             replace a task.",
        )),
        SchedulingStrategy::Replica if most == 100 && least == 100 => Err(invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        )),
        SchedulingStrategy::Replica if most < 100 => Err(invalid("maximumPercent must be at least 100.")),
        _ if least > most => Err(invalid("maximumPercent cannot be less than minimumHealthyPercent.")),
        _ => Ok(changed),
    }
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

/// A new primary deployment.
pub(super) fn new_deployment(id: DeploymentId, task_definition: TaskDefinitionKey, now: Timestamp) -> Deployment {
    Deployment {
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        status: DeploymentStatus::Primary,
        task_definition,
        rollout_state: RolloutState::InProgress,
        failed_tasks: 0,
        backoff: StartBackoff::default(),
        created_at: now,
        updated_at: now,
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
