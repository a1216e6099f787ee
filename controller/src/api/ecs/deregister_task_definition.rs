//! `DeregisterTaskDefinition`: nothing new may use the revision; what uses it goes on. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeregisterTaskDefinitionRequest, DeregisterTaskDefinitionResponse};
use berth_core::model::TaskDefinition;
use berth_core::state::Command;

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::client;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse, AwsError> {
    let name = input.task_definition.unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    if !last.contains(':') {
        return Err(client("Invalid revision number. Number: null"));
    }
    let state = api.read().await?;
    let definition = references::task_definition(&state, &call.scope, &name)?
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    let key = definition.key.clone();
    let command = Command::DeregisterTaskDefinition {
        task_definition: key.clone(),
        at: call.now,
    };
    api.propose(command).await?;
    let state = api.read().await?;
    let deregistered = state.task_definition(&key).map(|d| TaskDefinition::clone(d));
    Ok(DeregisterTaskDefinitionResponse {
        task_definition: deregistered.as_ref().map(render::task_definition),
    })
}
