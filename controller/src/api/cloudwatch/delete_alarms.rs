//! `DeleteAlarms`: names of none are left out, as CloudWatch does. Shell.

use berth_aws::AwsError;
use berth_aws::cloudwatch::DeleteAlarmsInput;
use berth_aws::scalar::Empty;
use berth_core::state::Command;

use super::alarms;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(api: &Api, call: &Call, input: DeleteAlarmsInput) -> Result<Empty, AwsError> {
    alarms::check_level(&*api.read().await?)?;
    let names = input.alarm_names.unwrap_or_default();
    let alarms = names.iter().map(|name| call.scope.alarm(name)).collect();
    let outcome = api.try_propose(Command::DeleteAlarms { alarms }).await;
    outcome.map_err(|failure| alarms::failure(&failure))?;
    Ok(Empty {})
}
