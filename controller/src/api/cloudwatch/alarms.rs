//! What the operations on alarms have in common: names, ARNs, tags, errors, and alarms in answers. Pure.

use std::sync::Arc;

use berth_aws::cloudwatch::errors as cloudwatch;
use berth_aws::cloudwatch::{MetricAlarm, SERVICE, StateValue, Tag};
use berth_aws::{AwsError, Timestamp as AwsTimestamp};
use berth_core::model::{Alarm, AlarmKey, AlarmState, Scope, Tags};
use berth_core::state::{ClusterState, Feature, Rejection};

use crate::api::ecs::tags::{self, Carrier};
use crate::api::errors;
use crate::api::ports::ProposeFailure;

/// Refuses what concerns alarms while there may be controllers that do not know them.
///
/// # Errors
/// `ValidationError`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(state.uses(Feature::Alarms), invalid, "Alarms are not supported")
}

/// CloudWatch's error for a value that it does not take.
pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    SERVICE.validation.error(message)
}

/// The AWS error for a command on an alarm that took no effect.
pub(super) fn failure(failure: &ProposeFailure) -> AwsError {
    let ProposeFailure::Rejected(rejection) = failure else {
        return errors::failure(failure);
    };
    match rejection {
        Rejection::AlarmNotFound(key) => {
            cloudwatch::RESOURCE_NOT_FOUND.error(format!("There is no alarm with the name {}.", key.name))
        }
        Rejection::TooManyAlarms => cloudwatch::LIMIT_EXCEEDED_FAULT.error(format!(
            "{}. Delete those that nobody needs.",
            errors::sentence(&rejection.to_string()).trim_end_matches('.')
        )),
        Rejection::AlarmTooLarge(_) | Rejection::TooManyTags => invalid(errors::sentence(&rejection.to_string())),
        _ => errors::failure(failure),
    }
}

/// The alarm that an ARN names, for operations on tags.
///
/// # Errors
/// `InvalidParameterValue` for an ARN of anything else, or of another account or region.
pub(super) fn of_arn(scope: &Scope, arn: Option<&str>) -> Result<AlarmKey, AwsError> {
    let arn = arn.unwrap_or_default();
    AlarmKey::of_arn(scope, arn).ok_or_else(|| {
        cloudwatch::INVALID_PARAMETER_VALUE.error(format!(
            "{arn} is not the ARN of an alarm in account {} and region {}.",
            scope.account, scope.region
        ))
    })
}

/// The error of operations on tags for an alarm that is not there.
pub(super) fn not_found(key: &AlarmKey) -> AwsError {
    cloudwatch::RESOURCE_NOT_FOUND_EXCEPTION
        .error(format!("There is no alarm with the ARN {}.", key.arn()))
        .with_member("ResourceType", "alarm")
        .with_member("ResourceId", key.arn())
}

/// The AWS error for tags that could not be changed.
pub(super) fn tag_failure(why: &ProposeFailure) -> AwsError {
    match why {
        ProposeFailure::Rejected(Rejection::AlarmNotFound(key)) => not_found(key),
        ProposeFailure::Rejected(Rejection::TooManyTags) => {
            cloudwatch::INVALID_PARAMETER_VALUE.error(errors::failure(why).message)
        }
        other => failure(other),
    }
}

/// The tags of a request.
///
/// # Errors
/// `InvalidParameterValue` for a key that is repeated or AWS's own, and for too many tags.
pub(super) fn tags_of(given: Option<Vec<Tag>>) -> Result<Tags, AwsError> {
    let given = given.unwrap_or_default().into_iter();
    let as_of_ecs = given.map(|tag| berth_aws::ecs::Tag {
        key: tag.key,
        value: tag.value,
    });
    tags::from_request(Carrier::Alarm, Some(as_of_ecs.collect()))
        .map_err(|error| cloudwatch::INVALID_PARAMETER_VALUE.error(error.message))
}

/// Tags in an answer, by key.
pub(super) fn render_tags(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

/// What an alarm is meant to watch, as it was given.
pub(super) fn definition(alarm: &Alarm) -> MetricAlarm {
    // It was written from the members of the same names of PutMetricAlarm.
    serde_json::from_str(&alarm.definition).unwrap_or_default()
}

/// An alarm in an answer.
pub(super) fn render(alarm: &Arc<Alarm>) -> MetricAlarm {
    let time = |at: berth_core::model::Timestamp| Some(AwsTimestamp(at.0));
    MetricAlarm {
        alarm_name: Some(alarm.key.name.as_str().to_owned()),
        alarm_arn: Some(alarm.key.arn()),
        alarm_configuration_updated_timestamp: time(alarm.configured_at),
        state_value: Some(match alarm.state {
            AlarmState::Ok => StateValue::Ok,
            AlarmState::Alarm => StateValue::Alarm,
            AlarmState::InsufficientData => StateValue::InsufficientData,
        }),
        state_reason: Some(alarm.state_reason.clone()),
        state_reason_data: alarm.state_reason_data.clone(),
        state_updated_timestamp: time(alarm.state_updated_at),
        state_transitioned_timestamp: time(alarm.state_changed_at),
        ..definition(alarm)
    }
}

/// A state as a request has it.
pub(super) fn state_of(given: &StateValue) -> AlarmState {
    match given {
        StateValue::Ok => AlarmState::Ok,
        StateValue::Alarm => AlarmState::Alarm,
        StateValue::InsufficientData => AlarmState::InsufficientData,
    }
}
