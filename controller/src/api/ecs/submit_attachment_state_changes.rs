//! `SubmitAttachmentStateChanges`: no agent that speaks ECS's own API is given a network interface or a volume, so each attachment that one speaks of
//! is one that there is not. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{SubmitAttachmentStateChangesRequest, SubmitAttachmentStateChangesResponse};

use super::{ecs_agents, references};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: SubmitAttachmentStateChangesRequest,
) -> Result<SubmitAttachmentStateChangesResponse, AwsError> {
    let state = api.read().await?;
    ecs_agents::check_level(&state)?;
    references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let named = input.attachments.unwrap_or_default().into_iter().next();
    match named {
        Some(attachment) => Err(invalid(format!(
            "The attachment {} was not found: hosts of agents that speak ECS's own API are given none.",
            attachment.attachment_arn.unwrap_or_default()
        ))),
        None => Ok(SubmitAttachmentStateChangesResponse {
            acknowledgment: Some(ecs_agents::ACKNOWLEDGED.to_owned()),
        }),
    }
}
