//! `ListTaskDefinitions`. Shell.

use std::cmp::Reverse;

use berth_aws::AwsError;
use berth_aws::ecs::{
    ListTaskDefinitionsRequest, ListTaskDefinitionsResponse, SortOrder, TaskDefinitionStatus as AwsStatus,
};
use berth_core::model::{TaskDefinition, TaskDefinitionStatus};

use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

const LIST: &str = "ListTaskDefinitions";

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse, AwsError> {
    let (token, size) = (input.next_token.as_deref(), input.max_results);
    let state = api.read().await?;
    let wanted = input.status.unwrap_or(AwsStatus::Active);
    let family = input.family_prefix.filter(|family| !family.is_empty());
    let matching = state.task_definitions(&call.scope).filter(|definition| {
        // ECS calls it a prefix and takes it as the family's full name.
        let of_family = family
            .as_deref()
            .is_none_or(|name| name == definition.key.family.as_str());
        of_family && has_status(definition.status, wanted)
    });
    let element = |definition: &TaskDefinition| {
        let key = (definition.key.family.as_str().to_owned(), definition.key.revision);
        (key, definition.key.arn())
    };
    let (arns, next_token) = match input.sort.unwrap_or(SortOrder::Asc) {
        SortOrder::Asc => Page::parse(LIST, token, size, 100)?.take(matching.map(|d| element(d))),
        SortOrder::Desc => {
            let descending = matching.rev().map(|d| element(d)).map(|(key, arn)| (Reverse(key), arn));
            Page::parse(LIST, token, size, 100)?.take(descending)
        }
    };
    Ok(ListTaskDefinitionsResponse {
        task_definition_arns: Some(arns),
        next_token,
    })
}

fn has_status(status: TaskDefinitionStatus, wanted: AwsStatus) -> bool {
    match wanted {
        AwsStatus::Active => status == TaskDefinitionStatus::Active,
        AwsStatus::Inactive => status == TaskDefinitionStatus::Inactive,
        AwsStatus::DeleteInProgress => status == TaskDefinitionStatus::DeleteInProgress,
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DeregisterTaskDefinition, ListTaskDefinitionFamilies, ListTaskDefinitions, RegisterTaskDefinition,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        for family in ["b", "a", "a"] {
            let input = json!({"family": family, "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
        harness
    }

    fn names(answer: &Value) -> Vec<String> {
        let arns = answer["taskDefinitionArns"].as_array().expect("a list");
        let name = |arn: &Value| arn.as_str().and_then(|arn| arn.rsplit('/').next()).map(str::to_owned);
        arns.iter().filter_map(name).collect()
    }

    #[tokio::test]
    async fn definitions_come_in_the_order_asked_for_page_by_page() {
        let harness = harness().await;
        let all = harness.call::<ListTaskDefinitions>(json!({})).await.expect("lists");
        assert_eq!(names(&all), ["a:1", "a:2", "b:1"]);
        let input = json!({"sort": "DESC", "maxResults": 2});
        let first = harness.call::<ListTaskDefinitions>(input).await.expect("lists");
        assert_eq!(names(&first), ["b:1", "a:2"]);
        let input = json!({"sort": "DESC", "maxResults": 2, "nextToken": first["nextToken"]});
        let second = harness.call::<ListTaskDefinitions>(input).await.expect("lists");
        assert_eq!(
            (names(&second), second.get("nextToken")),
            (vec!["a:1".to_owned()], None)
        );
    }

    #[tokio::test]
    async fn definitions_and_families_are_filtered_by_status() {
        let harness = harness().await;
        let input = json!({"taskDefinition": "b:1"});
        harness
            .call::<DeregisterTaskDefinition>(input)
            .await
            .expect("deregisters");
        let inactive = harness
            .call::<ListTaskDefinitions>(json!({"status": "INACTIVE"}))
            .await
            .expect("lists");
        assert_eq!(names(&inactive), ["b:1"]);
        for (status, families) in [
            ("ACTIVE", json!(["a"])),
            ("INACTIVE", json!(["b"])),
            ("ALL", json!(["a", "b"])),
        ] {
            let answer = harness
                .call::<ListTaskDefinitionFamilies>(json!({"status": status}))
                .await;
            assert_eq!(answer.expect("lists")["families"], families);
        }
    }
}
