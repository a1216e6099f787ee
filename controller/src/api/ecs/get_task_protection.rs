//! `GetTaskProtection`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{GetTaskProtectionRequest, GetTaskProtectionResponse};

use super::{references, task_protection};
use crate::api::context::{Api, Call};

/// Most tasks of one request (ECS: 100).
const MAX_TASKS: usize = 100;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: GetTaskProtectionRequest,
) -> Result<GetTaskProtectionResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let (mut tasks, mut failures) = (vec![], vec![]);
    for found in task_protection::find(&state, &cluster.key, input.tasks, MAX_TASKS)? {
        match found {
            Ok(task) => tasks.push(task_protection::protected(task, call.now)),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(GetTaskProtectionResponse {
        protected_tasks: Some(tasks),
        failures: Some(failures),
    })
}
