//! `ListJoinTokens`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{ListJoinTokensRequest, ListJoinTokensResponse};

use super::join_token::render;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    _input: ListJoinTokensRequest,
) -> Result<ListJoinTokensResponse, AwsError> {
    let tokens = api.administration().tokens().await;
    let tokens = tokens.map_err(|failure| errors::administration(&failure))?;
    Ok(ListJoinTokensResponse {
        join_tokens: Some(tokens.iter().map(|record| render(record, call.now)).collect()),
    })
}
