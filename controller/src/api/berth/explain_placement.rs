//! `ExplainPlacement`. Shell.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::berth::{ExplainPlacementRequest, ExplainPlacementResponse};
use berth_core::explain;
use berth_core::model::{ContainerInstance, ServiceStatus, Task};
use berth_core::state::ClusterState;

use super::explained;
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::errors::{self, invalid};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ExplainPlacementRequest,
) -> Result<ExplainPlacementResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    match (input.task, input.service) {
        (Some(_), None) if input.container_instance.is_some() => Err(invalid(
            "containerInstance goes with service: a task is explained for the host that it is on.",
        )),
        (Some(task), None) => match references::task(&state, &cluster.key, &task)? {
            Lookup::Found(task) => why(&state, task),
            Lookup::Missing(arn) => Err(RESOURCE_NOT_FOUND.error(format!("There is no task {arn}."))),
        },
        (None, Some(service)) => {
            let service = references::service_or_daemon(&state, &cluster.key, &service)?;
            if service.status != ServiceStatus::Active {
                return Err(errors::service_not_active());
            }
            let named = input.container_instance.as_deref();
            let host = named.map(
                |named| match references::container_instance(&state, &cluster.key, named)? {
                    Lookup::Found(host) => Ok(host),
                    Lookup::Missing(arn) => {
                        Err(RESOURCE_NOT_FOUND.error(format!("There is no container instance {arn}.")))
                    }
                },
            );
            let host: Option<&Arc<ContainerInstance>> = host.transpose()?;
            let answer = explain::why_not(&state, service, host.map(|host| host.id), call.now);
            let answer = answer.ok_or_else(|| errors::client("The service's task definition is gone."))?;
            Ok(ExplainPlacementResponse {
                fit: Some(explained::fit(&state, service, &answer)),
                ..Default::default()
            })
        }
        (Some(_), Some(_)) | (None, None) => Err(invalid("Either task or service is needed, and not both.")),
    }
}

fn why(state: &ClusterState, task: &Task) -> Result<ExplainPlacementResponse, AwsError> {
    if task.is_provisioning() {
        return Ok(ExplainPlacementResponse {
            fit: Some(explained::fit_of_task(task, &explain::why_not_yet(state, task))),
            ..Default::default()
        });
    }
    if task.container_instance.is_none() {
        let why = task.stopped_reason.as_deref().unwrap_or_default();
        return Err(errors::client(format!("Task {} never had a host: {why}", task.id)));
    }
    let why = explain::why(state, task).ok_or_else(|| {
        errors::client(format!(
            "How the host of task {} was chosen is not recorded: it was placed before every controller had a version that records it.",
            task.id
        ))
    })?;
    Ok(ExplainPlacementResponse {
        placement: Some(explained::placement(task, &why)),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::ExplainPlacement;
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition, RunTask};
    use serde_json::json;

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "zone-a");
        harness.add_host(2, "zone-b");
        let definition = |memory: u32| {
            json!({
                "family": "web", "networkMode": "host",
                "containerDefinitions": [{"name": "app", "image": "app", "cpu": 64, "memory": memory}]
            })
        };
        for memory in [100, 9000] {
            harness
                .call::<RegisterTaskDefinition>(definition(memory))
                .await
                .expect("registered");
        }
        harness
    }

    #[tokio::test]
    async fn task_is_explained_with_hosts_left_terms_and_the_runner_up() {
        let harness = harness().await;
        let run = json!({
            "taskDefinition": "web:1", "placementStrategy": [{"type": "spread", "field": "instanceId"}]
        });
        let first = harness.call::<RunTask>(run.clone()).await.expect("ran");
        let second = harness.call::<RunTask>(run).await.expect("ran");
        assert_ne!(
            first["tasks"][0]["containerInstanceArn"],
            second["tasks"][0]["containerInstanceArn"]
        );
        let task = &second["tasks"][0]["taskArn"];
        let answer = harness
            .call::<ExplainPlacement>(json!({ "task": task }))
            .await
            .expect("explained");
        let placement = &answer["placement"];
        assert_eq!(placement["hostsConsidered"], 2);
        assert_eq!(placement["filters"][3], json!({"filter": "memory", "hostsLeft": 2}));
        assert_eq!(placement["decidedBy"], "spread instanceId");
        let term = json!({"name": "spread instanceId", "value": "0", "meaning": "0 tasks of family:web on it"});
        assert_eq!(placement["chosen"]["terms"][0], term);
        assert_eq!(placement["runnerUp"]["terms"][0]["value"], "1");
        let sentence = placement["sentence"].as_str().expect("text");
        assert!(sentence.contains("before host-"), "{sentence}");
    }

    #[tokio::test]
    async fn service_too_large_is_told_what_every_host_lacks_and_what_would_help() {
        let harness = harness().await;
        let create = json!({"serviceName": "big", "taskDefinition": "web:2", "desiredCount": 1});
        harness.call::<CreateService>(create).await.expect("created");
        let answer = harness
            .call::<ExplainPlacement>(json!({"service": "big"}))
            .await
            .expect("explained");
        let fit = &answer["fit"];
        assert_eq!((&fit["hostsAsked"], &fit["hostsThatFit"]), (&json!(2), &json!(0)));
        assert_eq!(fit["needs"], json!({"cpu": 64, "memory": 9000}));
        let refusal = json!({
            "filter": "memory", "reason": "RESOURCE:MEMORY", "needs": 9000, "free": 8192, "reserved": 0, "shortBy": 808,
            "sentence": "needs 9000 MiB, free 8192 of 8192 MiB, short by 808 MiB"
        });
        assert_eq!(fit["hosts"][0]["refusals"], json!([refusal]));
        assert_eq!(
            fit["remedies"][0]["sentence"],
            "on host-1: lower the task's memory by 808 MiB"
        );
        assert_eq!(
            fit["remedies"][0]["changes"],
            json!([{"type": "LOWER_TASK", "cpu": 0, "memory": 808}])
        );
        assert_eq!(fit["remedies"][2]["changes"][0]["type"], "ADD_HOST");
        let id = format!("{:032x}", 2);
        let one = json!({"service": "big", "containerInstance": id});
        let answer = harness.call::<ExplainPlacement>(one).await.expect("explained");
        assert_eq!(answer["fit"]["hosts"].as_array().expect("hosts").len(), 1);
        assert_eq!(answer["fit"]["hosts"][0]["hostName"], "host-2");
    }

    #[tokio::test]
    async fn question_that_names_neither_or_what_is_not_there_is_refused() {
        let harness = harness().await;
        let gone = "0".repeat(31) + "9";
        for (input, code) in [
            (json!({}), "InvalidParameterException"),
            (json!({"task": gone, "service": "web"}), "InvalidParameterException"),
            (
                json!({"task": gone, "containerInstance": gone}),
                "InvalidParameterException",
            ),
            (json!({ "task": gone }), "ResourceNotFoundException"),
            (json!({"service": "web"}), "ServiceNotFoundException"),
            (
                json!({"cluster": "other", "service": "web"}),
                "ClusterNotFoundException",
            ),
        ] {
            let error = harness
                .call::<ExplainPlacement>(input.clone())
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code, "{input}");
        }
    }
}
