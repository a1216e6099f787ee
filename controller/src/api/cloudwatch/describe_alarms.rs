//! `DescribeAlarms`. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::errors as cloudwatch;
use berth_aws::cloudwatch::{AlarmType, DescribeAlarmsInput, DescribeAlarmsOutput};
use berth_core::model::Alarm;

use super::alarms::{self, invalid};
use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

/// Alarms of a page where the request says nothing (CloudWatch's number).
const PAGE: i32 = 50;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeAlarmsInput,
) -> Result<DescribeAlarmsOutput, AwsError> {
    let state = api.read().await?;
    alarms::check_level(&state)?;
    let names = input.alarm_names.clone().unwrap_or_default();
    if !names.is_empty() && input.alarm_name_prefix.is_some() {
        return Err(invalid("AlarmNames and AlarmNamePrefix cannot be given together."));
    }
    if input.children_of_alarm_name.is_some() {
        return Err(invalid(
            "ChildrenOfAlarmName is not supported by Berth yet, which has no composite alarms.",
        ));
    }
    let types = input.alarm_types.as_deref().unwrap_or_default();
    let of_other_types = !types.is_empty() && !types.contains(&AlarmType::MetricAlarm);
    // Only a composite alarm is the parent of another.
    let none = of_other_types || input.parents_of_alarm_name.is_some();
    let page = Page::<String>::parse("Alarms", input.next_token.as_deref(), input.max_records, PAGE)
        .map_err(|error| cloudwatch::INVALID_NEXT_TOKEN.error(error.message))?;
    let found = state
        .alarms(&call.scope)
        .filter(|alarm| !none && matches(alarm, &names, &input))
        .map(|alarm| (alarm.key.name.as_str().to_owned(), alarms::render(alarm)));
    let (metric_alarms, next_token) = page.take(found);
    Ok(DescribeAlarmsOutput {
        metric_alarms: Some(metric_alarms),
        composite_alarms: Some(vec![]),
        next_token,
        ..Default::default()
    })
}

fn matches(alarm: &Alarm, names: &[String], input: &DescribeAlarmsInput) -> bool {
    let name = alarm.key.name.as_str();
    let prefix = input.alarm_name_prefix.as_deref().unwrap_or_default();
    let state = input.state_value.as_ref().map(alarms::state_of);
    (names.is_empty() || names.iter().any(|wanted| wanted == name))
        && name.starts_with(prefix)
        && state.is_none_or(|state| state == alarm.state)
        && input
            .action_prefix
            .as_ref()
            .is_none_or(|prefix| has_action(alarm, prefix))
}

fn has_action(alarm: &Alarm, prefix: &str) -> bool {
    let shown = alarms::definition(alarm);
    let lists = [shown.ok_actions, shown.alarm_actions, shown.insufficient_data_actions];
    let mut actions = lists.iter().flatten().flatten();
    actions.any(|action| action.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use berth_aws::cloudwatch::operations::{DeleteAlarms, DescribeAlarms, PutMetricAlarm, SetAlarmState};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn alarms() -> Harness {
        let harness = Harness::new();
        for name in ["web-errors", "web-latency", "db-errors"] {
            let input = json!({
                "AlarmName": name, "ActionsEnabled": false, "AlarmActions": [format!("arn:aws:sns:us-east-1:123456789012:{name}")]
            });
            harness.call::<PutMetricAlarm>(input).await.expect("made");
        }
        let input = json!({"AlarmName": "web-latency", "StateValue": "OK", "StateReason": "fast"});
        harness.call::<SetAlarmState>(input).await.expect("set");
        harness
    }

    async fn names(harness: &Harness, input: Value) -> Vec<String> {
        let answer = harness.call::<DescribeAlarms>(input).await.expect("describes");
        let alarms = answer["MetricAlarms"].as_array().expect("a list");
        let name = |alarm: &Value| alarm["AlarmName"].as_str().expect("a name").to_owned();
        alarms.iter().map(name).collect()
    }

    #[tokio::test]
    async fn alarms_are_found_by_name_prefix_state_and_action() {
        let harness = alarms().await;
        for (input, expected) in [
            (json!({}), vec!["db-errors", "web-errors", "web-latency"]),
            (json!({"AlarmNames": ["web-errors", "nowhere"]}), vec!["web-errors"]),
            (json!({"AlarmNamePrefix": "web-"}), vec!["web-errors", "web-latency"]),
            (json!({"StateValue": "OK"}), vec!["web-latency"]),
            (json!({"StateValue": "ALARM"}), vec![]),
            (
                json!({"ActionPrefix": "arn:aws:sns:us-east-1:123456789012:db"}),
                vec!["db-errors"],
            ),
            (json!({"AlarmTypes": ["CompositeAlarm"]}), vec![]),
            (json!({"ParentsOfAlarmName": "web-errors"}), vec![]),
        ] {
            assert_eq!(names(&harness, input.clone()).await, expected, "{input}");
        }
        let elsewhere = harness.call_in::<DescribeAlarms>("eu-west-1", json!({})).await;
        assert_eq!(elsewhere.expect("describes")["MetricAlarms"], json!([]));
    }

    #[tokio::test]
    async fn pages_go_on_where_the_last_ended_and_other_tokens_are_refused() {
        let harness = alarms().await;
        let first = harness
            .call::<DescribeAlarms>(json!({"MaxRecords": 2}))
            .await
            .expect("describes");
        assert_eq!(first["MetricAlarms"].as_array().map(Vec::len), Some(2));
        let token = first["NextToken"].clone();
        assert_eq!(names(&harness, json!({"NextToken": token})).await, ["web-latency"]);
        let error = harness.call::<DescribeAlarms>(json!({"NextToken": "x"})).await;
        assert_eq!(error.expect_err("refused").kind.query_code, "InvalidNextToken");
        let both = json!({"AlarmNames": ["a"], "AlarmNamePrefix": "b"});
        let error = harness.call::<DescribeAlarms>(both).await.expect_err("refused");
        assert_eq!(error.kind.query_code, "ValidationError");
    }

    #[tokio::test]
    async fn deleted_alarms_are_gone_and_names_of_none_are_no_obstacle() {
        let harness = alarms().await;
        let input = json!({"AlarmNames": ["nowhere", "web-errors"]});
        harness.call::<DeleteAlarms>(input).await.expect("deletes");
        assert_eq!(names(&harness, json!({})).await, ["db-errors", "web-latency"]);
    }
}
