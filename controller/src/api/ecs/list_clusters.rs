//! `ListClusters`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ListClustersRequest, ListClustersResponse};
use berth_core::model::ClusterStatus;

use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListClustersRequest,
) -> Result<ListClustersResponse, AwsError> {
    let page = Page::parse("ListClusters", input.next_token.as_deref(), input.max_results, 100)?;
    let state = api.read().await?;
    let active = state
        .clusters(&call.scope)
        .filter(|cluster| cluster.status == ClusterStatus::Active);
    let (arns, next_token) = page.take(active.map(|cluster| (cluster.key.name.to_string(), cluster.key.arn())));
    Ok(ListClustersResponse {
        cluster_arns: Some(arns),
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, DeleteCluster, ListClusters};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn clusters_come_by_name_in_pages_without_deleted_ones() {
        let harness = Harness::new();
        for name in ["c", "a", "gone", "b"] {
            harness
                .call::<CreateCluster>(json!({"clusterName": name}))
                .await
                .expect("created");
        }
        harness
            .call::<DeleteCluster>(json!({"cluster": "gone"}))
            .await
            .expect("deleted");
        let arn = |name: &str| harness.cluster(name).arn();
        let first = harness
            .call::<ListClusters>(json!({"maxResults": 2}))
            .await
            .expect("listed");
        assert_eq!(first["clusterArns"], json!([arn("a"), arn("b")]));
        let next = json!({"maxResults": 2, "nextToken": first["nextToken"]});
        let second = harness.call::<ListClusters>(next).await.expect("listed");
        assert_eq!(second, json!({"clusterArns": [arn("c")]}));
    }
}
