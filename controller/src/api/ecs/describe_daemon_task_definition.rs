//! `DescribeDaemonTaskDefinition`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeDaemonTaskDefinitionRequest, DescribeDaemonTaskDefinitionResponse};

use super::{daemons, render};
use crate::api::context::{Api, Call};
use crate::api::errors::client;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeDaemonTaskDefinitionRequest,
) -> Result<DescribeDaemonTaskDefinitionResponse, AwsError> {
    let state = api.read().await?;
    let name = input.daemon_task_definition.unwrap_or_default();
    let definition = daemons::task_definition(&state, &call.scope, &name)?
        .ok_or_else(|| client("Unable to describe daemon task definition."))?;
    let is_unused = !state.is_used_by_daemons(&definition.key);
    Ok(DescribeDaemonTaskDefinitionResponse {
        daemon_task_definition: Some(render::daemon_task_definition(definition, is_unused)),
    })
}
