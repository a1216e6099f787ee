//! Calls that another member passes on, since only the leader can answer them: how they are written, and answered. Shell.

use std::sync::Arc;

use berth_aws::{SERVICES, protocol};
use berth_core::model::Scope;
use berth_proto::v1::{ApiAnswer, ApiCall, ApiHeader};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::context::{Api, Call};
use super::dispatch::{self, Route};
use super::front;

/// A call as it travels to the leader.
pub(super) fn write(route: &Route, call: &Call, input: &Bytes) -> ApiCall {
    ApiCall {
        service: route.service.name.to_owned(),
        operation: route.operation.name.to_owned(),
        account: call.scope.account.to_string(),
        region: call.scope.region.to_string(),
        caller_arn: call.caller_arn.clone(),
        request_id: call.request_id.clone(),
        input: input.to_vec(),
    }
}

/// Answers a call that another member has taken; `None` for an operation that is not passed on.
pub(crate) async fn answer(api: Arc<Api>, passed: ApiCall) -> Option<ApiAnswer> {
    let service = SERVICES.iter().find(|service| service.name == passed.service)?;
    let mut operations = service.operations.iter();
    let operation = operations.find(|operation| operation.name == passed.operation)?;
    let route = dispatch::find(service, operation).filter(|route| route.by_leader)?;
    let request_id = passed.request_id;
    let call = Call {
        scope: Scope::new(&passed.account, &passed.region),
        caller_arn: passed.caller_arn,
        request_id: request_id.clone(),
        now: api.now(),
    };
    let serving = (route.serve)(api, call, Bytes::from(passed.input));
    let response = match front::within_deadline(serving).await {
        Ok(response) => response,
        Err(error) => protocol::write_error(service, &error, &request_id),
    };
    Some(encode(response))
}

fn encode(response: Response<Bytes>) -> ApiAnswer {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter().map(|(name, value)| ApiHeader {
        name: name.to_string(),
        value: value.as_bytes().to_vec(),
    });
    ApiAnswer {
        status: parts.status.as_u16().into(),
        headers: headers.collect(),
        body: body.to_vec(),
    }
}

/// The answer of the leader as it goes to the client; `None` if it is no HTTP answer.
pub(crate) fn decode(answer: ApiAnswer) -> Option<Response<Bytes>> {
    let mut response = Response::new(Bytes::from(answer.body));
    let status = u16::try_from(answer.status).ok()?;
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for header in answer.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        response
            .headers_mut()
            .append(name, HeaderValue::from_bytes(&header.value).ok()?);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use berth_aws::Operation;
    use berth_aws::ecs::operations::{CreateCluster, RunTask};
    use serde_json::Value;

    use super::*;
    use crate::api::testing::{ACCOUNT, Harness, REGION};

    fn passed<O: Operation>(input: &str) -> ApiCall {
        ApiCall {
            service: O::SERVICE.name.to_owned(),
            operation: O::NAME.to_owned(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            caller_arn: "arn".to_owned(),
            request_id: "request".to_owned(),
            input: input.as_bytes().to_vec(),
        }
    }

    #[tokio::test]
    async fn passed_call_is_answered_as_it_would_have_been_here() {
        let harness = Harness::new();
        harness.add_cluster("default");
        let call = passed::<RunTask>(r#"{"taskDefinition": "none"}"#);
        let answer = answer(harness.api(), call).await.expect("an answer");
        let response = decode(answer).expect("an HTTP answer");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-amzn-requestid"], "request");
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["__type"], "ClientException");
    }

    #[tokio::test]
    async fn operation_that_any_member_answers_is_not_passed_on() {
        let harness = Harness::new();
        assert_eq!(answer(harness.api(), passed::<CreateCluster>("{}")).await, None);
    }
}
