//! awsQuery: forms are read by the tables of their shapes, answers and errors are XML.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use berth_aws::sts::operations::GetCallerIdentity;
use berth_aws::sts::{self, GetCallerIdentityResponse};
use berth_aws::{AwsError, error, protocol};

#[test]
fn read_form_without_members_is_accepted() {
    let input = protocol::read::<GetCallerIdentity>(b"Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(input.unwrap(), sts::GetCallerIdentityRequest::default());
}

#[test]
fn read_unknown_parameter_is_refused_by_name() {
    let refused: AwsError = protocol::read::<GetCallerIdentity>(b"Action=GetCallerIdentity&Naem=x").unwrap_err();
    assert_eq!(
        (refused.kind.query_code, refused.kind.query_status),
        ("ValidationError", 400)
    );
    assert!(refused.message.contains("'Naem'"), "{}", refused.message);
}

#[test]
fn read_malformed_form_is_refused() {
    for form in ["Action=%zz", "Action=%F", "Action=%ff"] {
        let refused = protocol::read::<GetCallerIdentity>(form.as_bytes()).unwrap_err();
        assert_eq!(refused.kind.query_code, "MalformedInput", "{form}");
    }
}

#[test]
fn write_output_is_wrapped_and_escaped() {
    let output = GetCallerIdentityResponse {
        user_id: Some("AIDA".to_owned()),
        account: Some("123456789012".to_owned()),
        arn: Some("arn:aws:iam::123456789012:user/<a&b>".to_owned()),
    };
    let response = protocol::write::<GetCallerIdentity>(&output, "id-1");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/xml".parse().unwrap())
    );
    assert_eq!(
        std::str::from_utf8(response.body()).unwrap(),
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <UserId>AIDA</UserId><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/&lt;a&amp;b&gt;</Arn>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
}

#[test]
fn write_error_is_an_error_response() {
    let refused = error::common::INVALID_SIGNATURE.error("no\u{0} match");
    let response = protocol::write_error(&sts::SERVICE, &refused, "id-2");
    assert_eq!(response.status(), 403);
    assert_eq!(
        std::str::from_utf8(response.body()).unwrap(),
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>SignatureDoesNotMatch</Code><Message>no match</Message></Error><RequestId>id-2</RequestId></ErrorResponse>"
    );
}
