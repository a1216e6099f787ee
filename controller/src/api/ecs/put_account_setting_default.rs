//! `PutAccountSettingDefault`: what holds for principals without a setting of their own, which the root user's is on ECS. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{PutAccountSettingDefaultRequest, PutAccountSettingDefaultResponse};

use super::account_settings;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PutAccountSettingDefaultRequest,
) -> Result<PutAccountSettingDefaultResponse, AwsError> {
    let name = account_settings::name(input.name)?;
    let value = account_settings::check_value(name, input.value.as_deref())?;
    account_settings::remember(api, call, name, Some(value)).await?;
    Ok(PutAccountSettingDefaultResponse {
        setting: Some(account_settings::setting(call, name)),
    })
}
