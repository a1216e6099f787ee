//! `ListContainerInstances`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListContainerInstancesRequest, ListContainerInstancesResponse};
use berth_core::placement::Host;
use berth_core::placement::query_language::Expression;

use super::references;
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListContainerInstancesRequest,
) -> Result<ListContainerInstancesResponse, AwsError> {
    let page = Page::parse(
        "ListContainerInstances",
        input.next_token.as_deref(),
        input.max_results,
        100,
    )?;
    let filter: Option<Expression> = match input.filter.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse::<Expression>().map_err(|error| invalid(error.to_string()))?),
        None => None,
    };
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let wanted = state
        .container_instances_of(&cluster.key)
        .filter(|instance| {
            input
                .status
                .is_none_or(|status| status.as_str() == state.shown_status(instance))
        })
        .filter(|instance| match &filter {
            Some(filter) => filter.holds_for(&Host::from_state(&state, instance).facts()),
            None => true,
        });
    let (arns, next_token) = page.take(wanted.map(|instance| (instance.id, instance.arn())));
    Ok(ListContainerInstancesResponse {
        container_instance_arns: Some(arns),
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{ListContainerInstances, UpdateContainerInstancesState};
    use berth_core::model::ContainerInstanceId;
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn list(harness: &Harness, input: Value) -> Value {
        let answer = harness.call::<ListContainerInstances>(input).await.expect("listed");
        answer["containerInstanceArns"].clone()
    }

    fn arn(harness: &Harness, id: ContainerInstanceId) -> String {
        harness.cluster("default").container_instance_arn(id)
    }

    #[tokio::test]
    async fn hosts_are_listed_by_status_and_expression() {
        let harness = Harness::new();
        let (a, b) = (harness.add_host(1, "zone-a"), harness.add_host(2, "zone-b"));
        let drain = json!({"containerInstances": [b.to_string()], "status": "DRAINING"});
        harness
            .call::<UpdateContainerInstancesState>(drain)
            .await
            .expect("draining");
        let (a, b) = (arn(&harness, a), arn(&harness, b));
        assert_eq!(list(&harness, json!({})).await, json!([a, b]));
        assert_eq!(list(&harness, json!({"status": "ACTIVE"})).await, json!([a]));
        assert_eq!(list(&harness, json!({"status": "DRAINING"})).await, json!([b]));
        assert_eq!(list(&harness, json!({"status": "REGISTERING"})).await, json!([]));
        let filter = json!({"filter": "attribute:ecs.availability-zone == zone-a and agentConnected == true"});
        assert_eq!(list(&harness, filter).await, json!([a]));
    }

    #[tokio::test]
    async fn hosts_come_in_pages() {
        let harness = Harness::new();
        let (a, b) = (harness.add_host(1, "z"), harness.add_host(2, "z"));
        let first = harness
            .call::<ListContainerInstances>(json!({"maxResults": 1}))
            .await
            .expect("listed");
        assert_eq!(first["containerInstanceArns"], json!([arn(&harness, a)]));
        let next = json!({"maxResults": 1, "nextToken": first["nextToken"]});
        let second = harness.call::<ListContainerInstances>(next).await.expect("listed");
        assert_eq!(second, json!({"containerInstanceArns": [arn(&harness, b)]}));
    }

    #[tokio::test]
    async fn expression_that_cannot_be_read_is_refused_with_the_place() {
        let harness = Harness::new();
        harness.add_host(1, "z");
        let error = harness
            .call::<ListContainerInstances>(json!({"filter": "attribute:x =="}))
            .await;
        let error = error.expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(error.message.contains("column"), "{}", error.message);
    }

    #[tokio::test]
    async fn cluster_that_does_not_exist_is_not_found() {
        let error = Harness::new()
            .call::<ListContainerInstances>(json!({}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
    }
}
