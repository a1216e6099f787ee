//! `CreateCluster`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ClusterField, CreateClusterRequest, CreateClusterResponse};
use berth_core::model::{Cluster, ClusterStatus};
use berth_core::state::Command;

use super::render;
use super::tags::{self, Carrier};
use super::{capacity_providers, cluster_settings, names, references};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::members::{Honoured, refuse_others};

pub(super) const HONOURED: Honoured = Honoured::Members(&[
    ("clusterName", Honoured::All),
    ("tags", Honoured::All),
    ("settings", Honoured::All),
    ("capacityProviders", Honoured::All),
    ("defaultCapacityProviderStrategy", Honoured::All),
]);
const NAME_OF_DEFAULT: &str = "default";

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: CreateClusterRequest,
) -> Result<CreateClusterResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let name = input.cluster_name.filter(|name| !name.is_empty());
    let key = call.scope.cluster(checked(name.as_deref().unwrap_or(NAME_OF_DEFAULT))?);
    let capacity_providers = input.capacity_providers.unwrap_or_default();
    let default_strategy = input.default_capacity_provider_strategy.unwrap_or_default();
    if !capacity_providers.is_empty() || !default_strategy.is_empty() {
        capacity_providers::check_level(&*api.read().await?)?;
    }
    let wanted = Cluster {
        capacity_providers: capacity_providers::of_cluster(&call.scope, &capacity_providers)?,
        default_capacity_provider_strategy: capacity_providers::strategy(&call.scope, default_strategy)?,
        settings: cluster_settings::from_request(input.settings)?,
        tags: tags::from_request(Carrier::Cluster, input.tags)?,
        ..Cluster::new(key, call.now)
    };
    let created = !api.propose(Command::CreateCluster(wanted.clone())).await?.is_empty();
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, Some(wanted.key.name.as_str()))?;
    if !created && !is_repetition(cluster, &wanted) {
        return Err(invalid(
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        ));
    }
    let include = [ClusterField::Settings, ClusterField::Tags];
    Ok(CreateClusterResponse {
        cluster: Some(render::cluster::cluster(&state, cluster, &include)),
    })
}

/// Whether the cluster that exists has all that is asked for.
fn is_repetition(cluster: &Cluster, wanted: &Cluster) -> bool {
    let same_tags = wanted.tags.is_empty() || wanted.tags == cluster.tags;
    // The one setting has one value, so that whatever is asked for is so.
    let same_providers = wanted.capacity_providers.is_empty()
        || (wanted.capacity_providers == cluster.capacity_providers
            && wanted.default_capacity_provider_strategy == cluster.default_capacity_provider_strategy);
    same_tags && same_providers && cluster.status == ClusterStatus::Active
}

fn checked(name: &str) -> Result<&str, AwsError> {
    if !names::is_well_formed(name) {
        return Err(invalid(format!(
            "The cluster name must have at most {} letters, numbers, underscores and hyphens, and no others.",
            names::MAX_NAME
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, DescribeClusters};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn cluster_without_a_name_is_the_default_one() {
        let answer = Harness::new().call::<CreateCluster>(json!({})).await.expect("created");
        let cluster = &answer["cluster"];
        assert_eq!(cluster["clusterName"], "default");
        assert_eq!(
            cluster["clusterArn"],
            "arn:aws:ecs:us-east-1:123456789012:cluster/default"
        );
        assert_eq!(cluster["status"], "ACTIVE");
        assert_eq!(cluster["runningTasksCount"], 0);
        assert_eq!(
            cluster["settings"],
            json!([{"name": "containerInsights", "value": "disabled"}])
        );
        assert_eq!(cluster["capacityProviders"], json!([]));
    }

    #[tokio::test]
    async fn cluster_created_again_stays_as_it_is() {
        let harness = Harness::new();
        let input = json!({"clusterName": "a", "tags": [{"key": "k", "value": "v"}]});
        let first = harness.call::<CreateCluster>(input.clone()).await.expect("created");
        assert_eq!(harness.call::<CreateCluster>(input).await, Ok(first.clone()));
        assert_eq!(
            harness.call::<CreateCluster>(json!({"clusterName": "a"})).await,
            Ok(first)
        );
        let other = json!({"clusterName": "a", "tags": [{"key": "k", "value": "other"}]});
        let error = harness.call::<CreateCluster>(other).await.expect_err("refused");
        assert!(error.message.contains("idempotent"), "{}", error.message);
        let described = harness
            .call::<DescribeClusters>(json!({"clusters": ["a"], "include": ["TAGS"]}))
            .await
            .expect("described");
        assert_eq!(described["clusters"][0]["tags"], json!([{"key": "k", "value": "v"}]));
    }

    #[tokio::test]
    async fn cluster_with_a_bad_name_is_refused() {
        for name in ["a b", "a/b", "ä", &"a".repeat(256)] {
            let error = Harness::new().call::<CreateCluster>(json!({"clusterName": name})).await;
            assert_eq!(error.expect_err(name).kind.code, "InvalidParameterException");
        }
    }

    #[tokio::test]
    async fn cluster_with_what_is_not_honoured_is_refused_by_name() {
        for (input, named) in [
            (
                json!({"configuration": {"executeCommandConfiguration": {"logging": "NONE"}}}),
                "configuration",
            ),
            (
                json!({"serviceConnectDefaults": {"namespace": "n"}}),
                "serviceConnectDefaults",
            ),
            (
                json!({"settings": [{"name": "containerInsights", "value": "enhanced"}]}),
                "enhanced",
            ),
        ] {
            let harness = Harness::new();
            let error = harness.call::<CreateCluster>(input).await.expect_err(named);
            assert_eq!(error.kind.code, "ClientException");
            assert!(error.message.contains(named), "{}", error.message);
            assert_eq!(harness.state.state().all_clusters().count(), 0);
        }
        let empty = json!({"capacityProviders": [], "settings": [{"name": "containerInsights", "value": "disabled"}]});
        assert!(Harness::new().call::<CreateCluster>(empty).await.is_ok());
    }
}
