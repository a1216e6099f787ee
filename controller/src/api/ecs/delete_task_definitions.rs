//! `DeleteTaskDefinitions`: inactive revisions are forgotten once nothing uses them. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse, Failure};
use berth_core::model::{TaskDefinitionKey, TaskDefinitionStatus};
use berth_core::state::{ClusterState, Command};

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// Revisions in one request (ECS's limit).
const MAX_PER_REQUEST: usize = 10;
const ACTIVE: &str =
    "The specified task definition is still in ACTIVE status. Please deregister the target and try again.";
const UNKNOWN: &str =
    "The specified task definition does not exist. Specify a valid account, family, revision and try again.";

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse, AwsError> {
    let names = input.task_definitions.unwrap_or_default();
    if names.is_empty() || names.len() > MAX_PER_REQUEST {
        return Err(invalid(format!(
            "taskDefinitions must name 1 to {MAX_PER_REQUEST} revisions."
        )));
    }
    let state = api.read().await?;
    let mut found = vec![];
    for name in &names {
        found.push(deletable(&state, call, name)?);
    }
    let (mut deleted, mut failures) = (vec![], vec![]);
    for choice in found {
        match choice {
            Ok(key) => {
                let command = Command::DeleteTaskDefinition {
                    task_definition: key.clone(),
                };
                let before = state.task_definition(&key).cloned();
                api.propose(command).await?;
                deleted.extend(before.map(|definition| {
                    let mut definition = (*definition).clone();
                    definition.status = TaskDefinitionStatus::DeleteInProgress;
                    render::task_definition(&definition)
                }));
            }
            Err(failure) => failures.push(failure),
        }
    }
    Ok(DeleteTaskDefinitionsResponse {
        task_definitions: Some(deleted),
        failures: Some(failures),
    })
}

/// The revision that `name` means, or why it cannot be deleted.
fn deletable(state: &ClusterState, call: &Call, name: &str) -> Result<Result<TaskDefinitionKey, Failure>, AwsError> {
    let failure = |reason: &str| Failure {
        arn: Some(name.to_owned()),
        reason: Some(reason.to_owned()),
        detail: None,
    };
    if !name.rsplit('/').next().unwrap_or_default().contains(':') {
        return Err(invalid(format!(
            "{name} names no revision. Give family:revision or the full ARN."
        )));
    }
    Ok(match references::task_definition(state, &call.scope, name)? {
        None => Err(failure(UNKNOWN)),
        Some(definition) if definition.status == TaskDefinitionStatus::Active => Err(failure(ACTIVE)),
        Some(definition) => Ok(definition.key.clone()),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DeleteTaskDefinitions, DeregisterTaskDefinition, RegisterTaskDefinition};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn only_inactive_revisions_are_deleted_and_the_others_are_failures() {
        let harness = Harness::new();
        for _ in 0..2 {
            let input = json!({"family": "f", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
        let input = json!({"taskDefinition": "f:1"});
        harness
            .call::<DeregisterTaskDefinition>(input)
            .await
            .expect("deregisters");
        let input = json!({"taskDefinitions": ["f:1", "f:2", "f:9"]});
        let answer = harness.call::<DeleteTaskDefinitions>(input).await.expect("answers");
        assert_eq!(answer["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
        assert_eq!(answer["taskDefinitions"].as_array().map(Vec::len), Some(1));
        let reasons: Vec<_> = answer["failures"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|f| &f["arn"])
            .collect();
        assert_eq!(reasons, ["f:2", "f:9"]);
    }

    #[tokio::test]
    async fn family_without_revision_is_refused() {
        let harness = Harness::new();
        let answer = harness
            .call::<DeleteTaskDefinitions>(json!({"taskDefinitions": ["f"]}))
            .await;
        assert!(answer.expect_err("refused").message.contains("names no revision"));
    }
}
