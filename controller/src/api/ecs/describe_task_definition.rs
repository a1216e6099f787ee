//! `DescribeTaskDefinition`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse, TaskDefinitionField};

use super::{references, render, tags};
use crate::api::context::{Api, Call};
use crate::api::errors::client;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeTaskDefinitionRequest,
) -> Result<DescribeTaskDefinitionResponse, AwsError> {
    let state = api.read().await?;
    let name = input.task_definition.unwrap_or_default();
    let definition = references::task_definition(&state, &call.scope, &name)?
        .ok_or_else(|| client("Unable to describe task definition."))?;
    let with_tags = input.include.unwrap_or_default().contains(&TaskDefinitionField::Tags);
    Ok(DescribeTaskDefinitionResponse {
        task_definition: Some(render::task_definition(definition)),
        tags: Some(if with_tags {
            tags::render(&definition.tags)
        } else {
            vec![]
        }),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DeregisterTaskDefinition, DescribeTaskDefinition, RegisterTaskDefinition};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn definition_is_found_by_family_revision_and_arn_in_its_region_alone() {
        let harness = Harness::new();
        let input = json!({
            "family": "site", "tags": [{"key": "b", "value": "2"}, {"key": "a", "value": "1"}],
            "containerDefinitions": [{"name": "web", "image": "i", "memory": 64}]
        });
        for _ in 0..2 {
            harness
                .call::<RegisterTaskDefinition>(input.clone())
                .await
                .expect("registers");
        }
        for (name, revision) in [
            ("site", 2),
            ("site:1", 1),
            ("arn:aws:ecs:us-east-1:123456789012:task-definition/site:1", 1),
        ] {
            let input = json!({"taskDefinition": name, "include": ["TAGS"]});
            let answer = harness.call::<DescribeTaskDefinition>(input).await.expect("found");
            assert_eq!(answer["taskDefinition"]["revision"], revision, "{name}");
            assert_eq!(answer["tags"][0]["key"], "a");
        }
        let error = harness
            .call_in::<DescribeTaskDefinition>("eu-west-1", json!({"taskDefinition": "site"}))
            .await
            .expect_err("another region");
        assert_eq!(error.message, "Unable to describe task definition.");
    }

    #[tokio::test]
    async fn family_without_active_revision_is_not_found_but_its_revision_is() {
        let harness = Harness::new();
        let input = json!({"family": "f", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let answer = harness
            .call::<DeregisterTaskDefinition>(json!({"taskDefinition": "f:1"}))
            .await
            .expect("deregisters");
        assert_eq!(answer["taskDefinition"]["status"], "INACTIVE");
        assert!(answer["taskDefinition"]["deregisteredAt"].is_number());
        assert!(
            harness
                .call::<DescribeTaskDefinition>(json!({"taskDefinition": "f"}))
                .await
                .is_err()
        );
        let answer = harness
            .call::<DescribeTaskDefinition>(json!({"taskDefinition": "f:1"}))
            .await;
        assert_eq!(answer.expect("found")["taskDefinition"]["status"], "INACTIVE");
    }
}
