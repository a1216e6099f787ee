//! `DescribeClusters`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeClustersRequest, DescribeClustersResponse};

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// Most clusters of one request (ECS's limit).
const MAX_CLUSTERS: usize = 100;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeClustersRequest,
) -> Result<DescribeClustersResponse, AwsError> {
    let named = input.clusters.unwrap_or_default();
    if named.len() > MAX_CLUSTERS {
        return Err(invalid(format!(
            "At most {MAX_CLUSTERS} clusters can be described at once."
        )));
    }
    let mut keys = vec![];
    for name in &named {
        keys.push(references::cluster_key(&call.scope, Some(name))?);
    }
    if named.is_empty() {
        keys.push(references::cluster_key(&call.scope, None)?);
    }
    let include = input.include.unwrap_or_default();
    let state = api.read().await?;
    let (mut clusters, mut failures) = (vec![], vec![]);
    for key in keys {
        match state.cluster(&key) {
            Some(cluster) => clusters.push(render::cluster::cluster(&state, cluster, &include)),
            None => failures.push(references::missing(key.arn())),
        }
    }
    Ok(DescribeClustersResponse {
        clusters: Some(clusters),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, DescribeClusters};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn cluster_with_hosts_shows_how_many() {
        let harness = Harness::new();
        harness.add_host(1, "a");
        harness.add_host(2, "b");
        let answer = harness.call::<DescribeClusters>(json!({})).await.expect("answered");
        assert_eq!(answer["clusters"][0]["registeredContainerInstancesCount"], 2);
        assert_eq!(answer["clusters"][0]["activeServicesCount"], 0);
        assert_eq!(answer["failures"], json!([]));
    }

    #[tokio::test]
    async fn cluster_that_does_not_exist_is_a_failure_beside_those_that_do() {
        let harness = Harness::new();
        harness
            .call::<CreateCluster>(json!({"clusterName": "a"}))
            .await
            .expect("created");
        let answer = harness.call::<DescribeClusters>(json!({"clusters": ["a", "b"]})).await;
        let answer = answer.expect("answered");
        assert_eq!(answer["clusters"][0]["clusterName"], "a");
        assert_eq!(
            answer["failures"],
            json!([{"arn": "arn:aws:ecs:us-east-1:123456789012:cluster/b", "reason": "MISSING"}])
        );
        let none = Harness::new()
            .call::<DescribeClusters>(json!({}))
            .await
            .expect("answered");
        assert_eq!(none["failures"][0]["reason"], "MISSING");
    }

    #[tokio::test]
    async fn cluster_shows_only_what_is_included() {
        let harness = Harness::new();
        let input = json!({"clusterName": "a", "tags": [{"key": "k", "value": "v"}]});
        harness.call::<CreateCluster>(input).await.expect("created");
        let plain = harness
            .call::<DescribeClusters>(json!({"clusters": ["a"]}))
            .await
            .expect("answered");
        assert_eq!(plain["clusters"][0]["settings"], json!([]));
        assert_eq!(plain["clusters"][0]["tags"], json!([]));
        assert_eq!(plain["clusters"][0]["statistics"], json!([]));
        let include = ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"];
        let full = harness
            .call::<DescribeClusters>(json!({"clusters": ["a"], "include": include}))
            .await;
        let cluster = &full.expect("answered")["clusters"][0];
        assert_eq!(cluster["attachments"], json!([]));
        assert_eq!(cluster["settings"][0]["value"], "disabled");
        assert_eq!(cluster["tags"][0]["key"], "k");
        assert!(
            cluster["statistics"]
                .as_array()
                .expect("a list")
                .contains(&json!({"name": "runningEC2TasksCount", "value": "0"}))
        );
    }

    #[tokio::test]
    async fn cluster_of_another_region_is_not_seen() {
        let harness = Harness::new();
        harness
            .call::<CreateCluster>(json!({"clusterName": "a"}))
            .await
            .expect("created");
        let elsewhere = harness
            .call_in::<DescribeClusters>("eu-west-1", json!({"clusters": ["a"]}))
            .await;
        assert_eq!(elsewhere.expect("answered")["clusters"], json!([]));
    }
}
