//! `SetAlarmState`: the only way in which the state of an alarm changes, so that it stays until the next. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::SetAlarmStateInput;
use berth_aws::cloudwatch::errors as cloudwatch;
use berth_aws::scalar::Empty;
use berth_core::model::AlarmState;
use berth_core::state::Command;
use serde_json::Value;

use super::alarms;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(api: &Api, call: &Call, input: SetAlarmStateInput) -> Result<Empty, AwsError> {
    alarms::check_level(&*api.read().await?)?;
    let reason_data = input.state_reason_data;
    if reason_data
        .as_ref()
        .is_some_and(|data| serde_json::from_str::<Value>(data).is_err())
    {
        return Err(cloudwatch::INVALID_FORMAT_FAULT.error("StateReasonData is not valid JSON."));
    }
    let state = input.state_value.as_ref();
    let command = Command::SetAlarmState {
        alarm: call.scope.alarm(&input.alarm_name.unwrap_or_default()),
        state: state.map_or(AlarmState::InsufficientData, alarms::state_of),
        reason: input.state_reason.unwrap_or_default(),
        reason_data,
        at: call.now,
    };
    let outcome = api.try_propose(command).await;
    outcome.map_err(|failure| alarms::failure(&failure))?;
    Ok(Empty {})
}

#[cfg(test)]
mod tests {
    use berth_aws::cloudwatch::operations::{DescribeAlarms, PutMetricAlarm, SetAlarmState};
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, SECRET};

    #[tokio::test]
    async fn state_is_what_was_set_last_and_why() {
        let harness = Harness::new();
        harness
            .call::<PutMetricAlarm>(json!({"AlarmName": "a"}))
            .await
            .expect("made");
        let input =
            json!({"AlarmName": "a", "StateValue": "ALARM", "StateReason": "hot", "StateReasonData": "{\"t\": 99}"});
        harness.call::<SetAlarmState>(input).await.expect("set");
        let answer = harness.call::<DescribeAlarms>(json!({})).await.expect("describes");
        let shown = &answer["MetricAlarms"][0];
        let expected = [json!("ALARM"), json!("hot"), json!("{\"t\": 99}")];
        let members = ["StateValue", "StateReason", "StateReasonData"].map(|member| shown[member].clone());
        assert_eq!(members, expected);
    }

    /// The status and the body of an answer to a form.
    async fn ask(harness: &Harness, form: &str) -> (u16, String) {
        let response = harness
            .send_form("monitoring", &format!("Version=2010-08-01&{form}"))
            .await;
        let body = String::from_utf8(response.body().to_vec()).expect("text");
        (response.status().as_u16(), body)
    }

    #[tokio::test]
    async fn clients_that_speak_the_query_protocol_are_understood_and_answered_in_xml() {
        let harness = Harness::new();
        let put = "Action=PutMetricAlarm&AlarmName=a&Threshold=1.5&Period=60&Dimensions.member.1.Name=n&Dimensions.member.1.Value=v\
                   &Tags.member.1.Key=team&Tags.member.1.Value=web";
        let (status, body) = ask(&harness, put).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.starts_with("<PutMetricAlarmResponse"), "{body}");
        let set = "Action=SetAlarmState&AlarmName=a&StateValue=ALARM&StateReason=hot+now";
        let (status, body) = ask(&harness, set).await;
        assert_eq!(status, 200, "{body}");
        let (status, body) = ask(&harness, "Action=DescribeAlarms&AlarmNames.member.1=a").await;
        assert_eq!(status, 200, "{body}");
        for part in [
            "<DescribeAlarmsResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><DescribeAlarmsResult>",
            "<AlarmName>a</AlarmName>",
            "<StateValue>ALARM</StateValue>",
            "<StateReason>hot now</StateReason>",
            "<Threshold>1.5</Threshold>",
            "<Dimensions><member><Name>n</Name><Value>v</Value></member></Dimensions>",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let arn = harness.cluster("x").scope.alarm("a").arn();
        let (_, body) = ask(&harness, &format!("Action=ListTagsForResource&ResourceARN={arn}")).await;
        assert!(
            body.contains("<Tags><member><Key>team</Key><Value>web</Value></member></Tags>"),
            "{body}"
        );
        ask(&harness, "Action=DeleteAlarms&AlarmNames.member.1=a").await;
        let (_, body) = ask(&harness, "Action=DescribeAlarms").await;
        assert!(!body.contains("<AlarmName>"), "{body}");
    }

    #[tokio::test]
    async fn errors_that_clients_of_the_query_protocol_get_have_its_form_and_codes() {
        let harness = Harness::new();
        for (form, status, code) in [
            (
                "Action=SetAlarmState&AlarmName=b&StateValue=OK&StateReason=r",
                404,
                "ResourceNotFound",
            ),
            ("Action=SetAlarmState&AlarmName=a", 400, "ValidationError"),
            (
                "Action=SetAlarmState&AlarmName=a&StateValue=OK&StateReason=r&Color=red",
                400,
                "ValidationError",
            ),
            ("Action=GetMetricData", 400, "InvalidAction"),
            ("AlarmName=a", 400, "InvalidAction"),
        ] {
            let (found, body) = ask(&harness, form).await;
            assert_eq!(found, status, "{body}");
            assert!(body.starts_with("<ErrorResponse"), "{body}");
            assert!(body.contains(&format!("<Code>{code}</Code>")), "{body}");
        }
        let (_, body) = ask(&harness, "Action=GetMetricData").await;
        let says = "Could not find operation GetMetricData for version 2010-08-01. Served of cloudwatch are: DeleteAlarms, DescribeAlarms, ";
        assert!(body.contains(says), "{body}");
    }

    #[tokio::test]
    async fn errors_have_the_codes_by_which_clients_of_cloudwatch_know_them() {
        let harness = Harness::new();
        let set = |name: &str, data: &str| json!({"AlarmName": name, "StateValue": "OK", "StateReason": "r", "StateReasonData": data});
        harness
            .call::<PutMetricAlarm>(json!({"AlarmName": "a"}))
            .await
            .expect("made");
        for (input, status, kind, code) in [
            (set("nowhere", "{}"), 404, "ResourceNotFound", "ResourceNotFound;Sender"),
            (set("a", "{"), 400, "InvalidFormatFault", "InvalidFormat;Sender"),
            (
                json!({"AlarmName": "a"}),
                400,
                "ValidationError",
                "ValidationError;Sender",
            ),
        ] {
            let route = crate::api::dispatch::find(
                &berth_aws::cloudwatch::SERVICE,
                <SetAlarmState as berth_aws::Operation>::MODEL,
            );
            let route = route.expect("it has behaviour");
            let response = harness.send_document(route, input.to_string().into()).await;
            assert_eq!(response.status(), status);
            let body: Value = serde_json::from_slice(response.body()).expect("JSON");
            assert_eq!(body["__type"], kind);
            assert_eq!(response.headers()["x-amzn-query-error"], code);
        }
        let response = harness.send("ecs", "MakeCoffee", &json!({}), SECRET).await;
        assert!(!response.headers().contains_key("x-amzn-query-error"));
    }
}
