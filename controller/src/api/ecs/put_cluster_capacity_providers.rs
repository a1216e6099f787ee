//! `PutClusterCapacityProviders`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ClusterField, PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse};
use berth_core::state::Command;

use super::{capacity_providers, references, render};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse, AwsError> {
    let state = api.read().await?;
    let key = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    capacity_providers::check_level(&state)?;
    let strategy = input.default_capacity_provider_strategy.unwrap_or_default();
    let command = Command::PutClusterCapacityProviders {
        cluster: key.clone(),
        capacity_providers: capacity_providers::of_cluster(&call.scope, &input.capacity_providers.unwrap_or_default())?,
        default_strategy: capacity_providers::strategy(&call.scope, strategy)?,
    };
    api.propose(command).await?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, Some(key.name.as_str()))?;
    let include = [ClusterField::Settings, ClusterField::Tags];
    Ok(PutClusterCapacityProvidersResponse {
        cluster: Some(render::cluster::cluster(&state, cluster, &include)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, DescribeClusters, PutClusterCapacityProviders, RegisterTaskDefinition,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn put(providers: Value, strategy: Value) -> Value {
        json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": strategy})
    }

    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        for name in ["plain", "gpu"] {
            harness.add_capacity_provider(name).await;
        }
        harness
    }

    #[tokio::test]
    async fn cluster_shows_what_was_put_last() {
        let harness = harness().await;
        let strategy = json!([{"capacityProvider": "gpu", "weight": 3, "base": 1}, {"capacityProvider": "plain"}]);
        let input = put(json!(["plain", "gpu"]), strategy);
        harness.call::<PutClusterCapacityProviders>(input).await.expect("put");
        let answer = harness.call::<DescribeClusters>(json!({})).await.expect("described");
        let cluster = &answer["clusters"][0];
        assert_eq!(cluster["capacityProviders"], json!(["plain", "gpu"]));
        assert_eq!(
            cluster["defaultCapacityProviderStrategy"],
            json!([
                {"capacityProvider": "gpu", "weight": 3, "base": 1}, {"capacityProvider": "plain", "weight": 0, "base": 0}
            ])
        );
        let input = put(json!(["plain"]), json!([]));
        let answer = harness.call::<PutClusterCapacityProviders>(input).await.expect("put");
        assert_eq!(answer["cluster"]["capacityProviders"], json!(["plain"]));
        assert_eq!(answer["cluster"]["defaultCapacityProviderStrategy"], json!([]));
    }

    #[tokio::test]
    async fn what_ecs_or_berth_does_not_take_is_refused_without_effect() {
        let harness = harness().await;
        let twice = json!([{"capacityProvider": "gpu"}, {"capacityProvider": "gpu"}]);
        let bases = json!([{"capacityProvider": "gpu", "base": 1}, {"capacityProvider": "plain", "base": 1}]);
        let many: Value = (0..21).map(|n| json!(format!("p{n}"))).collect();
        let all = || json!(["plain", "gpu"]);
        for (providers, strategy, code, part) in [
            (
                json!(["gpu", "FARGATE"]),
                json!([{"capacityProvider": "gpu", "weight": 1}, {"capacityProvider": "FARGATE", "weight": 1}]),
                "InvalidParameterException",
                "cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers",
            ),
            (
                json!(["other"]),
                json!([]),
                "InvalidParameterException",
                "other was not found",
            ),
            (
                json!(["gpu", "gpu"]),
                json!([]),
                "InvalidParameterException",
                "given twice",
            ),
            (
                many,
                json!([]),
                "InvalidParameterException",
                "maximum number of capacity providers per cluster",
            ),
            (
                json!(["plain"]),
                json!([{"capacityProvider": "gpu"}]),
                "InvalidParameterException",
                "not associated with the cluster",
            ),
            (all(), twice, "InvalidParameterException", "gpu is twice"),
            (all(), bases, "InvalidParameterException", "Only one capacity provider"),
            (
                all(),
                json!([{"capacityProvider": "gpu", "weight": 1001}]),
                "InvalidParameterException",
                "1000",
            ),
            (
                all(),
                json!([{"capacityProvider": "gpu", "base": 100_001}]),
                "InvalidParameterException",
                "100000",
            ),
            (
                all(),
                json!([{"capacityProvider": "gpu", "weight": -1}]),
                "InvalidParameterException",
                "weight",
            ),
        ] {
            let error = harness
                .call::<PutClusterCapacityProviders>(put(providers, strategy))
                .await
                .expect_err(part);
            assert_eq!(error.kind.code, code, "{}", error.message);
            assert!(error.message.contains(part), "{}", error.message);
        }
        let answer = harness.call::<DescribeClusters>(json!({})).await.expect("described");
        assert_eq!(answer["clusters"][0]["capacityProviders"], json!([]));
    }

    #[tokio::test]
    async fn capacity_providers_of_ecs_can_be_put_beside_others_and_be_the_default() {
        let harness = harness().await;
        let strategy = json!([
            {"capacityProvider": "FARGATE", "weight": 1, "base": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 4, "base": 0}
        ]);
        let input = put(json!(["gpu", "FARGATE", "FARGATE_SPOT"]), strategy.clone());
        let answer = harness.call::<PutClusterCapacityProviders>(input).await.expect("put");
        assert_eq!(
            answer["cluster"]["capacityProviders"],
            json!(["gpu", "FARGATE", "FARGATE_SPOT"])
        );
        assert_eq!(answer["cluster"]["defaultCapacityProviderStrategy"], strategy);
    }

    #[tokio::test]
    async fn capacity_provider_that_a_service_uses_cannot_be_removed() {
        let harness = harness().await;
        let input = put(json!(["gpu"]), json!([]));
        harness.call::<PutClusterCapacityProviders>(input).await.expect("put");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let input = json!({
            "serviceName": "site", "taskDefinition": "web", "desiredCount": 0,
            "capacityProviderStrategy": [{"capacityProvider": "gpu", "weight": 1}]
        });
        harness.call::<CreateService>(input).await.expect("creates");
        let error = harness
            .call::<PutClusterCapacityProviders>(put(json!(["plain"]), json!([])))
            .await
            .expect_err("in use");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            (
                "ResourceInUseException",
                "The specified capacity provider is in use and cannot be removed. The capacity provider gpu is used by service site."
            )
        );
    }
}
