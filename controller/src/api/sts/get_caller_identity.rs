//! `GetCallerIdentity`. Shell.

use berth_aws::AwsError;
use berth_aws::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    _api: &Api,
    call: &Call,
    _input: GetCallerIdentityRequest,
) -> Result<GetCallerIdentityResponse, AwsError> {
    let account = call.scope.account.to_string();
    Ok(GetCallerIdentityResponse {
        // The root user has the account's id.
        user_id: Some(account.clone()),
        account: Some(account),
        arn: Some(call.caller_arn.clone()),
    })
}

#[cfg(test)]
mod tests {
    use crate::api::testing::Harness;

    #[tokio::test]
    async fn caller_with_the_root_key_is_told_the_account_and_the_root_users_arn() {
        let response = Harness::new()
            .send_form("sts", "Action=GetCallerIdentity&Version=2011-06-15")
            .await;
        assert_eq!(response.status(), 200);
        let body = String::from_utf8(response.body().to_vec()).expect("text");
        assert!(body.contains("<Account>123456789012</Account>"), "{body}");
        assert!(body.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"), "{body}");
    }
}
