//! `DeleteDaemonTaskDefinition`: no daemon can use the revision from now on; those that do go on. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteDaemonTaskDefinitionRequest, DeleteDaemonTaskDefinitionResponse};
use berth_core::model::TaskDefinitionStatus;
use berth_core::state::Command;

use super::daemons;
use crate::api::context::{Api, Call};
use crate::api::errors::{client, invalid};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteDaemonTaskDefinitionRequest,
) -> Result<DeleteDaemonTaskDefinitionResponse, AwsError> {
    let name = input.daemon_task_definition.unwrap_or_default();
    if !name.rsplit('/').next().unwrap_or_default().contains(':') {
        return Err(invalid(format!(
            "{name} names no revision. Give family:revision or the full ARN."
        )));
    }
    let state = api.read().await?;
    let definition = daemons::task_definition(&state, &call.scope, &name)?.ok_or_else(|| {
        client("The specified daemon task definition does not exist. Specify a valid account, family, revision and try again.")
    })?;
    if definition.status != TaskDefinitionStatus::Active {
        return Err(client(
            "The specified daemon task definition is not ACTIVE: it is deleted, or is being deleted.",
        ));
    }
    let task_definition = definition.key.clone();
    let daemon_task_definition_arn = Some(task_definition.arn());
    let at = call.now;
    api.propose(Command::DeleteDaemonTaskDefinition { task_definition, at })
        .await?;
    Ok(DeleteDaemonTaskDefinitionResponse {
        daemon_task_definition_arn,
    })
}
