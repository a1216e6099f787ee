//! `PutAccountSetting`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{PutAccountSettingRequest, PutAccountSettingResponse};

use super::account_settings;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse, AwsError> {
    let name = account_settings::name(input.name)?;
    account_settings::check_principal(call, input.principal_arn.as_deref())?;
    let value = account_settings::check_value(name, input.value.as_deref())?;
    account_settings::remember(api, call, name, Some(value)).await?;
    Ok(PutAccountSettingResponse {
        setting: Some(account_settings::setting(call, name)),
    })
}
