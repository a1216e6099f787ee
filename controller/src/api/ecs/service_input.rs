//! What `CreateService` and `UpdateService` have in common: members that are honoured, counts, configuration, deployments. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{
    AvailabilityZoneRebalancing, DeploymentConfiguration as AwsConfiguration,
    DeploymentController as AwsDeploymentController, DeploymentControllerType, PropagateTags as AwsPropagateTags,
};
use berth_core::model::{CircuitBreaker, DeploymentConfigurationChanges, DeploymentController, PropagateTags};
use berth_core::state::{ClusterState, Feature};

use super::{deployment_criteria, deployment_stages, names, task_sets};
use crate::api::errors::{self, invalid};
use crate::api::members::Honoured;

/// Most tasks of a service (ECS: 5,000).
const MAX_DESIRED_COUNT: i32 = 5_000;
/// Largest percentage of a deployment configuration.
const MAX_PERCENT: i32 = 10_000;

/// What Berth honours of a deployment configuration.
pub(super) const CONFIGURATION: Honoured = Honoured::Members(&[
    ("maximumPercent", Honoured::All),
    ("minimumHealthyPercent", Honoured::All),
    ("strategy", Honoured::All),
    ("bakeTimeInMinutes", Honoured::All),
    ("lifecycleHooks", Honoured::All),
    ("linearConfiguration", Honoured::All),
    ("canaryConfiguration", Honoured::All),
    ("earlySuccessCriteria", Honoured::All),
    ("alarms", Honoured::All),
    (
        "deploymentCircuitBreaker",
        Honoured::Members(&[
            ("enable", Honoured::All),
            ("rollback", Honoured::All),
            ("resetOnHealthyTask", Honoured::All),
            ("thresholdConfiguration", Honoured::All),
        ]),
    ),
]);
/// The deployment controllers: there is no CodeDeploy.
pub(super) const CONTROLLER: Honoured = Honoured::Members(&[("type", Honoured::Only(&["ECS", "EXTERNAL"]))]);

/// Who is to decide what a service runs.
///
/// # Errors
/// `InvalidParameterException` while there may be controllers that know no task sets.
pub(super) fn deployment_controller(
    state: &ClusterState,
    given: Option<&AwsDeploymentController>,
) -> Result<DeploymentController, AwsError> {
    match given.and_then(|given| given.r#type.as_ref()) {
        Some(DeploymentControllerType::External) => {
            task_sets::check_level(state)?;
            Ok(DeploymentController::External)
        }
        _ => Ok(DeploymentController::Ecs),
    }
}

/// Whether a request wants tasks brought back to evenness over availability zones, if it says so.
///
/// # Errors
/// `InvalidParameterException` while there may be controllers that do not know it.
pub(super) fn zone_rebalancing(
    state: &ClusterState,
    given: Option<&AvailabilityZoneRebalancing>,
) -> Result<Option<bool>, AwsError> {
    let wanted = given.map(|given| *given == AvailabilityZoneRebalancing::Enabled);
    let is_upgraded = state.uses(Feature::ZoneRebalancing);
    let is_readable = is_upgraded || wanted != Some(true);
    errors::check_upgraded(is_readable, invalid, "availabilityZoneRebalancing is not supported")?;
    Ok(wanted.filter(|_| is_upgraded))
}

/// A desired count; whether the service can have one is checked where the request is applied.
///
/// # Errors
/// `InvalidParameterException` for a number out of range.
pub(in crate::api) fn desired_count(given: i32) -> Result<u32, AwsError> {
    if given > MAX_DESIRED_COUNT {
        return Err(invalid(format!(
            "desiredCount must not be greater than {MAX_DESIRED_COUNT}."
        )));
    }
    u32::try_from(given).map_err(|_| invalid("desiredCount must not be negative."))
}

/// What the request changes of a deployment configuration; whether the outcome makes sense is checked where it is merged.
///
/// # Errors
/// `InvalidParameterException` for percentages out of range, and for what not all controllers know.
pub(super) fn configuration(
    state: &ClusterState,
    given: AwsConfiguration,
) -> Result<DeploymentConfigurationChanges, AwsError> {
    let breaker = given.deployment_circuit_breaker.as_ref();
    let says_reset = breaker.is_some_and(|breaker| breaker.reset_on_healthy_task.is_some());
    let is_readable = !says_reset || state.uses(Feature::ResetOnHealthyTask);
    errors::check_upgraded(is_readable, invalid, "resetOnHealthyTask is not supported")?;
    let stages = deployment_stages::of_request(state, &given)?;
    let threshold = deployment_criteria::threshold(state, breaker)?;
    let early_success = deployment_criteria::early_success(state, given.early_success_criteria.as_ref())?;
    let alarms = deployment_criteria::alarms(state, given.alarms.as_ref())?;
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
            reset_on_healthy_task: breaker.reset_on_healthy_task,
            threshold,
        }),
        early_success,
        alarms,
        ..stages
    })
}

/// For how long the health checks of a task may fail after its start; 0 is what services do that say nothing.
///
/// # Errors
/// `InvalidParameterException` for a negative number, and for any but 0 where not all controllers know of health.
pub(super) fn grace_period(state: &ClusterState, given: Option<i32>) -> Result<Option<u32>, AwsError> {
    let Some(seconds) = given else { return Ok(None) };
    let seconds = u32::try_from(seconds).map_err(|_| {
        invalid(format!(
            "healthCheckGracePeriodSeconds must not be negative, not {seconds}."
        ))
    })?;
    let is_upgraded = state.uses(Feature::ContainerHealth);
    let is_readable = is_upgraded || seconds == 0;
    errors::check_upgraded(is_readable, invalid, "healthCheckGracePeriodSeconds is not supported")?;
    Ok(is_upgraded.then_some(seconds))
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
    if name.is_empty() {
        return Err(invalid("Service name can not be blank."));
    }
    if !names::is_well_formed(name) {
        return Err(invalid(
            "Invalid service name: use up to 255 letters, numbers, hyphens and underscores.",
        ));
    }
    Ok(())
}
