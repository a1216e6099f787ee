//! `CreateJoinToken`. Shell.

use std::time::Duration;

use berth_aws::AwsError;
use berth_aws::berth::{CreateJoinTokenRequest, CreateJoinTokenResponse, JoinRole};
use berth_trust::identity::Role;
use berth_trust::token::{DEFAULT_TOKEN_LIFETIME, TokenTerms};

use super::join_token::render;
use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: CreateJoinTokenRequest,
) -> Result<CreateJoinTokenResponse, AwsError> {
    let role = match input.role {
        Some(JoinRole::Agent) => Role::Agent,
        Some(JoinRole::Controller) => Role::Controller,
        other => {
            return Err(errors::invalid(format!(
                "There are no join tokens for the role {other:?}."
            )));
        }
    };
    // The model admits neither negative numbers nor 0.
    let positive = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let lifetime = positive(input.expires_in_seconds).map(|seconds| Duration::from_secs(u64::from(seconds)));
    let terms = TokenTerms {
        role,
        lifetime: lifetime.unwrap_or(DEFAULT_TOKEN_LIFETIME),
        uses: positive(input.uses).unwrap_or(1),
        created_by: call.caller_arn.clone(),
    };
    let made = api.administration().create_token(terms).await;
    let made = made.map_err(|failure| errors::administration(&failure))?;
    Ok(CreateJoinTokenResponse {
        token: Some(made.token.to_secret_text()),
        join_token: Some(render(&made.record, call.now)),
    })
}
