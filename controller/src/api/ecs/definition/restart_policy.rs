//! A container's restart policy, as requests carry it and answers show it. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::ContainerRestartPolicy;
use berth_core::model::RestartPolicy;

use crate::api::errors::client;

/// Most exit codes that a policy ignores (ECS: 50).
const MAX_IGNORED: usize = 50;
/// How long a container has to run before it is started again (ECS: 60 to 1800 s).
const ATTEMPT_PERIOD_SECS: std::ops::RangeInclusive<i32> = 60..=1800;

/// Reads the policy of a container.
///
/// # Errors
/// `ClientException` for what is out of ECS's bounds.
pub(super) fn from_request(container: &str, given: ContainerRestartPolicy) -> Result<RestartPolicy, AwsError> {
    let invalid = |why: String| client(format!("Invalid setting for container '{container}'. {why}"));
    let enabled = given
        .enabled
        .ok_or_else(|| invalid("'restartPolicy.enabled' must be given.".to_owned()))?;
    let ignored_exit_codes = given.ignored_exit_codes.unwrap_or_default();
    if ignored_exit_codes.len() > MAX_IGNORED {
        return Err(invalid(format!(
            "'restartPolicy.ignoredExitCodes' can have at most {MAX_IGNORED} exit codes, not {}.",
            ignored_exit_codes.len()
        )));
    }
    let period = given.restart_attempt_period;
    if let Some(outside) = period.filter(|secs| !ATTEMPT_PERIOD_SECS.contains(secs)) {
        return Err(invalid(format!(
            "'restartPolicy.restartAttemptPeriod' must be between {} and {} seconds, not {outside}.",
            ATTEMPT_PERIOD_SECS.start(),
            ATTEMPT_PERIOD_SECS.end()
        )));
    }
    Ok(RestartPolicy {
        enabled,
        ignored_exit_codes,
        attempt_period_secs: period.and_then(|secs| u32::try_from(secs).ok()),
    })
}
