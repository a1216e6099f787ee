//! `DescribeCapacityProviders`. Shell.

use std::collections::BTreeMap;

use berth_aws::AwsError;
use berth_aws::ecs::{CapacityProviderField, DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse};
use berth_core::model::{CapacityProviderName, PredefinedCapacityProvider};

use super::{capacity_providers, references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

/// Most capacity providers that one request can name (ECS: 100).
const MAX_NAMED: usize = 100;
/// Capacity providers of a page where the request does not say (ECS: 10).
const DEFAULT_PAGE: i32 = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeCapacityProvidersRequest,
) -> Result<DescribeCapacityProvidersResponse, AwsError> {
    let named = input.capacity_providers.unwrap_or_default();
    if named.len() > MAX_NAMED {
        return Err(invalid(format!(
            "At most {MAX_NAMED} capacity providers can be described at once."
        )));
    }
    let with_tags = input.include.unwrap_or_default().contains(&CapacityProviderField::Tags);
    let state = api.read().await?;
    let of_cluster = match &input.cluster {
        Some(cluster) => Some(references::active_cluster(&state, &call.scope, Some(cluster))?),
        None => None,
    };
    let mut failures = vec![];
    let mut keys = vec![];
    for text in &named {
        let name = capacity_providers::name_of(&call.scope, Some(text))?;
        keys.push(call.scope.capacity_provider(name.as_str()));
    }
    for key in &keys {
        if state.capacity_provider(key).is_none() && PredefinedCapacityProvider::of(&key.name).is_none() {
            failures.push(references::missing(key.arn()));
        }
    }
    let page = Page::parse(
        "DescribeCapacityProviders",
        input.next_token.as_deref(),
        input.max_results,
        if named.is_empty() {
            DEFAULT_PAGE
        } else {
            crate::api::pagination::MAX_RESULTS
        },
    )?;
    let created = state.capacity_providers(&call.scope).map(|provider| {
        let answer = render::capacity_provider(provider, with_tags);
        (provider.key.name.clone(), answer)
    });
    let predefined = PredefinedCapacityProvider::ALL.map(|provider| {
        let answer = render::predefined_capacity_provider(&call.scope, provider);
        (provider.name().into(), answer)
    });
    let all: BTreeMap<CapacityProviderName, _> = created.chain(predefined).collect();
    let is_asked_for = |name: &CapacityProviderName| {
        let is_named = named.is_empty() || keys.iter().any(|key| key.name == *name);
        is_named && of_cluster.is_none_or(|cluster| cluster.capacity_providers.contains(name))
    };
    let shown = all.into_iter().filter(|(name, _)| is_asked_for(name));
    let (capacity_providers, next_token) = page.take(shown.map(|(name, answer)| (name.to_string(), answer)));
    Ok(DescribeCapacityProvidersResponse {
        capacity_providers: Some(capacity_providers),
        failures: Some(failures),
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, DescribeCapacityProviders};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn names(answer: &Value) -> Vec<&str> {
        let all = answer["capacityProviders"].as_array().into_iter().flatten();
        all.filter_map(|provider| provider["name"].as_str()).collect()
    }

    #[tokio::test]
    async fn capacity_providers_are_shown_by_name_by_cluster_and_page_by_page() {
        let harness = Harness::new();
        for name in ["c", "a", "b"] {
            harness.add_capacity_provider(name).await;
        }
        let describe = async |input: Value| {
            harness
                .call::<DescribeCapacityProviders>(input)
                .await
                .expect("described")
        };
        let all = describe(json!({})).await;
        assert_eq!(names(&all), ["FARGATE", "FARGATE_SPOT", "a", "b", "c"]);
        assert_eq!(
            all["capacityProviders"][1],
            json!({
                "capacityProviderArn": "arn:aws:ecs:us-east-1:123456789012:capacity-provider/FARGATE_SPOT",
                "name": "FARGATE_SPOT", "status": "ACTIVE", "type": "FARGATE_SPOT", "tags": []
            })
        );
        let first = describe(json!({"maxResults": 4})).await;
        assert_eq!(names(&first), ["FARGATE", "FARGATE_SPOT", "a", "b"]);
        assert_eq!(
            names(&describe(json!({"maxResults": 4, "nextToken": first["nextToken"]})).await),
            ["c"]
        );
        assert_eq!(
            names(&describe(json!({"capacityProviders": ["FARGATE"]})).await),
            ["FARGATE"]
        );
        let arn = "arn:aws:ecs:us-east-1:123456789012:capacity-provider/b";
        let named = describe(json!({"capacityProviders": [arn, "x"]})).await;
        assert_eq!(names(&named), ["b"]);
        assert_eq!(
            named["failures"],
            json!([{"arn": "arn:aws:ecs:us-east-1:123456789012:capacity-provider/x", "reason": "MISSING"}])
        );
        let cluster = json!({"clusterName": "shop", "capacityProviders": ["b", "c"]});
        harness.call::<CreateCluster>(cluster).await.expect("created");
        assert_eq!(names(&describe(json!({"cluster": "shop"})).await), ["b", "c"]);
        let elsewhere = harness
            .call_in::<DescribeCapacityProviders>("eu-west-1", json!({}))
            .await;
        assert_eq!(names(&elsewhere.expect("described")), ["FARGATE", "FARGATE_SPOT"]);
    }
}
