//! `TagResource`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{TagResourceRequest, TagResourceResponse};
use berth_core::state::Command;

use super::tags::{self, Carrier};
use super::{service_dependencies, taggable};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(api: &Api, call: &Call, input: TagResourceRequest) -> Result<TagResourceResponse, AwsError> {
    let state = api.read().await?;
    let found = taggable::find(&state, &call.scope, input.resource_arn.as_deref())?;
    let (resource, _) = found.ok_or_else(taggable::not_found)?;
    let tags = tags::from_request(Carrier::of(&state, &resource), input.tags)?;
    service_dependencies::check_tagged(&state, &resource, &tags)?;
    let outcome = api.try_propose(Command::TagResource { resource, tags }).await;
    outcome.map_err(|failure| taggable::failure(&failure))?;
    Ok(TagResourceResponse {})
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, ListTagsForResource, TagResource};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn tags(harness: &Harness, arn: &str) -> Value {
        let answer = harness.call::<ListTagsForResource>(json!({"resourceArn": arn})).await;
        answer.expect("listed")["tags"].clone()
    }

    fn numbered(from: usize, to: usize) -> Value {
        (from..to)
            .map(|n| json!({"key": format!("k{n}"), "value": "v"}))
            .collect()
    }

    #[tokio::test]
    async fn tags_are_added_and_replace_those_of_the_same_key() {
        let harness = Harness::new();
        harness.call::<CreateCluster>(json!({})).await.expect("created");
        let arn = harness.cluster("default").arn();
        for (key, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            let input = json!({"resourceArn": arn, "tags": [{"key": key, "value": value}]});
            harness.call::<TagResource>(input).await.expect("tagged");
        }
        let expected = json!([{"key": "a", "value": "2"}, {"key": "b", "value": "3"}]);
        assert_eq!(tags(&harness, &arn).await, expected);
    }

    #[tokio::test]
    async fn tags_beyond_the_limits_are_refused_without_effect() {
        let harness = Harness::new();
        harness.call::<CreateCluster>(json!({})).await.expect("created");
        let arn = harness.cluster("default").arn();
        harness
            .call::<TagResource>(json!({"resourceArn": arn, "tags": numbered(0, 50)}))
            .await
            .expect("50 tags are allowed");
        for tags in [
            numbered(50, 51),
            json!([{"key": "AWS:mine", "value": "v"}]),
            json!([{"key": "k".repeat(129), "value": "v"}]),
            json!([{"key": "k0", "value": "v".repeat(257)}]),
            json!([{"key": "", "value": "v"}]),
            json!([{"value": "v"}]),
        ] {
            let input = json!({"resourceArn": arn, "tags": tags});
            let error = harness.call::<TagResource>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException", "{}", error.message);
        }
        assert_eq!(tags(&harness, &arn).await.as_array().map(Vec::len), Some(50));
    }

    #[tokio::test]
    async fn resource_that_does_not_exist_or_cannot_be_tagged_is_refused() {
        let harness = Harness::new();
        let cluster = harness.cluster("none");
        // A host of this installation, but not of the cluster that the ARN names.
        let elsewhere = cluster.container_instance_arn(harness.add_host(1, "z"));
        for (arn, code) in [
            (cluster.arn(), "ClusterNotFoundException"),
            (cluster.service("s").arn(), "ResourceNotFoundException"),
            (elsewhere, "ResourceNotFoundException"),
            (
                "arn:aws:ecs:us-east-1:123456789012:service/s".into(),
                "InvalidParameterException",
            ),
            (
                "arn:aws:ecs:eu-west-1:123456789012:cluster/c".into(),
                "InvalidParameterException",
            ),
            ("default".into(), "InvalidParameterException"),
        ] {
            let input = json!({"resourceArn": arn, "tags": numbered(0, 1)});
            let error = harness.call::<TagResource>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, code, "{arn}: {}", error.message);
        }
    }
}
