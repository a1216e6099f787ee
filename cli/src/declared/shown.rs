//! Requests and descriptions in one form, so that they can be compared: what ECS shows in another way than it was given. Pure.

use berth_aws::Operation;
use berth_aws::cloudwatch::operations::PutMetricAlarm;
use berth_aws::model;
use serde_json::Value;

/// Members of a described task definition that each revision has of its own, or that are no members of the request.
const OF_THE_REVISION: [&str; 9] = [
    "taskDefinitionArn",
    "daemonTaskDefinitionArn",
    "deleteRequestedAt",
    "revision",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "status",
    "tags",
];

/// A described revision without what it has of its own.
pub(super) fn of_family(described: &Value) -> Value {
    let mut shown = described.clone();
    if let Some(members) = shown.as_object_mut() {
        members.retain(|name, _| !OF_THE_REVISION.contains(&name.as_str()));
    }
    shown
}

/// A described alarm without what it is found to be: the members by which it was made, but for its tags.
pub(super) fn of_alarm(described: &Value) -> Value {
    let made_by = match PutMetricAlarm::MODEL.input.kind {
        model::Kind::Structure { members, .. } => members,
        _ => &[],
    };
    let mut shown = described.clone();
    if let Some(members) = shown.as_object_mut() {
        members.retain(|name, _| name != "Tags" && made_by.iter().any(|member| member.name == name));
    }
    shown
}

/// Members of `CreateService` as `DescribeServices` shows them.
pub(super) fn as_service(request: Value) -> Value {
    let mut shown = request;
    let strategies = shown.get_mut("placementStrategy").and_then(Value::as_array_mut);
    for strategy in strategies.into_iter().flatten() {
        let field = strategy["field"].as_str().unwrap_or_default().to_owned();
        let shown = match (strategy["type"].as_str(), field.to_ascii_lowercase().as_str()) {
            (Some("binpack"), "cpu" | "memory") => Some(field.to_ascii_uppercase()),
            (Some("spread"), "host") => Some("instanceId".to_owned()),
            _ => None,
        };
        if let Some(field) = shown {
            strategy["field"] = field.into();
        }
        if field.is_empty()
            && let Some(members) = strategy.as_object_mut()
        {
            members.remove("field");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn state_and_tags_of_an_alarm_are_none_of_what_it_was_made_by() {
        let described =
            json!({"AlarmName": "errors", "AlarmArn": "arn", "StateValue": "OK", "Threshold": 1.0, "Tags": []});
        assert_eq!(of_alarm(&described), json!({"AlarmName": "errors", "Threshold": 1.0}));
    }

    #[test]
    fn strategies_are_as_ecs_shows_them() {
        let given = json!({
            "placementStrategy": [{"type": "binpack", "field": "memory"}, {"type": "spread", "field": "host"}, {"type": "random"},
                {"type": "binpack", "field": "berth:reserve"}]
        });
        assert_eq!(
            as_service(given),
            json!({
                "placementStrategy": [{"type": "binpack", "field": "MEMORY"}, {"type": "spread", "field": "instanceId"}, {"type": "random"},
                    {"type": "binpack", "field": "berth:reserve"}]
            })
        );
    }
}
