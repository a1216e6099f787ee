//! `DeleteDaemon`: the daemon is gone once its tasks have stopped. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteDaemonRequest, DeleteDaemonResponse};
use berth_core::ids::IdSource;
use berth_core::state::Command;

use super::{daemons, render};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteDaemonRequest,
) -> Result<DeleteDaemonResponse, AwsError> {
    let state = api.read().await?;
    let key = daemons::find(&state, &call.scope, input.daemon_arn.as_deref())?
        .key
        .clone();
    let command = Command::DeleteDaemon {
        daemon: key.clone(),
        deployment: api.with_ids(IdSource::deployment_id),
        at: call.now,
    };
    api.propose(command).await?;
    let state = api.read().await?;
    let daemon = state.service(&key).ok_or_else(daemons::not_found)?;
    Ok(DeleteDaemonResponse {
        daemon_arn: Some(key.arn()),
        status: Some(render::daemon_status(daemon.status)),
        created_at: Some(render::time(daemon.created_at)),
        updated_at: Some(render::daemon_updated_at(daemon)),
        deployment_arn: render::newest_deployment_arn(daemon),
    })
}
