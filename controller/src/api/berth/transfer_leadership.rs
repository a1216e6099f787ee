//! `TransferLeadership`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{TransferLeadershipRequest, TransferLeadershipResponse};

use super::member_id;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    input: TransferLeadershipRequest,
) -> Result<TransferLeadershipResponse, AwsError> {
    let member = member_id::find(api, input.member_id.as_deref()).await?;
    let done = api.administration().transfer_leadership(member).await;
    done.map_err(|failure| errors::administration(&failure))?;
    Ok(TransferLeadershipResponse {})
}
