//! `DeleteAccountSetting`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeleteAccountSettingRequest, DeleteAccountSettingResponse};

use super::account_settings;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteAccountSettingRequest,
) -> Result<DeleteAccountSettingResponse, AwsError> {
    let name = account_settings::name(input.name)?;
    account_settings::check_principal(call, input.principal_arn.as_deref())?;
    account_settings::remember(api, call, name, None).await?;
    Ok(DeleteAccountSettingResponse {
        setting: Some(account_settings::setting(call, name)),
    })
}
