//! From an HTTP request to an HTTP response: who calls, what, and then the operation's own handler.
//!
//! Owns the order of the checks: what a signature says of itself, the body's size, the signature, operation, input. Nothing of a body
//! is parsed before its signature has been verified.
//! Shell.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use berth_aws::error::common;
use berth_aws::sigv4::{Key, KeyLookup, Principal, Screened, Secret};
use berth_aws::{AwsError, Timestamp, protocol, route, sigv4};
use berth_core::ids::IdSource;
use berth_core::model::Scope;
use berth_core::state::Command;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tracing::Instrument;

use super::context::{Api, Call};
use super::credentials::RootCredentials;
use super::{dispatch, errors, passed_calls, unsupported};
use crate::monitoring::RequestTimer;

/// How long an operation may take: longer than a proposal waits for its outcome, shorter than clients wait (60 s).
const OPERATION_DEADLINE: Duration = Duration::from_secs(30);
/// Where a controller for tests is emptied.
const RESET_PATH: &str = "/_berth/reset";

/// What became of a request.
pub(super) struct Answer {
    pub(super) response: Response<Bytes>,
    /// Whether it was signed by a known key.
    pub(super) is_signed: bool,
}

/// A request against which nothing speaks that comes before its body.
pub(super) enum Admitted {
    /// To be verified with its body.
    Signed(Box<Screened>),
    /// A controller for tests is to be emptied.
    Reset,
}

impl Answer {
    fn to_stranger(response: Response<Bytes>) -> Self {
        Self {
            response,
            is_signed: false,
        }
    }
}

/// Answers at once a request that would be refused whatever its body.
pub(super) fn screen(api: &Api, parts: &Parts) -> Result<Admitted, Box<Response<Bytes>>> {
    if is_reset(api, parts) {
        return Ok(Admitted::Reset);
    }
    sigv4::screen(parts, Timestamp(api.now().0), &api.options.root)
        .map(|screened| Admitted::Signed(Box::new(screened)))
        .map_err(|error| Box::new(refuse_unserved(api, parts, &error)))
}

/// Answers a request that is refused before its operation is known, and which nobody serves.
pub(super) fn refuse_unserved(api: &Api, parts: &Parts, error: &AwsError) -> Response<Bytes> {
    let request_id = api.with_ids(IdSource::uuid);
    refuse(parts, error, &request_id, api.metrics.begin_request())
}

/// Answers one request.
pub(super) async fn answer(api: Arc<Api>, admitted: Admitted, parts: Parts, body: Bytes) -> Answer {
    let Admitted::Signed(screened) = admitted else {
        return Answer::to_stranger(reset(&api).await);
    };
    let request_id = api.with_ids(IdSource::uuid);
    let timer = api.metrics.begin_request();
    let principal = match screened.verify(&parts, &body) {
        Ok(principal) => principal,
        Err(error) => return Answer::to_stranger(refuse(&parts, &error, &request_id, timer)),
    };
    let call = Call {
        scope: scope(&api.options.root, &principal),
        caller_arn: api.options.root.arn(),
        request_id,
        now: api.now(),
    };
    Answer {
        response: serve(api, call, &principal, &parts, &body, timer).await,
        is_signed: true,
    }
}

/// Answers a request whose caller is known.
async fn serve(
    api: Arc<Api>,
    call: Call,
    principal: &Principal,
    parts: &Parts,
    body: &Bytes,
    timer: RequestTimer,
) -> Response<Bytes> {
    let request_id = call.request_id.clone();
    let called = match route::route(parts, body, &principal.service) {
        Ok(called) => called,
        Err(error) => return refuse(parts, &error, &request_id, timer),
    };
    let span = tracing::info_span!(
        "request",
        request_id = %request_id,
        service = called.service.name,
        operation = called.operation.name,
        region = %principal.region,
    );
    let outcome = perform(api, call, &called).instrument(span.clone()).await;
    let code = match &outcome {
        Ok(response) => error_code(response),
        Err(error) => Some(error.kind.code.into()),
    };
    timer.answered(Some((called.service, called.operation)), code);
    span.in_scope(|| match outcome {
        Ok(response) => {
            tracing::debug!(status = response.status().as_u16(), "answered");
            called.answer(response, &request_id)
        }
        Err(error) if error.kind.is_sender_fault() || error.kind == &common::NOT_IMPLEMENTED => {
            tracing::debug!(code = error.kind.code, message = %error.message, "refused");
            called.refuse(&error, &request_id)
        }
        Err(error) => {
            tracing::warn!(code = error.kind.code, message = %error.message, "a request could not be served");
            called.refuse(&error, &request_id)
        }
    })
}

async fn perform(api: Arc<Api>, call: Call, called: &route::Call) -> Result<Response<Bytes>, AwsError> {
    let Some(route) = dispatch::find(called.service, called.operation) else {
        let message = unsupported::message(called.service, called.operation);
        return Err(common::NOT_IMPLEMENTED.error(message));
    };
    let serving = async {
        if route.by_leader {
            let passed = passed_calls::write(route, &call, &called.input);
            if let Some(answer) = api.leader_calls().pass_on(passed).await {
                return answer.map_err(|error| errors::unavailable(&error));
            }
        }
        (route.serve)(Arc::clone(&api), call, called.input.clone()).await
    };
    within_deadline(serving).await
}

/// The error that an answer says, which the leader gave where the call was passed on.
fn error_code(response: &Response<Bytes>) -> Option<Cow<'static, str>> {
    let code = response.headers().get(protocol::ERROR_TYPE)?;
    Some(String::from_utf8_lossy(code.as_bytes()).into_owned().into())
}

/// Ends an operation that takes too long.
pub(super) async fn within_deadline(
    serving: impl Future<Output = Result<Response<Bytes>, AwsError>>,
) -> Result<Response<Bytes>, AwsError> {
    tokio::time::timeout(OPERATION_DEADLINE, serving)
        .await
        .unwrap_or_else(|_| {
            Err(common::SERVICE_UNAVAILABLE.error(format!(
                "The operation did not end within {} s; it may or may not have taken effect.",
                OPERATION_DEADLINE.as_secs()
            )))
        })
}

fn is_reset(api: &Api, parts: &Parts) -> bool {
    api.options.testing && parts.method == Method::POST && parts.uri.path() == RESET_PATH
}

fn refuse(parts: &Parts, error: &AwsError, request_id: &str, timer: RequestTimer) -> Response<Bytes> {
    timer.answered(None, Some(error.kind.code.into()));
    tracing::debug!(request_id, code = error.kind.code, message = %error.message, "refused before an operation was known");
    route::refuse(parts, error, request_id)
}

fn scope(root: &RootCredentials, principal: &Principal) -> Scope {
    Scope {
        account: root.account.clone(),
        region: principal.region.as_str().into(),
    }
}

async fn reset(api: &Api) -> Response<Bytes> {
    let (status, text) = match api.propose(Command::Reset).await {
        Ok(_) => (StatusCode::OK, "the state is empty\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.message)),
    };
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response
}

impl KeyLookup for RootCredentials {
    fn find(&self, access_key: &str) -> Option<Key> {
        (access_key == self.access_key_id).then(|| Key {
            secret: Secret::new(self.secret_access_key.clone()),
            session_token: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Harness, SECRET};
    use super::*;

    #[tokio::test]
    async fn request_signed_with_the_root_key_is_answered_with_a_request_id() {
        let harness = Harness::new();
        let response = harness
            .send("ecs", "ListTaskDefinitionFamilies", &json!({}), SECRET)
            .await;
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body, json!({"families": []}));
    }

    #[tokio::test]
    async fn request_with_a_wrong_secret_or_none_is_refused() {
        let harness = Harness::new();
        let response = harness
            .send("ecs", "ListTaskDefinitionFamilies", &json!({}), "wrong")
            .await;
        assert_eq!(response.status(), 400);
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["__type"], "InvalidSignatureException");
        let unsigned = harness.send_unsigned("ListTaskDefinitionFamilies").await;
        let body: Value = serde_json::from_slice(unsigned.body()).expect("JSON");
        assert_eq!(body["__type"], "MissingAuthenticationTokenException");
    }

    #[tokio::test]
    async fn operation_without_behaviour_or_unknown_is_refused_by_name() {
        let harness = Harness::new();
        let response = harness.send("ecs", "ExecuteCommand", &json!({}), SECRET).await;
        assert_eq!(response.status(), 501);
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(
            body["message"],
            "The operation ExecuteCommand of ecs is not supported by Berth yet."
        );
        let response = harness.send("ecs", "MakeCoffee", &json!({}), SECRET).await;
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["__type"], "UnknownOperationException");
    }

    #[tokio::test]
    async fn reset_without_testing_is_no_way_in() {
        let harness = Harness::new();
        let response = harness.post(RESET_PATH).await;
        assert_ne!(response.status(), 200);
        let response = Harness::for_testing().post(RESET_PATH).await;
        assert_eq!(response.status(), 200);
    }
}
