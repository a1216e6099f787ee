//! `WakeHost`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{WakeHostRequest, WakeHostResponse};
use berth_core::model::{PowerChange, PowerState};

use super::sleep_host::by_hand;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors::client;

pub(crate) async fn handle(api: &Api, call: &Call, input: WakeHostRequest) -> Result<WakeHostResponse, AwsError> {
    let state = api.read().await?;
    let name = input.container_instance.unwrap_or_default();
    let host = references::existing_host(&state, &call.scope, input.cluster.as_deref(), &name)?;
    if host.power.state == PowerState::Asleep && !api.wakes_hosts() {
        let name = &host.host.host_name;
        return Err(client(format!(
            "Host {name} cannot be woken: this controller was started without --wake-command, by which hosts are called. Start every controller \
             with it and try again, or switch the machine on."
        )));
    }
    let host = by_hand(api, &host, PowerChange::WakeByHand).await?;
    Ok(WakeHostResponse { host: Some(host) })
}
