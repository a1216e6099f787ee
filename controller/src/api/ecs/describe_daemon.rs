//! `DescribeDaemon`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeDaemonRequest, DescribeDaemonResponse};

use super::{daemons, render};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeDaemonRequest,
) -> Result<DescribeDaemonResponse, AwsError> {
    let state = api.read().await?;
    let daemon = daemons::find(&state, &call.scope, input.daemon_arn.as_deref())?;
    Ok(DescribeDaemonResponse {
        daemon: Some(render::daemon(&state, daemon)),
    })
}
