//! `DeleteAttributes`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteAttributesRequest, DeleteAttributesResponse, errors as ecs};
use berth_core::state::{ClusterState, Command};

use super::attributes::Targeted;
use super::{attributes, references};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteAttributesRequest,
) -> Result<DeleteAttributesResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let mut given = attributes::from_request(&state, &cluster.key, input.attributes)?;
    for attribute in &mut given {
        attribute.value = stored_value(&state, attribute)?;
    }
    let attributes = given.iter().map(|a| (a.target, a.name.clone())).collect();
    api.propose(Command::DeleteAttributes { attributes }).await?;
    Ok(DeleteAttributesResponse {
        attributes: Some(attributes::render_all(&cluster.key, given)),
    })
}

/// The value that the attribute has on its host. A value in the request means that attribute alone, so another one is not deleted.
fn stored_value(state: &ClusterState, attribute: &Targeted) -> Result<Option<String>, AwsError> {
    let instance = state.container_instance(attribute.target);
    let stored = instance.and_then(|instance| instance.user_attributes.get(&attribute.name));
    match stored {
        Some(value) if attribute.value.is_none() || attribute.value == *value => Ok(value.clone()),
        _ => Err(ecs::TARGET_NOT_FOUND.error(format!(
            "The container instance has no attribute {} of that value that was put by a user.",
            attribute.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DeleteAttributes, ListAttributes, PutAttributes};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn attribute(target: &str, name: &str) -> Value {
        json!({"name": name, "targetId": target, "targetType": "container-instance"})
    }

    async fn names(harness: &Harness) -> Vec<String> {
        let listed = harness
            .call::<ListAttributes>(json!({"targetType": "container-instance"}))
            .await
            .expect("listed");
        let attributes = listed["attributes"].as_array().expect("a list").clone();
        attributes
            .iter()
            .map(|a| a["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    #[tokio::test]
    async fn attribute_that_was_deleted_is_gone_and_the_answer_says_what_it_was() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        let mut put = attribute(&id, "disk");
        put["value"] = json!("ssd");
        harness
            .call::<PutAttributes>(json!({"attributes": [put]}))
            .await
            .expect("put");
        let answer = harness
            .call::<DeleteAttributes>(json!({"attributes": [attribute(&id, "disk")]}))
            .await
            .expect("deleted");
        assert_eq!(answer["attributes"][0]["value"], "ssd");
        assert_eq!(names(&harness).await, ["ecs.availability-zone"]);
    }

    #[tokio::test]
    async fn attribute_unknown_of_another_value_or_the_agents_own_is_not_found() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        let mut put = attribute(&id, "disk");
        put["value"] = json!("ssd");
        harness
            .call::<PutAttributes>(json!({"attributes": [put]}))
            .await
            .expect("put");
        put["value"] = json!("hdd");
        for wanted in [put, attribute(&id, "nothing"), attribute(&id, "ecs.availability-zone")] {
            let error = harness.call::<DeleteAttributes>(json!({"attributes": [wanted]})).await;
            assert_eq!(error.expect_err("refused").kind.code, "TargetNotFoundException");
        }
        assert_eq!(names(&harness).await, ["disk", "ecs.availability-zone"]);
    }
}
