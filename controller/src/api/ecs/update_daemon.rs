//! `UpdateDaemon`: always a new deployment, of what the request says and the defaults of what it leaves out (ECS). Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateDaemonRequest, UpdateDaemonResponse};
use berth_core::ids::IdSource;
use berth_core::model::{DeploymentConfigurationChanges, ServiceStatus};
use berth_core::state::{Command, UpdateService};

use super::{daemons, references, render};
use crate::api::context::{Api, Call};
use crate::api::members::{Honoured, refuse_others};

const HONOURED: Honoured = Honoured::Members(&[
    ("daemonArn", Honoured::All),
    ("daemonTaskDefinitionArn", Honoured::All),
    ("capacityProviderArns", Honoured::All),
    ("deploymentConfiguration", daemons::CONFIGURATION),
    ("propagateTags", Honoured::All),
    ("enableECSManagedTags", Honoured::All),
    ("critical", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateDaemonRequest,
) -> Result<UpdateDaemonResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let state = api.read().await?;
    let daemon = daemons::find(&state, &call.scope, input.daemon_arn.as_deref())?;
    if daemon.status != ServiceStatus::Active {
        return Err(daemons::not_active());
    }
    let key = daemon.key.clone();
    let given = input.daemon_task_definition_arn.as_deref();
    let definition = daemons::usable_task_definition(&state, &call.scope, given)?;
    let cluster = references::active_cluster(&state, &call.scope, Some(key.cluster.name.as_str()))?;
    let capacity = daemons::capacity(cluster, input.capacity_provider_arns.as_deref())?;
    let (settings, configuration) = daemons::settings(input.deployment_configuration.as_ref(), input.critical)?;
    let update = UpdateService {
        task_definition: Some(definition.key.clone()),
        force_new_deployment: true,
        capacity_provider_strategy: Some(capacity),
        deployment_configuration: DeploymentConfigurationChanges {
            bake_minutes: Some(configuration.bake_minutes),
            ..Default::default()
        },
        daemon_settings: Some(settings),
        propagate_tags: Some(daemons::propagate_tags(input.propagate_tags)),
        enable_ecs_managed_tags: Some(input.enable_ecs_managed_tags.unwrap_or(false)),
        ..UpdateService::blank(key.clone(), api.with_ids(IdSource::deployment_id), call.now)
    };
    api.propose(Command::UpdateService(Box::new(update))).await?;
    let state = api.read().await?;
    let daemon = state.service(&key).ok_or_else(daemons::not_found)?;
    Ok(UpdateDaemonResponse {
        daemon_arn: Some(key.arn()),
        status: Some(render::daemon_status(daemon.status)),
        created_at: Some(render::time(daemon.created_at)),
        updated_at: Some(render::daemon_updated_at(daemon)),
        deployment_arn: render::newest_deployment_arn(daemon),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DeleteDaemon, DescribeDaemon, DescribeDaemonDeployments, DescribeDaemonRevisions, UpdateDaemon,
    };
    use serde_json::json;

    use crate::api::ecs::daemons::testing::{arn, create, harness};

    #[tokio::test]
    async fn update_is_a_deployment_of_what_it_says_and_of_defaults() {
        let harness = harness().await;
        let more = json!({
            "critical": false, "propagateTags": "DAEMON", "enableECSManagedTags": true,
            "deploymentConfiguration": {"drainPercent": 50.0, "bakeTimeInMinutes": 5},
        });
        let created = create(&harness, more).await;
        let input = json!({
            "daemonArn": created["daemonArn"], "daemonTaskDefinitionArn": arn("daemon-task-definition/agent:2"),
            "capacityProviderArns": ["gpu", "plain"],
        });
        let updated = harness.call::<UpdateDaemon>(input).await.expect("updates");
        assert_eq!(updated["status"], "ACTIVE");
        assert_ne!(updated["deploymentArn"], created["deploymentArn"]);
        let arns = json!([updated["deploymentArn"], created["deploymentArn"]]);
        let input = json!({"daemonDeploymentArns": arns});
        let answer = harness
            .call::<DescribeDaemonDeployments>(input)
            .await
            .expect("describes");
        let [new, old] = [&answer["daemonDeployments"][0], &answer["daemonDeployments"][1]];
        assert_eq!(
            new["deploymentConfiguration"],
            json!({"drainPercent": 25.0, "bakeTimeInMinutes": 0})
        );
        assert_eq!(
            old["deploymentConfiguration"],
            json!({"drainPercent": 50.0, "bakeTimeInMinutes": 5})
        );
        assert_eq!((&new["status"], &old["status"]), (&json!("PENDING"), &json!("STOPPED")));
        let input =
            json!({"daemonRevisionArns": [new["targetDaemonRevision"]["arn"], old["targetDaemonRevision"]["arn"]]});
        let answer = harness.call::<DescribeDaemonRevisions>(input).await.expect("describes");
        for (nth, critical, tags, managed) in [(0, true, "NONE", false), (1, false, "DAEMON", true)] {
            let revision = &answer["daemonRevisions"][nth];
            assert_eq!(
                (
                    &revision["critical"],
                    &revision["propagateTags"],
                    &revision["enableECSManagedTags"]
                ),
                (&json!(critical), &json!(tags), &json!(managed))
            );
        }
        let input = json!({"daemonArn": created["daemonArn"]});
        let daemon = harness.call::<DescribeDaemon>(input).await.expect("describes")["daemon"].clone();
        let pools = daemon["currentRevisions"][0]["capacityProviders"]
            .as_array()
            .map(Vec::len);
        assert_eq!(pools, Some(2));
    }

    #[tokio::test]
    async fn daemon_that_is_not_there_or_deleted_is_not_updated() {
        let harness = harness().await;
        let input = |arn: &str| {
            let (definition, pools) = ("agent:2", ["gpu"]);
            json!({"daemonArn": arn, "daemonTaskDefinitionArn": definition, "capacityProviderArns": pools})
        };
        for (name, code) in [
            (arn("daemon/default/none"), "DaemonNotFoundException"),
            (arn("daemon/other/none"), "ClusterNotFoundException"),
            (arn("service/default/logs"), "InvalidParameterException"),
            ("logs".to_owned(), "InvalidParameterException"),
        ] {
            let error = harness.call::<UpdateDaemon>(input(&name)).await.expect_err(code);
            assert_eq!(error.kind.code, code, "{name}: {}", error.message);
        }
        let created = create(&harness, json!({})).await;
        let gone = json!({"daemonArn": created["daemonArn"]});
        let deleted = harness.call::<DeleteDaemon>(gone.clone()).await.expect("deletes");
        assert_eq!(deleted["status"], "DELETE_IN_PROGRESS");
        let arns = json!({"daemonDeploymentArns": [deleted["deploymentArn"]]});
        let answer = harness
            .call::<DescribeDaemonDeployments>(arns)
            .await
            .expect("describes");
        let deletion = &answer["daemonDeployments"][0];
        assert_eq!(deletion["status"], "PENDING");
        assert!(deletion.get("targetDaemonRevision").is_none(), "{deletion}");
        assert_eq!(deletion["sourceDaemonRevisions"].as_array().map(Vec::len), Some(1));
        let error = harness.call::<DeleteDaemon>(gone).await.expect_err("again");
        assert_eq!(error.kind.code, "DaemonNotActiveException");
        let error = harness
            .call::<UpdateDaemon>(input(&arn("daemon/default/logs")))
            .await
            .expect_err("deleted");
        assert_eq!(error.kind.code, "DaemonNotActiveException");
    }
}
