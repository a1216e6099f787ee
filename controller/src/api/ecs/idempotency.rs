//! Client tokens: the caller's promise that two requests are one. Pure.

use berth_aws::AwsError;
use berth_core::state::{ClientToken, ClusterState, Rejection, RememberedRequest};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::context::Call;
use crate::api::errors::{self, TOKEN_REUSED, invalid};
use crate::api::ports::ProposeFailure;

/// Longest token (ECS: 64 characters).
const MAX_TOKEN: usize = 64;

/// The token of a request to `operation`, if it has one; `digest` is that of the request without it.
///
/// # Errors
/// `InvalidParameterException` for a token that is too long or not printable ASCII.
pub(super) fn client_token(
    call: &Call,
    operation: &str,
    token: Option<&str>,
    digest: &str,
) -> Result<Option<ClientToken>, AwsError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    if token.len() > MAX_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid(format!(
            "The clientToken must have at most {MAX_TOKEN} characters, all of them printable ASCII."
        )));
    }
    Ok(Some(ClientToken {
        scope: call.scope.clone(),
        operation: operation.to_owned(),
        token: token.to_owned(),
        request_digest: digest.to_owned(),
        at: call.now,
    }))
}

/// The AWS error for a creation of a service, a daemon or a task set that took no effect: ConflictException, which `RunTask` has for a token that was used before, is none of
/// theirs.
pub(super) fn failure(failure: &ProposeFailure) -> AwsError {
    match failure {
        ProposeFailure::Rejected(Rejection::ClientTokenReused { .. }) => invalid(TOKEN_REUSED),
        other => errors::failure(other),
    }
}

/// Whether the request came before with the same token, and what it made is remembered.
///
/// # Errors
/// `InvalidParameterException` if another request had the token.
pub(super) fn is_repeated(state: &ClusterState, token: Option<&ClientToken>) -> Result<bool, AwsError> {
    Ok(remembered(state, token)?.is_some())
}

/// The request that came before with the same token, as long as it is remembered.
///
/// # Errors
/// As [`is_repeated`].
pub(super) fn remembered<'s>(
    state: &'s ClusterState,
    token: Option<&ClientToken>,
) -> Result<Option<&'s RememberedRequest>, AwsError> {
    let Some(token) = token else { return Ok(None) };
    state.remembered_request(token).map_err(|_| invalid(TOKEN_REUSED))
}

/// A digest of a request, equal for equal requests.
pub(super) fn digest(request: &impl Serialize) -> String {
    // Serialising a request that was just read cannot fail; an empty text would only make requests look equal.
    let text = serde_json::to_vec(request).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}
