//! `UntagResource`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UntagResourceRequest, UntagResourceResponse};
use berth_core::state::Command;

use super::{taggable, tags};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UntagResourceRequest,
) -> Result<UntagResourceResponse, AwsError> {
    let state = api.read().await?;
    let found = taggable::find(&state, &call.scope, input.resource_arn.as_deref())?;
    let (resource, _) = found.ok_or_else(taggable::not_found)?;
    let keys = input.tag_keys.unwrap_or_default();
    for key in &keys {
        tags::check_key(key)?;
    }
    let outcome = api.try_propose(Command::UntagResource { resource, keys }).await;
    outcome.map_err(|failure| taggable::failure(&failure))?;
    Ok(UntagResourceResponse {})
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, ListTagsForResource, UntagResource};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn tags_are_removed_by_key_and_unknown_keys_do_no_harm() {
        let harness = Harness::new();
        let tags = json!([{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]);
        harness
            .call::<CreateCluster>(json!({"tags": tags}))
            .await
            .expect("created");
        let arn = harness.cluster("default").arn();
        let input = json!({"resourceArn": arn, "tagKeys": ["a", "unknown"]});
        harness.call::<UntagResource>(input).await.expect("untagged");
        let left = harness
            .call::<ListTagsForResource>(json!({"resourceArn": arn}))
            .await
            .expect("listed");
        assert_eq!(left["tags"], json!([{"key": "b", "value": "2"}]));
        let reserved = json!({"resourceArn": arn, "tagKeys": ["aws:x"]});
        assert!(harness.call::<UntagResource>(reserved).await.is_err());
    }
}
