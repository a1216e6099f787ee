//! `DescribeAuthority`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{DescribeAuthorityRequest, DescribeAuthorityResponse};

use super::authority;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    _input: DescribeAuthorityRequest,
) -> Result<DescribeAuthorityResponse, AwsError> {
    let status = api.administration().authority().await;
    let status = status.map_err(|failure| errors::administration(&failure))?;
    Ok(DescribeAuthorityResponse {
        authority: Some(authority::describe(api, &status).await?),
    })
}
