//! `GetBackupPart`: hands out a part of a backup that `CreateBackup` began. Shell.

use berth_aws::berth::{GetBackupPartRequest, GetBackupPartResponse, errors};
use berth_aws::{AwsError, Blob};

use crate::api::context::{Api, Call};
use crate::api::ports::PartFailure;

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    input: GetBackupPartRequest,
) -> Result<GetBackupPartResponse, AwsError> {
    let id = input.backup_id.unwrap_or_default();
    let number = input
        .part_number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0);
    let part = api
        .backups()
        .part(&id, number)
        .await
        .map_err(|failure| error(&failure))?;
    Ok(GetBackupPartResponse {
        data: Some(Blob(part.data)),
        last: Some(part.is_last),
    })
}

/// Why a part of a backup or a recording is not handed out.
pub(super) fn error(failure: &PartFailure) -> AwsError {
    let kind = match failure {
        PartFailure::Unknown { .. } => &errors::RESOURCE_NOT_FOUND,
        PartFailure::OutOfOrder { .. } | PartFailure::Refused(_) => &errors::INVALID_PARAMETER,
        PartFailure::Failed { .. } => &errors::SERVER,
    };
    kind.error(failure.to_string())
}
