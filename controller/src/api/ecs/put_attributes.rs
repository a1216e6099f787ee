//! `PutAttributes`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{PutAttributesRequest, PutAttributesResponse};
use berth_core::state::Command;

use super::{attributes, references};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PutAttributesRequest,
) -> Result<PutAttributesResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let given = attributes::from_request(&state, &cluster.key, input.attributes)?;
    let attributes = given.iter().map(|a| (a.target, a.name.clone(), a.value.clone()));
    api.propose(Command::PutAttributes {
        attributes: attributes.collect(),
    })
    .await?;
    Ok(PutAttributesResponse {
        attributes: Some(attributes::render_all(&cluster.key, given)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeContainerInstances, PutAttributes};
    use berth_core::model::ContainerInstanceId;
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn attribute(target: &str, name: &str, value: &str) -> Value {
        json!({"name": name, "value": value, "targetId": target, "targetType": "container-instance"})
    }

    #[tokio::test]
    async fn attribute_that_was_put_is_on_the_host_and_wins_over_the_agents() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a").to_string();
        let input = json!({"attributes": [
            attribute(&id, "disk", "ssd"),
            attribute(&id, "ecs.availability-zone", "zone-b"),
            {"name": "gpu", "targetId": id, "targetType": "container-instance"},
        ]});
        let answer = harness.call::<PutAttributes>(input).await.expect("put");
        let arn = harness
            .cluster("default")
            .container_instance_arn(ContainerInstanceId(1));
        assert_eq!(
            answer["attributes"][0],
            json!({"name": "disk", "value": "ssd", "targetId": arn})
        );
        let described = harness
            .call::<DescribeContainerInstances>(json!({"containerInstances": [id]}))
            .await
            .expect("described");
        assert_eq!(
            described["containerInstances"][0]["attributes"],
            json!([
                {"name": "disk", "value": "ssd"},
                {"name": "ecs.availability-zone", "value": "zone-b"},
                {"name": "gpu"},
            ])
        );
    }

    #[tokio::test]
    async fn attribute_for_a_host_that_does_not_exist_has_no_target() {
        let harness = Harness::new();
        let here = harness.add_host(1, "z").to_string();
        let ghost = ContainerInstanceId(9).to_string();
        let input = json!({"attributes": [attribute(&here, "a", "1"), attribute(&ghost, "a", "1")]});
        let error = harness.call::<PutAttributes>(input).await.expect_err("refused");
        assert_eq!(error.kind.code, "TargetNotFoundException");
    }

    #[tokio::test]
    async fn attributes_beyond_ten_on_one_host_are_refused_without_effect() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        let ten: Vec<_> = (0..10).map(|n| attribute(&id, &format!("n{n}"), "v")).collect();
        harness
            .call::<PutAttributes>(json!({"attributes": ten}))
            .await
            .expect("put");
        let before = harness
            .state
            .state()
            .container_instance(ContainerInstanceId(1))
            .cloned();
        let again = json!({"attributes": [attribute(&id, "n0", "w"), attribute(&id, "n10", "v")]});
        let error = harness.call::<PutAttributes>(again).await.expect_err("refused");
        assert_eq!(error.kind.code, "AttributeLimitExceededException");
        assert_eq!(
            harness
                .state
                .state()
                .container_instance(ContainerInstanceId(1))
                .cloned(),
            before
        );
        let replacing = json!({"attributes": [attribute(&id, "n0", "w")]});
        harness
            .call::<PutAttributes>(replacing)
            .await
            .expect("a value can be replaced");
    }

    #[tokio::test]
    async fn attribute_that_is_malformed_is_refused() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        for attributes in [
            json!([]),
            json!([attribute(&id, "", "v")]),
            json!([attribute(&id, "with space", "v")]),
            json!([attribute(&id, "n", " v")]),
            json!([attribute(&id, "n", "v".repeat(129).as_str())]),
            json!([{"name": "n", "value": "v"}]),
            json!([{"name": "n", "value": "v", "targetId": id}]),
            json!([attribute(&id, "n", "v"), attribute(&id, "n", "w")]),
        ] {
            let error = harness.call::<PutAttributes>(json!({"attributes": attributes})).await;
            assert_eq!(error.expect_err("refused").kind.code, "InvalidParameterException");
        }
    }
}
