//! `PutMetricAlarm`: makes an alarm, or writes anew what one is meant to watch. Nothing here watches it: what is given is kept, to be shown
//! again to those who do. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::PutMetricAlarmInput;
use berth_aws::scalar::Empty;
use berth_core::model::{Alarm, AlarmState};
use berth_core::state::Command;

use super::alarms::{self, invalid};
use crate::api::context::{Api, Call};

/// What CloudWatch says of an alarm that nobody has looked at.
const UNCHECKED: &str = "Unchecked: Initial alarm creation";
/// For how long a metric lasts at least until an alarm finds it, where it does not say.
const DEFAULT_PERIOD_SECS: i32 = 60;

pub(crate) async fn handle(api: &Api, call: &Call, mut input: PutMetricAlarmInput) -> Result<Empty, AwsError> {
    alarms::check_level(&*api.read().await?)?;
    check(&input)?;
    let name = input.alarm_name.take().unwrap_or_default();
    let tags = alarms::tags_of(input.tags.take())?;
    let found_after_secs = found_after(&input);
    let definition = serde_json::to_string(&with_defaults(input)).map_err(|error| invalid(error.to_string()))?;
    let alarm = Alarm {
        key: call.scope.alarm(&name),
        definition,
        found_after_secs,
        state: AlarmState::InsufficientData,
        state_reason: UNCHECKED.to_owned(),
        state_reason_data: None,
        state_updated_at: call.now,
        state_changed_at: call.now,
        configured_at: call.now,
        tags,
    };
    let outcome = api.try_propose(Command::PutAlarm(Box::new(alarm))).await;
    outcome.map_err(|failure| alarms::failure(&failure))?;
    Ok(Empty {})
}

/// What the model cannot say of a request.
fn check(input: &PutMetricAlarmInput) -> Result<(), AwsError> {
    let mut name = input.alarm_name.iter().flat_map(|name| name.chars());
    if name.any(|character| character.is_ascii_control()) {
        return Err(invalid("AlarmName can't contain ASCII control characters."));
    }
    check_metrics(input)?;
    check_actions(input)
}

/// What `DescribeAlarms` shows of an alarm that this request makes, as far as the request says it, but for tags.
///
/// # Errors
/// As `PutMetricAlarm`.
pub(in crate::api) fn preview(input: PutMetricAlarmInput) -> Result<PutMetricAlarmInput, AwsError> {
    check(&input)?;
    alarms::tags_of(input.tags.clone())?;
    Ok(with_defaults(PutMetricAlarmInput { tags: None, ..input }))
}

/// One metric or several (CloudWatch's rule).
fn check_metrics(input: &PutMetricAlarmInput) -> Result<(), AwsError> {
    let one_metric = [
        ("MetricName", input.metric_name.is_some()),
        ("Namespace", input.namespace.is_some()),
        (
            "Dimensions",
            input.dimensions.as_ref().is_some_and(|given| !given.is_empty()),
        ),
        ("Period", input.period.is_some()),
        ("Unit", input.unit.is_some()),
        ("Statistic", input.statistic.is_some()),
        ("ExtendedStatistic", input.extended_statistic.is_some()),
    ];
    let several = input.metrics.as_ref().is_some_and(|given| !given.is_empty());
    match one_metric.iter().find(|(_, is_given)| several && *is_given) {
        Some((member, _)) => Err(invalid(format!(
            "{member} cannot be given with Metrics, which says it for each metric."
        ))),
        None => Ok(()),
    }
}

/// Actions that nobody carries out are refused, unless they are not to be carried out.
fn check_actions(input: &PutMetricAlarmInput) -> Result<(), AwsError> {
    if input.actions_enabled == Some(false) {
        return Ok(());
    }
    let lists = [
        ("OKActions", &input.ok_actions),
        ("AlarmActions", &input.alarm_actions),
        ("InsufficientDataActions", &input.insufficient_data_actions),
    ];
    let listed = lists
        .iter()
        .find(|(_, given)| given.as_ref().is_some_and(|given| !given.is_empty()));
    let member = listed
        .map(|(member, _)| *member)
        .or(input.action_configuration.is_some().then_some("ActionConfiguration"));
    match member {
        Some(member) => Err(invalid(format!(
            "{member} is not supported by Berth yet, which carries out no actions of alarms: deployments that name the alarm fail by it, and nothing \
             else happens. Leave {member} out, or set ActionsEnabled to false."
        ))),
        None => Ok(()),
    }
}

/// For how long what the alarm is meant to watch lasts until whoever watches it finds it, in seconds.
fn found_after(input: &PutMetricAlarmInput) -> u32 {
    let metrics = input.metrics.iter().flatten();
    let of_metrics = metrics.flat_map(|query| {
        let of_metric = query.metric_stat.as_ref().and_then(|stat| stat.period);
        [query.period, of_metric]
    });
    let periods = [input.period, input.evaluation_interval].into_iter().chain(of_metrics);
    let period = periods.flatten().max().unwrap_or(DEFAULT_PERIOD_SECS);
    let criteria = input.evaluation_criteria.as_ref();
    let pending = criteria
        .and_then(|criteria| criteria.prom_ql_criteria.as_ref())
        .and_then(|criteria| criteria.pending_period);
    let all = period.saturating_mul(input.evaluation_periods.unwrap_or(1));
    all.saturating_add(pending.unwrap_or(0)).unsigned_abs()
}

/// With what CloudWatch shows where nothing was given.
fn with_defaults(mut input: PutMetricAlarmInput) -> PutMetricAlarmInput {
    input.actions_enabled.get_or_insert(true);
    for list in [
        &mut input.ok_actions,
        &mut input.alarm_actions,
        &mut input.insufficient_data_actions,
    ] {
        list.get_or_insert_default();
    }
    if input.metric_name.is_some() {
        input.dimensions.get_or_insert_default();
    }
    input
}

#[cfg(test)]
mod tests {
    use berth_aws::cloudwatch::operations::{DescribeAlarms, PutMetricAlarm, SetAlarmState};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn cpu(more: Value) -> Value {
        let mut alarm = json!({
            "AlarmName": "cpu", "MetricName": "CPUUtilization", "Namespace": "AWS/ECS", "Statistic": "Average", "Period": 60,
            "EvaluationPeriods": 3, "Threshold": 80.0, "ComparisonOperator": "GreaterThanThreshold"
        });
        for (member, value) in more.as_object().expect("members") {
            alarm[member] = value.clone();
        }
        alarm
    }

    async fn described(harness: &Harness) -> Value {
        let answer = harness.call::<DescribeAlarms>(json!({})).await.expect("describes");
        answer["MetricAlarms"].clone()
    }

    #[tokio::test]
    async fn alarm_comes_back_as_it_was_given_with_the_defaults_of_cloudwatch() {
        let harness = Harness::new();
        let given =
            cpu(json!({"Dimensions": [{"Name": "ServiceName", "Value": "web"}], "TreatMissingData": "breaching"}));
        harness.call::<PutMetricAlarm>(given.clone()).await.expect("made");
        let shown = described(&harness).await[0].clone();
        for (member, value) in given.as_object().expect("members") {
            assert_eq!(shown[member], *value, "{member}");
        }
        assert_eq!(shown["AlarmArn"], "arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu");
        assert_eq!(shown["StateValue"], "INSUFFICIENT_DATA");
        assert_eq!(shown["StateReason"], "Unchecked: Initial alarm creation");
        assert_eq!(
            (&shown["ActionsEnabled"], &shown["AlarmActions"]),
            (&json!(true), &json!([]))
        );
        let key = harness.cluster("default").scope.alarm("cpu");
        assert_eq!(harness.state.state().alarm(&key).expect("made").found_after_secs, 180);
    }

    #[tokio::test]
    async fn alarm_written_anew_keeps_its_state() {
        let harness = Harness::new();
        harness.call::<PutMetricAlarm>(cpu(json!({}))).await.expect("made");
        let state = json!({"AlarmName": "cpu", "StateValue": "ALARM", "StateReason": "hot"});
        harness.call::<SetAlarmState>(state).await.expect("set");
        let queries = json!([
            {"Id": "m", "MetricStat": {"Metric": {"MetricName": "a", "Namespace": "n"}, "Period": 300, "Stat": "Sum"}, "ReturnData": false},
            {"Id": "e", "Expression": "m * 2"}
        ]);
        let several = json!({"AlarmName": "cpu", "EvaluationPeriods": 2, "Metrics": queries});
        harness.call::<PutMetricAlarm>(several).await.expect("written anew");
        let shown = described(&harness).await[0].clone();
        assert_eq!(
            (&shown["StateValue"], &shown["StateReason"]),
            (&json!("ALARM"), &json!("hot"))
        );
        assert_eq!((&shown["Metrics"], shown.get("MetricName")), (&queries, None));
        let key = harness.cluster("default").scope.alarm("cpu");
        assert_eq!(harness.state.state().alarm(&key).expect("made").found_after_secs, 600);
    }

    #[tokio::test]
    async fn what_would_not_happen_is_refused_by_its_name() {
        let harness = Harness::new();
        let topic = json!(["arn:aws:sns:us-east-1:123456789012:pager"]);
        for (more, part) in [
            (json!({"AlarmActions": topic}), "AlarmActions is not supported"),
            (json!({"OKActions": topic}), "OKActions is not supported"),
            (
                json!({"ActionConfiguration": {}}),
                "ActionConfiguration is not supported",
            ),
            (
                json!({"Metrics": [{"Id": "m"}]}),
                "MetricName cannot be given with Metrics",
            ),
            (json!({"AlarmName": "a\nb"}), "control characters"),
        ] {
            let error = harness.call::<PutMetricAlarm>(cpu(more)).await.expect_err(part);
            assert_eq!(error.kind.query_code, "ValidationError");
            assert!(error.message.contains(part), "{}", error.message);
        }
        let quiet = cpu(json!({"AlarmActions": topic, "ActionsEnabled": false}));
        harness
            .call::<PutMetricAlarm>(quiet)
            .await
            .expect("nothing is to happen");
        assert_eq!(described(&harness).await[0]["AlarmActions"], topic);
    }

    #[tokio::test]
    async fn alarm_before_the_upgrade_is_refused() {
        let harness = Harness::before_levels();
        let error = harness
            .call::<PutMetricAlarm>(cpu(json!({})))
            .await
            .expect_err("refused");
        assert!(error.message.contains("has been upgraded"), "{}", error.message);
    }
}
