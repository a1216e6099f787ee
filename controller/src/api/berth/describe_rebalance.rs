//! `DescribeRebalance`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{DescribeRebalanceRequest, DescribeRebalanceResponse};

use super::rebalanced;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeRebalanceRequest,
) -> Result<DescribeRebalanceResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let rebalance = state.rebalance(&cluster.key);
    Ok(DescribeRebalanceResponse {
        rebalance: rebalance.map(|rebalance| rebalanced::progress(&state, rebalance)),
    })
}
