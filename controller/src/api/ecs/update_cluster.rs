//! `UpdateCluster`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ClusterField, UpdateClusterRequest, UpdateClusterResponse};
use berth_core::model::HostSettingsChange;
use berth_core::state::{Command, UpdateCluster};

use super::{cluster_settings, references, render};
use crate::api::context::{Api, Call};
use crate::api::members::{Honoured, refuse_others};

const HONOURED: Honoured = Honoured::Members(&[("cluster", Honoured::All), ("settings", Honoured::All)]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateClusterRequest,
) -> Result<UpdateClusterResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let key = references::cluster_key(&call.scope, input.cluster.as_deref())?;
    let update = UpdateCluster {
        cluster: key.clone(),
        host_settings: HostSettingsChange::default(),
        settings: cluster_settings::from_request(input.settings)?,
    };
    api.propose(Command::UpdateCluster(update)).await?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, Some(key.name.as_str()))?;
    let include = [ClusterField::Settings, ClusterField::Configurations, ClusterField::Tags];
    Ok(UpdateClusterResponse {
        cluster: Some(render::cluster::cluster(&state, cluster, &include)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, UpdateCluster};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn cluster_that_exists_shows_its_settings_after_an_update() {
        let harness = Harness::new();
        harness
            .call::<CreateCluster>(json!({"clusterName": "a"}))
            .await
            .expect("created");
        let settings = json!([{"name": "containerInsights", "value": "disabled"}]);
        let answer = harness
            .call::<UpdateCluster>(json!({"cluster": "a", "settings": settings}))
            .await
            .expect("updated");
        assert_eq!(answer["cluster"]["settings"], settings);
    }

    #[tokio::test]
    async fn cluster_that_does_not_exist_is_not_found() {
        let error = Harness::new().call::<UpdateCluster>(json!({"cluster": "a"})).await;
        let error = error.expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            ("ClusterNotFoundException", "Cluster not found.")
        );
    }

    #[tokio::test]
    async fn configuration_is_refused_by_name() {
        let input = json!({"cluster": "a", "configuration": {"executeCommandConfiguration": {"kmsKeyId": "k"}}});
        let error = Harness::new().call::<UpdateCluster>(input).await.expect_err("refused");
        assert_eq!(error.message, "The member configuration is not supported by Berth yet.");
    }
}
