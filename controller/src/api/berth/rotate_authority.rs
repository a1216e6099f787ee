//! `RotateAuthority`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{RotateAuthorityRequest, RotateAuthorityResponse, RotationStep};

use super::authority;
use crate::api::context::{Api, Call};
use crate::api::{errors, ports};

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    input: RotateAuthorityRequest,
) -> Result<RotateAuthorityResponse, AwsError> {
    let step = match input.step {
        Some(RotationStep::Begin) => ports::RotationStep::Begin,
        Some(RotationStep::Continue) => ports::RotationStep::Continue,
        Some(RotationStep::TakeBack) => ports::RotationStep::TakeBack,
        other => return Err(errors::invalid(format!("A rotation has no step {other:?}."))),
    };
    let status = api.administration().rotate(step).await;
    let status = status.map_err(|failure| errors::administration(&failure))?;
    Ok(RotateAuthorityResponse {
        authority: Some(authority::describe(api, &status).await?),
    })
}
