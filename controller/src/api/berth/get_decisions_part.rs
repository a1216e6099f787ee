//! `GetDecisionsPart`: hands out a part of a recording that `ExportDecisions` began. Shell.

use berth_aws::berth::{GetDecisionsPartRequest, GetDecisionsPartResponse};
use berth_aws::{AwsError, Blob};

use super::get_backup_part::error;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    input: GetDecisionsPartRequest,
) -> Result<GetDecisionsPartResponse, AwsError> {
    let id = input.recording_id.unwrap_or_default();
    let number = input.part_number.and_then(|number| u32::try_from(number).ok());
    let part = api.decisions().part(&id, number.unwrap_or(0)).await;
    let part = part.map_err(|failure| error(&failure))?;
    Ok(GetDecisionsPartResponse {
        data: Some(Blob(part.data)),
        last: Some(part.is_last),
    })
}
