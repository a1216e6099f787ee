//! `ListTagsForResource`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListTagsForResourceRequest, ListTagsForResourceResponse};

use super::{taggable, tags};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, AwsError> {
    let state = api.read().await?;
    let found = taggable::find(&state, &call.scope, input.resource_arn.as_deref())?;
    // Unlike the operations that change tags, this one has no error of its own for what is not there.
    let (_, tags) = found.ok_or_else(|| invalid("The specified resource is not found."))?;
    Ok(ListTagsForResourceResponse {
        tags: Some(tags::render(tags)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::ListTagsForResource;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn host_without_tags_has_an_empty_list() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z");
        let arn = harness.cluster("default").container_instance_arn(id);
        let answer = harness.call::<ListTagsForResource>(json!({"resourceArn": arn})).await;
        assert_eq!(answer.expect("listed"), json!({"tags": []}));
    }

    #[tokio::test]
    async fn resource_that_does_not_exist_is_refused() {
        let harness = Harness::new();
        let cluster = harness.cluster("nowhere");
        for (arn, code) in [
            (cluster.arn(), "ClusterNotFoundException"),
            (
                cluster.task_arn(berth_core::model::TaskId(1)),
                "InvalidParameterException",
            ),
        ] {
            let answer = harness.call::<ListTagsForResource>(json!({"resourceArn": arn})).await;
            assert_eq!(answer.expect_err("refused").kind.code, code);
        }
    }
}
