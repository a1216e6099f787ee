//! `DeleteTaskSet`: it is gone once its tasks have stopped. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteTaskSetRequest, DeleteTaskSetResponse};
use berth_core::model::{TaskSet, TaskSetStatus};
use berth_core::state::Command;

use super::{render, task_sets};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteTaskSetRequest,
) -> Result<DeleteTaskSetResponse, AwsError> {
    let state = api.read().await?;
    let service = task_sets::service(&state, &call.scope, input.cluster.as_deref(), input.service.as_deref())?;
    let found = task_sets::find(&service, input.task_set.as_deref())?;
    let command = Command::DeleteTaskSet {
        service: service.key.clone(),
        task_set: found.id.clone(),
        force: input.force.unwrap_or(false),
        at: call.now,
    };
    // One without tasks may be gone before it could be read again.
    let deleted = TaskSet {
        status: TaskSetStatus::Draining,
        updated_at: call.now,
        ..found.clone()
    };
    api.propose(command).await?;
    Ok(DeleteTaskSetResponse {
        task_set: Some(render::task_set(&state, &service, &deleted, true)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DeleteTaskSet, UpdateTaskSet};
    use serde_json::{Value, json};

    use crate::api::ecs::task_sets::testing::{create, harness};

    #[tokio::test]
    async fn task_set_that_wants_tasks_is_deleted_by_force_alone_and_no_longer_changed() {
        let harness = harness().await;
        let set = create(&harness, Value::Null).await;
        let request = |more: Value| {
            let mut input = json!({"cluster": "default", "service": "site", "taskSet": set["id"]});
            for (name, value) in more.as_object().expect("members") {
                input[name] = value.clone();
            }
            input
        };
        let error = harness
            .call::<DeleteTaskSet>(request(json!({})))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(error.message.contains("scaled above 0"), "{}", error.message);
        for _ in 0..2 {
            let answer = harness
                .call::<DeleteTaskSet>(request(json!({"force": true})))
                .await
                .expect("deletes");
            assert_eq!(answer["taskSet"]["status"], "DRAINING");
            assert_eq!(answer["taskSet"]["computedDesiredCount"], 0);
        }
        let error = harness
            .call::<UpdateTaskSet>(request(json!({"scale": {"value": 1.0}})))
            .await
            .expect_err("deleted");
        assert_eq!(error.kind.code, "TaskSetNotFoundException");
    }
}
