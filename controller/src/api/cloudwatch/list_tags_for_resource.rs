//! `ListTagsForResource` of an alarm. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::{ListTagsForResourceInput, ListTagsForResourceOutput};

use super::alarms;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, AwsError> {
    let state = api.read().await?;
    alarms::check_level(&state)?;
    let key = alarms::of_arn(&call.scope, input.resource_arn.as_deref())?;
    let alarm = state.alarm(&key).ok_or_else(|| alarms::not_found(&key))?;
    Ok(ListTagsForResourceOutput {
        tags: Some(alarms::render_tags(&alarm.tags)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::cloudwatch::operations::{ListTagsForResource, PutMetricAlarm, TagResource, UntagResource};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    const ARN: &str = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a";

    fn tags(pairs: &[(&str, &str)]) -> Value {
        pairs
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect()
    }

    #[tokio::test]
    async fn alarm_has_the_tags_that_it_was_made_with_until_they_change() {
        let harness = Harness::new();
        let given = json!({"AlarmName": "a", "Tags": tags(&[("team", "web"), ("env", "prod")])});
        harness.call::<PutMetricAlarm>(given).await.expect("made");
        // Of an alarm that is there, they are left as they are (CloudWatch's rule).
        let again = json!({"AlarmName": "a", "Tags": tags(&[("team", "db")])});
        harness.call::<PutMetricAlarm>(again).await.expect("written anew");
        let list = async || {
            let answer = harness.call::<ListTagsForResource>(json!({"ResourceARN": ARN})).await;
            answer.expect("listed")["Tags"].clone()
        };
        assert_eq!(list().await, tags(&[("env", "prod"), ("team", "web")]));
        let input = json!({"ResourceARN": ARN, "Tags": tags(&[("team", "shop")])});
        harness.call::<TagResource>(input).await.expect("tagged");
        let input = json!({"ResourceARN": ARN, "TagKeys": ["env"]});
        harness.call::<UntagResource>(input).await.expect("untagged");
        assert_eq!(list().await, tags(&[("team", "shop")]));
    }

    #[tokio::test]
    async fn tags_of_what_is_no_alarm_or_is_not_there_are_refused() {
        let harness = Harness::new();
        for (arn, code) in [
            (ARN.to_owned(), "ResourceNotFoundException"),
            (ARN.replace("us-east-1", "eu-west-1"), "InvalidParameterValue"),
            (
                "arn:aws:cloudwatch::123456789012:dashboard/d".to_owned(),
                "InvalidParameterValue",
            ),
        ] {
            let list = json!({"ResourceARN": arn});
            let error = harness.call::<ListTagsForResource>(list).await.expect_err("refused");
            assert_eq!(error.kind.query_code, code);
            let tag = json!({"ResourceARN": arn, "Tags": tags(&[("a", "b")])});
            let error = harness.call::<TagResource>(tag).await.expect_err("refused");
            assert_eq!(error.kind.query_code, code);
        }
    }
}
