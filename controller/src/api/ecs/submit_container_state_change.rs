//! `SubmitContainerStateChange`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ContainerStateChange, SubmitContainerStateChangeRequest, SubmitContainerStateChangeResponse};
use berth_core::model::StateChange;

use super::ecs_agents;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: SubmitContainerStateChangeRequest,
) -> Result<SubmitContainerStateChangeResponse, AwsError> {
    let task = ecs_agents::task(api, call, input.cluster.as_deref(), input.task.as_deref()).await?;
    let container = ContainerStateChange {
        container_name: input.container_name,
        runtime_id: input.runtime_id,
        exit_code: input.exit_code,
        network_bindings: input.network_bindings,
        reason: input.reason,
        status: input.status,
        ..ContainerStateChange::default()
    };
    let mut change = StateChange::nothing_new(task.id, call.now);
    change.containers = vec![ecs_agents::container(&task, container)?];
    ecs_agents::record(api, change).await?;
    Ok(SubmitContainerStateChangeResponse {
        acknowledgment: Some(ecs_agents::ACKNOWLEDGED.to_owned()),
    })
}
