//! `DescribeHostSettings`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{self, DescribeHostSettingsRequest, DescribeHostSettingsResponse};
use berth_core::model::HostSettings;

use crate::api::context::{Api, Call};
use crate::api::ecs::references;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeHostSettingsRequest,
) -> Result<DescribeHostSettingsResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    Ok(DescribeHostSettingsResponse {
        host_settings: Some(render(&cluster.host_settings)),
    })
}

/// The settings as the API shows them.
pub(super) fn render(settings: &HostSettings) -> berth::HostSettings {
    berth::HostSettings {
        heartbeat_interval_ms: Some(as_integer(settings.heartbeat_interval_ms)),
        host_lost_after_ms: Some(as_integer(settings.host_lost_after_ms)),
        fence_after_ms: Some(as_integer(settings.fence_after_ms.unwrap_or(0))),
        stopped_tasks_kept_ms: Some(as_integer(settings.stopped_tasks_kept_ms)),
        sleep_after_ms: Some(as_integer(settings.sleep_after_ms)),
        wake_within_ms: Some(as_integer(settings.wake_within_ms)),
    }
}

fn as_integer(ms: u32) -> i32 {
    i32::try_from(ms).unwrap_or(i32::MAX)
}
