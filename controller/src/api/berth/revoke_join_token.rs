//! `RevokeJoinToken`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{RevokeJoinTokenRequest, RevokeJoinTokenResponse};

use super::join_token::render;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: RevokeJoinTokenRequest,
) -> Result<RevokeJoinTokenResponse, AwsError> {
    let id = input.token_id.unwrap_or_default();
    let revoked = api.administration().revoke_token(&id).await;
    let revoked = revoked.map_err(|failure| errors::administration(&failure))?;
    Ok(RevokeJoinTokenResponse {
        join_token: Some(render(&revoked, call.now)),
    })
}
