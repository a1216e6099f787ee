//! `DeleteService`: the service drains, and is inactive once its tasks have stopped. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteServiceRequest, DeleteServiceResponse};
use berth_core::state::Command;

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteServiceRequest,
) -> Result<DeleteServiceResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let key = references::service_key(&cluster.key, input.service.as_deref().unwrap_or_default())?;
    let command = Command::DeleteService {
        service: key.clone(),
        force: input.force.unwrap_or(false),
        at: call.now,
    };
    api.propose(command).await?;
    let state = api.read().await?;
    let deleted = state.service(&key).ok_or_else(errors::service_not_found)?;
    Ok(DeleteServiceResponse {
        service: Some(render::service(&state, deleted, true)),
    })
}
