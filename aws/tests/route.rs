//! Dispatch: by the service in the credential scope, then by target or action; refusals speak the caller's protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use berth_aws::route::{claimed_service, refuse, route};
use berth_aws::sigv4::{Credentials, Secret, Signer};
use berth_aws::{Timestamp, error};
use bytes::Bytes;
use http::Request;
use http::request::Parts;

const ECS: &str = "AmazonEC2ContainerServiceV20141113";
const IDENTITY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";

fn post(target: &str) -> Parts {
    let request = Request::post("/").header("host", "h");
    let request = if target.is_empty() {
        request
    } else {
        request.header("x-amz-target", target)
    };
    request.body(()).unwrap().into_parts().0
}

fn signed_for(service: &str, mut parts: Parts) -> Parts {
    let credentials = Credentials {
        access_key: "A".to_owned(),
        secret: Secret::new("s"),
        session_token: None,
    };
    let signer = Signer {
        credentials,
        region: "us-east-1".to_owned(),
        service: service.to_owned(),
    };
    signer.sign(&mut parts, b"", Timestamp(0)).unwrap();
    parts
}

#[test]
fn route_target_finds_the_operation() {
    let call = route(&post(&format!("{ECS}.ListClusters")), &Bytes::from_static(b"{}"), "ecs").unwrap();
    assert_eq!(
        (call.service.name, call.operation.name, call.input.as_ref()),
        ("ecs", "ListClusters", b"{}".as_slice())
    );
    let call = route(&post("Berth_20261101.GetTaskLogs"), &Bytes::new(), "berth").unwrap();
    assert_eq!((call.service.name, call.operation.name), ("berth", "GetTaskLogs"));
}

#[test]
fn route_action_in_a_form_finds_the_operation() {
    let call = route(&post(""), &Bytes::from_static(IDENTITY), "sts").unwrap();
    assert_eq!(
        (call.service.name, call.operation.name, call.input.as_ref()),
        ("sts", "GetCallerIdentity", IDENTITY)
    );
}

#[test]
fn route_action_in_a_presigned_address_finds_the_operation() {
    let uri = "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00";
    let parts = Request::get(uri).body(()).unwrap().into_parts().0;
    let call = route(&parts, &Bytes::new(), "sts").unwrap();
    assert_eq!(
        (call.operation.name, call.input.as_ref()),
        ("GetCallerIdentity", IDENTITY)
    );
}

#[test]
fn route_target_of_another_service_than_the_signed_one_is_refused() {
    let refused = route(&post("Berth_20261101.GetTaskLogs"), &Bytes::new(), "ecs").unwrap_err();
    assert_eq!(refused.kind.code, "UnknownOperationException");
}

#[test]
fn route_unknown_operation_is_named() {
    let refused = route(&post(&format!("{ECS}.MakeCoffee")), &Bytes::new(), "ecs").unwrap_err();
    assert_eq!(refused.kind.code, "UnknownOperationException");
    assert!(refused.message.contains("MakeCoffee"), "{}", refused.message);
    let form = Bytes::from_static(b"Action=MakeCoffee&Version=2011-06-15");
    let refused = route(&post(""), &form, "sts").unwrap_err();
    assert_eq!(
        (refused.kind.query_code, refused.kind.query_status),
        ("InvalidAction", 400)
    );
    assert_eq!(
        refused.message,
        "Could not find operation MakeCoffee for version 2011-06-15. Served of sts are: GetCallerIdentity"
    );
    let target = post("GraniteServiceVersion20100801.GetMetricData");
    let refused = route(&target, &Bytes::new(), "monitoring").unwrap_err();
    assert!(
        refused
            .message
            .starts_with("cloudwatch has no operation GetMetricData here. Served of cloudwatch are: DeleteAlarms, "),
        "{}",
        refused.message
    );
}

#[test]
fn route_form_to_a_service_that_speaks_json_and_did_speak_query_is_the_same_call() {
    let form = Bytes::from_static(b"Action=SetAlarmState&Version=2010-08-01&AlarmName=a+b&StateValue=OK&StateReason=r");
    let call = route(&post(""), &form, "monitoring").unwrap();
    assert_eq!(call.operation.name, "SetAlarmState");
    let document: serde_json::Value = serde_json::from_slice(&call.input).unwrap();
    assert_eq!(
        document,
        serde_json::json!({"AlarmName": "a b", "StateValue": "OK", "StateReason": "r"})
    );
    let refused = route(
        &post(""),
        &Bytes::from_static(b"Action=ListClusters&Version=2014-11-13"),
        "ecs",
    );
    assert_eq!(refused.unwrap_err().kind.query_code, "InvalidAction");
}

#[test]
fn route_unknown_service_is_refused_by_name() {
    let refused = route(&post(""), &Bytes::new(), "s3").unwrap_err();
    assert_eq!(refused.kind.code, "InvalidSignatureException");
    assert!(refused.message.contains("'s3'"), "{}", refused.message);
}

#[test]
fn route_target_with_get_is_refused() {
    let request = Request::get("/").header("x-amz-target", format!("{ECS}.ListClusters"));
    let refused = route(&request.body(()).unwrap().into_parts().0, &Bytes::new(), "ecs").unwrap_err();
    assert_eq!(refused.kind.code, "UnknownOperationException");
}

#[test]
fn claimed_service_is_the_target_s_or_the_scope_s() {
    let name = |parts: &Parts| claimed_service(parts).map(|service| service.name);
    assert_eq!(name(&post(&format!("{ECS}.ListClusters"))), Some("ecs"));
    assert_eq!(name(&signed_for("sts", post(""))), Some("sts"));
    assert_eq!(name(&post("")), None);
}

#[test]
fn refuse_unsigned_request_speaks_the_caller_s_protocol() {
    let missing = error::common::MISSING_AUTHENTICATION_TOKEN.error("Request is missing Authentication Token");
    let json = refuse(&post(&format!("{ECS}.ListClusters")), &missing, "id");
    assert_eq!(
        (json.status().as_u16(), &json.headers()["x-amzn-errortype"]),
        (400, &"MissingAuthenticationTokenException".parse().unwrap())
    );
    let xml = refuse(&post(""), &missing, "id");
    assert_eq!(xml.status(), 403);
    assert!(
        std::str::from_utf8(xml.body())
            .unwrap()
            .contains("<Code>MissingAuthenticationToken</Code>")
    );
}
