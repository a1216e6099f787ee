//! `StopTask`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{StopTaskRequest, StopTaskResponse};
use berth_core::model::StopCode;
use berth_core::state::{Command, Rejection};

use super::references::{self, Lookup};
use super::render;
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};

/// Longest reason that is kept (ECS: 1,024 characters in `stoppedReason`).
const MAX_REASON: usize = 1024;
/// What ECS says where the caller gave no reason.
const DEFAULT_REASON: &str = "Task stopped by user";

pub(crate) async fn handle(api: &Api, call: &Call, input: StopTaskRequest) -> Result<StopTaskResponse, AwsError> {
    let reason = reason(input.reason)?.unwrap_or_else(|| DEFAULT_REASON.to_owned());
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let task = input.task.unwrap_or_default();
    let id = match references::task(&state, &cluster.key, &task)? {
        Lookup::Found(task) => task.id,
        Lookup::Missing(_) => return Err(invalid("The referenced task was not found.")),
    };
    let command = Command::StopTasks {
        tasks: vec![id],
        stop_code: StopCode::UserInitiated,
        reason,
        at: call.now,
    };
    api.propose(command).await?;
    let state = api.read().await?;
    let task = state
        .task(id)
        .ok_or_else(|| errors::rejection(&Rejection::TaskNotFound(id)))?;
    Ok(StopTaskResponse {
        task: Some(render::task(&state, task, true)),
    })
}

/// The reason that a request gives, if it gives one.
///
/// # Errors
/// `InvalidParameterException` for one that is too long.
pub(super) fn reason(given: Option<String>) -> Result<Option<String>, AwsError> {
    match given.filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > MAX_REASON => Err(invalid(format!(
            "The reason must not be longer than {MAX_REASON} characters."
        ))),
        text => Ok(text),
    }
}
