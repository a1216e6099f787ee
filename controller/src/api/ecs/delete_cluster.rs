//! `DeleteCluster`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteClusterRequest, DeleteClusterResponse};
use berth_core::state::{Command, Feature};

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteClusterRequest,
) -> Result<DeleteClusterResponse, AwsError> {
    let cluster = references::cluster_key(&call.scope, input.cluster.as_deref())?;
    api.propose(Command::DeleteCluster {
        at: api.uses(Feature::ForgottenClusters).then_some(call.now),
        cluster: cluster.clone(),
    })
    .await?;
    let state = api.read().await?;
    let deleted = state.cluster(&cluster).ok_or_else(errors::cluster_not_found)?;
    Ok(DeleteClusterResponse {
        cluster: Some(render::cluster::cluster(&state, deleted, &[])),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateCluster, DeleteCluster, DeregisterContainerInstance, DescribeClusters, ListClusters,
    };
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn cluster_that_was_deleted_is_inactive_and_can_be_created_again() {
        let harness = Harness::new();
        harness
            .call::<CreateCluster>(json!({"clusterName": "a"}))
            .await
            .expect("created");
        let answer = harness
            .call::<DeleteCluster>(json!({"cluster": "a"}))
            .await
            .expect("deleted");
        assert_eq!(answer["cluster"]["status"], "INACTIVE");
        let described = harness
            .call::<DescribeClusters>(json!({"clusters": ["a"]}))
            .await
            .expect("described");
        assert_eq!(described["clusters"][0]["status"], "INACTIVE");
        let error = harness
            .call::<DeleteCluster>(json!({"cluster": "a"}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
        harness
            .call::<CreateCluster>(json!({"clusterName": "a"}))
            .await
            .expect("created again");
        let listed = harness.call::<ListClusters>(json!({})).await.expect("listed");
        assert_eq!(listed["clusterArns"].as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn cluster_with_hosts_cannot_be_deleted_until_they_are_gone() {
        let harness = Harness::new();
        let host = harness.add_host(1, "a").to_string();
        let error = harness
            .call::<DeleteCluster>(json!({"cluster": "default"}))
            .await
            .expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            (
                "ClusterContainsContainerInstancesException",
                "The Cluster cannot be deleted while Container Instances are active or draining."
            )
        );
        harness
            .call::<DeregisterContainerInstance>(json!({"containerInstance": host}))
            .await
            .expect("deregistered");
        harness
            .call::<DeleteCluster>(json!({"cluster": "default"}))
            .await
            .expect("deleted");
    }
}
