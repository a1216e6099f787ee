//! `UpdateTaskSet`: more tasks or fewer. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateTaskSetRequest, UpdateTaskSetResponse};
use berth_core::state::Command;

use super::task_sets;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateTaskSetRequest,
) -> Result<UpdateTaskSetResponse, AwsError> {
    let state = api.read().await?;
    let service = task_sets::service(&state, &call.scope, input.cluster.as_deref(), input.service.as_deref())?;
    let task_set = task_sets::find(&service, input.task_set.as_deref())?.id.clone();
    let service = service.key;
    let command = Command::UpdateTaskSet {
        service: service.clone(),
        task_set: task_set.clone(),
        scale: task_sets::scale(input.scale.as_ref())?,
        at: call.now,
    };
    Ok(UpdateTaskSetResponse {
        task_set: Some(task_sets::change(api, command, &service, &task_set).await?),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::UpdateTaskSet;
    use serde_json::{Value, json};

    use crate::api::ecs::task_sets::testing::{create, harness};

    #[tokio::test]
    async fn task_set_named_by_id_or_arn_has_another_scale() {
        let harness = harness().await;
        let set = create(&harness, Value::Null).await;
        for (name, percent, count) in [(&set["id"], 10.0, 1), (&set["taskSetArn"], 75.0, 3)] {
            let scale = json!({"value": percent, "unit": "PERCENT"});
            let input = json!({"cluster": "default", "service": "site", "taskSet": name, "scale": scale});
            let answer = harness.call::<UpdateTaskSet>(input).await.expect("updates");
            assert_eq!(answer["taskSet"]["computedDesiredCount"], count);
            assert_eq!(answer["taskSet"]["scale"], scale);
        }
    }

    #[tokio::test]
    async fn task_set_that_is_not_there_is_refused() {
        let harness = harness().await;
        for (name, code) in [
            ("ecs-svc/1", "TaskSetNotFoundException"),
            ("site", "InvalidParameterException"),
            (
                "arn:aws:ecs:us-east-1:123456789012:task-set/default/other/ecs-svc/1",
                "InvalidParameterException",
            ),
        ] {
            let input = json!({"cluster": "default", "service": "site", "taskSet": name, "scale": {"value": 1.0}});
            let error = harness.call::<UpdateTaskSet>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, code, "{}", error.message);
        }
    }
}
