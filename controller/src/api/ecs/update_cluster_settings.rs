//! `UpdateClusterSettings`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ClusterField, UpdateClusterSettingsRequest, UpdateClusterSettingsResponse};
use berth_core::model::HostSettingsChange;
use berth_core::state::{Command, UpdateCluster};

use super::{cluster_settings, references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateClusterSettingsRequest,
) -> Result<UpdateClusterSettingsResponse, AwsError> {
    let key = references::cluster_key(&call.scope, input.cluster.as_deref())?;
    let settings = cluster_settings::from_request(input.settings)?;
    if settings.is_empty() {
        return Err(invalid("settings must not be empty."));
    }
    let update = UpdateCluster {
        cluster: key.clone(),
        settings,
        host_settings: HostSettingsChange::default(),
    };
    api.propose(Command::UpdateCluster(update)).await?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, Some(key.name.as_str()))?;
    let include = [ClusterField::Settings, ClusterField::Tags];
    Ok(UpdateClusterSettingsResponse {
        cluster: Some(render::cluster::cluster(&state, cluster, &include)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateCluster, UpdateClusterSettings};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn insights_disabled_are_accepted_and_enabled_ones_refused_by_name() {
        let harness = Harness::new();
        harness.call::<CreateCluster>(json!({})).await.expect("created");
        let setting = |value: &str| json!([{"name": "containerInsights", "value": value}]);
        let with = |value: &str| json!({"cluster": "default", "settings": setting(value)});
        let answer = harness
            .call::<UpdateClusterSettings>(with("disabled"))
            .await
            .expect("updated");
        assert_eq!(answer["cluster"]["settings"], setting("disabled"));
        let error = harness
            .call::<UpdateClusterSettings>(with("enabled"))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClientException");
        assert!(error.message.contains("containerInsights"), "{}", error.message);
        let error = harness
            .call::<UpdateClusterSettings>(with("maybe"))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
    }
}
