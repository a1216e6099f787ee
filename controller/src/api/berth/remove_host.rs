//! `RemoveHost`. Shell.

use std::time::Duration;

use berth_aws::AwsError;
use berth_aws::berth::{RemoveHostRequest, RemoveHostResponse, errors::RESOURCE_NOT_FOUND};
use berth_core::model::ContainerInstanceStatus;
use berth_core::state::Command;

use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::errors;

/// What an agent that is connected has left to hear that its host was deregistered, and so stops its tasks, before its connection ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(crate) async fn handle(api: &Api, call: &Call, input: RemoveHostRequest) -> Result<RemoveHostResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let name = input.container_instance.unwrap_or_default();
    let host = match references::container_instance(&state, &cluster.key, &name)? {
        Lookup::Found(host) => host,
        Lookup::Missing(arn) => {
            return Err(RESOURCE_NOT_FOUND.error(format!("There is no container instance {arn}.")));
        }
    };
    // One that was deregistered before is refused now.
    if host.status != ContainerInstanceStatus::Inactive {
        api.propose(Command::DeregisterContainerInstance {
            container_instance: host.id,
            force: input.force.unwrap_or(false),
            at: call.now,
        })
        .await?;
        if host.agent_connected {
            tokio::time::sleep(LAST_WORDS).await;
        }
    }
    let refused = api.administration().refuse_agent(host.agent.as_str()).await;
    refused.map_err(|failure| errors::administration(&failure))?;
    Ok(RemoveHostResponse {})
}
