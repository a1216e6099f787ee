//! `ListAttributes`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListAttributesRequest, ListAttributesResponse, TargetType};

use super::{attributes, references};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListAttributesRequest,
) -> Result<ListAttributesResponse, AwsError> {
    let page = Page::parse("ListAttributes", input.next_token.as_deref(), input.max_results, 100)?;
    if input.target_type != Some(TargetType::ContainerInstance) {
        return Err(invalid("targetType must be container-instance."));
    }
    let name = input.attribute_name.filter(|name| !name.is_empty());
    let value = input.attribute_value.filter(|value| !value.is_empty());
    if value.is_some() && name.is_none() {
        return Err(invalid("attributeName must be given where attributeValue is."));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let all = state.container_instances_of(&cluster.key).flat_map(|instance| {
        let attributes = instance.all_attributes().into_iter();
        attributes.map(move |(name, value)| (instance, name, value))
    });
    let wanted = all.filter(|(_, of_name, of_value)| {
        name.as_ref().is_none_or(|name| name == of_name) && (value.is_none() || value == *of_value)
    });
    let (attributes, next_token) = page.take(wanted.map(|(instance, name, value)| {
        let key = (instance.id, name.clone());
        (key, attributes::render(instance, name, value))
    }));
    Ok(ListAttributesResponse {
        attributes: Some(attributes),
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{ListAttributes, PutAttributes};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn with_attributes() -> Harness {
        let harness = Harness::new();
        for (id, disk) in [(1, "ssd"), (2, "hdd")] {
            let target = harness.add_host(id, "z").to_string();
            let disk = json!({"name": "disk", "value": disk, "targetId": target, "targetType": "container-instance"});
            harness
                .call::<PutAttributes>(json!({"attributes": [disk]}))
                .await
                .expect("put");
        }
        harness
    }

    async fn list(harness: &Harness, mut input: Value) -> Value {
        input["targetType"] = json!("container-instance");
        harness.call::<ListAttributes>(input).await.expect("listed")
    }

    fn values(answer: &Value) -> Vec<&str> {
        let attributes = answer["attributes"].as_array().expect("a list");
        attributes
            .iter()
            .map(|a| a["value"].as_str().expect("a value"))
            .collect()
    }

    #[tokio::test]
    async fn attributes_are_listed_by_name_and_value() {
        let harness = with_attributes().await;
        assert_eq!(values(&list(&harness, json!({})).await), ["ssd", "z", "hdd", "z"]);
        assert_eq!(
            values(&list(&harness, json!({"attributeName": "disk"})).await),
            ["ssd", "hdd"]
        );
        let of_value = json!({"attributeName": "disk", "attributeValue": "hdd"});
        assert_eq!(values(&list(&harness, of_value).await), ["hdd"]);
        let without_name = json!({"targetType": "container-instance", "attributeValue": "hdd"});
        assert!(harness.call::<ListAttributes>(without_name).await.is_err());
    }

    #[tokio::test]
    async fn attributes_come_in_pages_across_hosts() {
        let harness = with_attributes().await;
        let first = list(&harness, json!({"maxResults": 3})).await;
        assert_eq!(values(&first), ["ssd", "z", "hdd"]);
        let second = list(&harness, json!({"maxResults": 3, "nextToken": first["nextToken"]})).await;
        assert_eq!(values(&second), ["z"]);
        assert_eq!(second["nextToken"], Value::Null);
    }
}
