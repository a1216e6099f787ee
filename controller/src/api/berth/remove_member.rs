//! `RemoveMember`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{RemoveMemberRequest, RemoveMemberResponse};

use super::member_id;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    input: RemoveMemberRequest,
) -> Result<RemoveMemberResponse, AwsError> {
    let member = member_id::find(api, input.member_id.as_deref()).await?;
    let done = api
        .administration()
        .remove_member(member, input.force.unwrap_or(false))
        .await;
    done.map_err(|failure| errors::administration(&failure))?;
    Ok(RemoveMemberResponse {})
}
