//! `StopRebalance`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{StopRebalanceRequest, StopRebalanceResponse};
use berth_core::state::Command;

use super::rebalanced;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: StopRebalanceRequest,
) -> Result<StopRebalanceResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    let stop = Command::StopRebalance {
        cluster: cluster.clone(),
        at: call.now,
    };
    api.propose(stop).await?;
    let state = api.read().await?;
    let rebalance = state.rebalance(&cluster);
    Ok(StopRebalanceResponse {
        rebalance: rebalance.map(|rebalance| rebalanced::progress(&state, rebalance)),
    })
}
