//! `UpdateServicePrimaryTaskSet`: which task set serves. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateServicePrimaryTaskSetRequest, UpdateServicePrimaryTaskSetResponse};
use berth_core::state::Command;

use super::task_sets;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateServicePrimaryTaskSetRequest,
) -> Result<UpdateServicePrimaryTaskSetResponse, AwsError> {
    let state = api.read().await?;
    let service = task_sets::service(&state, &call.scope, input.cluster.as_deref(), input.service.as_deref())?;
    let task_set = task_sets::find(&service, input.primary_task_set.as_deref())?.id.clone();
    let service = service.key;
    let command = Command::UpdateServicePrimaryTaskSet {
        service: service.clone(),
        task_set: task_set.clone(),
        at: call.now,
    };
    Ok(UpdateServicePrimaryTaskSetResponse {
        task_set: Some(task_sets::change(api, command, &service, &task_set).await?),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeServices, UpdateServicePrimaryTaskSet};
    use serde_json::{Value, json};

    use crate::api::ecs::task_sets::testing::{create, harness};

    #[tokio::test]
    async fn one_task_set_at_most_is_primary() {
        let harness = harness().await;
        let sets = [create(&harness, Value::Null).await, create(&harness, Value::Null).await];
        for (primary, statuses) in [(0, ["PRIMARY", "ACTIVE"]), (1, ["ACTIVE", "PRIMARY"])] {
            let input = json!({"cluster": "default", "service": "site", "primaryTaskSet": sets[primary]["id"]});
            let answer = harness
                .call::<UpdateServicePrimaryTaskSet>(input)
                .await
                .expect("updates");
            assert_eq!(answer["taskSet"]["status"], "PRIMARY");
            let input = json!({"services": ["site"]});
            let service = harness.call::<DescribeServices>(input).await.expect("describes")["services"][0].clone();
            let shown = service["taskSets"].as_array().expect("task sets").iter();
            assert_eq!(shown.map(|set| &set["status"]).collect::<Vec<_>>(), statuses);
            assert_eq!(service["deployments"], json!([]));
            assert_eq!(service["deploymentController"], json!({"type": "EXTERNAL"}));
        }
    }
}
