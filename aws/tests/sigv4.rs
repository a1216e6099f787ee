//! Signatures: what other signers made is accepted, and whatever differs from it is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use berth_aws::sigv4::{Credentials, Key, KeyLookup, Secret, Signer, verify};
use berth_aws::{AwsError, Timestamp};
use http::Request;
use http::request::Parts;
use proptest::prelude::*;

const SECRET: &str = "vector/secret+with=signs0123456789abcdef";
const TOKEN: &str = "token/with+signs==";
/// 2026-01-31T12:00:00Z, when all vectors were signed.
const SIGNED_AT: Timestamp = Timestamp(1_769_860_800_000);

struct Keys;

impl KeyLookup for Keys {
    fn find(&self, access_key: &str) -> Option<Key> {
        let token = match access_key {
            "AKIDVECTOR" => None,
            "ASIDVECTOR" => Some(Secret::new(TOKEN)),
            _ => return None,
        };
        Some(Key {
            secret: Secret::new(SECRET),
            session_token: token,
        })
    }
}

struct Vector {
    name: &'static str,
    method: &'static str,
    uri: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

/// Signed with botocore 1.44.5.
const VECTORS: &[Vector] = &[
    Vector {
        name: "json",
        method: "POST",
        uri: "/",
        headers: &[
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters"),
            ("host", "127.0.0.1:7480"),
            ("x-amz-date", "20260131T120000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDVECTOR/20260131/us-east-1/ecs/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
                 Signature=eff3443891c7ee6066f8faeb74758426945b4f805027e120e557774ddb316153",
            ),
        ],
        body: r#"{"maxResults": 7}"#,
    },
    Vector {
        name: "token",
        method: "POST",
        uri: "/",
        headers: &[
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters"),
            ("host", "127.0.0.1:7480"),
            ("x-amz-date", "20260131T120000Z"),
            ("x-amz-security-token", TOKEN),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=ASIDVECTOR/20260131/eu-west-1/ecs/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
                 Signature=90d7d72c75a30c3d9c724729c9098f9371a02c16d849937099e9226a1cfc4dd8",
            ),
        ],
        body: "{}",
    },
    Vector {
        name: "path and query with escapes",
        method: "GET",
        uri: "/a%20b/%C3%A9/c+d?z=1&a=%2F&a=%20&empty",
        headers: &[
            ("host", "127.0.0.1:7480"),
            ("x-amz-date", "20260131T120000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDVECTOR/20260131/us-east-1/apigateway/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=4e7576a692549eddbcae2dc15b5ca65375819e365b1027cff51f3d7d42f749a8",
            ),
        ],
        body: "",
    },
    Vector {
        name: "presigned",
        method: "GET",
        uri: "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
              &X-Amz-Credential=ASIDVECTOR%2F20260131%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20260131T120000Z\
              &X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=token%2Fwith%2Bsigns%3D%3D\
              &X-Amz-Signature=91b7189b579feac8633572c8d89db216311a0b7a7b3a018448f5e43d4fc6227b",
        headers: &[("host", "127.0.0.1:7480")],
        body: "",
    },
    Vector {
        name: "presigned for s3",
        method: "GET",
        uri: "/bucket/a%20b//c?X-Amz-Algorithm=AWS4-HMAC-SHA256\
              &X-Amz-Credential=AKIDVECTOR%2F20260131%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260131T120000Z\
              &X-Amz-Expires=900&X-Amz-SignedHeaders=host\
              &X-Amz-Signature=50ae8d52eb6e65356109eeb209096c36bd51bc932e7ca2d50f41be710e08c2f3",
        headers: &[("host", "127.0.0.1:7480")],
        body: "",
    },
];

fn parts_of(vector: &Vector) -> Parts {
    let mut request = Request::builder().method(vector.method).uri(vector.uri);
    for (name, value) in vector.headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn after(seconds: i64) -> Timestamp {
    Timestamp(SIGNED_AT.0 + seconds * 1000)
}

fn code(result: Result<berth_aws::sigv4::Principal, AwsError>) -> &'static str {
    result.expect_err("it must be refused").kind.code
}

fn signer(access_key: &str, secret: &str, token: Option<&str>) -> Signer {
    let session_token = token.map(Secret::new);
    let credentials = Credentials {
        access_key: access_key.to_owned(),
        secret: Secret::new(secret),
        session_token,
    };
    Signer {
        credentials,
        region: "us-east-1".to_owned(),
        service: "ecs".to_owned(),
    }
}

fn unsigned() -> Parts {
    let request = Request::post("http://127.0.0.1:7480/?b=2&a=1")
        .header("host", "127.0.0.1:7480")
        .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters");
    request.body(()).unwrap().into_parts().0
}

fn signed() -> Parts {
    let mut parts = unsigned();
    signer("AKIDVECTOR", SECRET, None)
        .sign(&mut parts, b"{}", SIGNED_AT)
        .unwrap();
    parts
}

#[test]
fn verify_what_botocore_signed_is_accepted() {
    for vector in VECTORS {
        let result = verify(&parts_of(vector), vector.body.as_bytes(), SIGNED_AT, &Keys);
        assert!(result.is_ok(), "{}: {result:?}", vector.name);
    }
}

#[test]
fn verify_accepted_request_names_key_region_and_service() {
    let principal = verify(&parts_of(&VECTORS[1]), b"{}", SIGNED_AT, &Keys).unwrap();
    assert_eq!(
        (principal.access_key.as_str(), principal.region.as_str()),
        ("ASIDVECTOR", "eu-west-1")
    );
    assert_eq!(principal.service, "ecs");
}

#[test]
fn verify_unsigned_request_lacks_its_token() {
    let error = verify(&unsigned(), b"{}", SIGNED_AT, &Keys).unwrap_err();
    assert_eq!(
        (error.kind.code, error.kind.status),
        ("MissingAuthenticationTokenException", 400)
    );
    assert_eq!(
        (error.kind.query_code, error.kind.query_status),
        ("MissingAuthenticationToken", 403)
    );
}

#[test]
fn verify_unknown_key_is_not_recognized() {
    let mut parts = unsigned();
    signer("AKIDOTHER", SECRET, None)
        .sign(&mut parts, b"{}", SIGNED_AT)
        .unwrap();
    assert_eq!(
        code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
        "UnrecognizedClientException"
    );
}

#[test]
fn verify_wrong_secret_is_refused() {
    let mut parts = unsigned();
    signer("AKIDVECTOR", "another", None)
        .sign(&mut parts, b"{}", SIGNED_AT)
        .unwrap();
    assert_eq!(
        code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
        "InvalidSignatureException"
    );
}

#[test]
fn verify_wrong_missing_or_superfluous_session_token_is_not_recognized() {
    for (key, token) in [
        ("ASIDVECTOR", None),
        ("ASIDVECTOR", Some("other")),
        ("AKIDVECTOR", Some(TOKEN)),
    ] {
        let mut parts = unsigned();
        signer(key, SECRET, token).sign(&mut parts, b"{}", SIGNED_AT).unwrap();
        assert_eq!(
            code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
            "UnrecognizedClientException",
            "{key} {token:?}"
        );
    }
}

#[test]
fn verify_clock_skew_beyond_fifteen_minutes_is_refused() {
    let parts = signed();
    for seconds in [-900, 0, 900] {
        assert!(verify(&parts, b"{}", after(seconds), &Keys).is_ok(), "{seconds}");
    }
    let late = verify(&parts, b"{}", after(901), &Keys).unwrap_err();
    assert_eq!(late.kind.code, "InvalidSignatureException");
    let expected =
        "Signature expired: 20260131T120000Z is now earlier than 20260131T120001Z (20260131T121501Z - 15 min.)";
    assert_eq!(late.message, expected);
    let early = verify(&parts, b"{}", after(-901), &Keys).unwrap_err();
    assert!(
        early.message.starts_with("Signature not yet current: 20260131T120000Z"),
        "{}",
        early.message
    );
}

#[test]
fn verify_presigned_address_is_good_until_it_expires() {
    let mut parts = unsigned();
    signer("AKIDVECTOR", SECRET, None)
        .presign(&mut parts, b"{}", SIGNED_AT, 3600)
        .unwrap();
    assert!(verify(&parts, b"{}", after(3600), &Keys).is_ok());
    assert_eq!(
        code(verify(&parts, b"{}", after(3601), &Keys)),
        "InvalidSignatureException"
    );
    assert_eq!(
        code(verify(&parts, b"{}", after(-901), &Keys)),
        "InvalidSignatureException"
    );
    assert_eq!(
        code(verify(&parts, b"[]", SIGNED_AT, &Keys)),
        "InvalidSignatureException"
    );
}

#[test]
fn verify_presigned_address_for_more_than_a_week_is_refused() {
    for seconds in [0, 604_801] {
        let mut parts = unsigned();
        signer("AKIDVECTOR", SECRET, None)
            .presign(&mut parts, b"{}", SIGNED_AT, seconds)
            .unwrap();
        assert_eq!(
            code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
            "IncompleteSignatureException",
            "{seconds}"
        );
    }
}

#[test]
fn verify_amz_header_added_after_signing_is_refused() {
    let mut parts = signed();
    parts.headers.insert("x-amz-user", "root".parse().unwrap());
    let error = verify(&parts, b"{}", SIGNED_AT, &Keys).unwrap_err();
    assert_eq!(error.kind.code, "IncompleteSignatureException");
    assert!(error.message.contains("x-amz-user"), "{}", error.message);
}

#[test]
fn verify_unsigned_host_is_refused() {
    let mut parts = signed();
    let text = parts.headers["authorization"].to_str().unwrap().replace("host;", "");
    parts.headers.insert("authorization", text.parse().unwrap());
    assert_eq!(
        code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
        "IncompleteSignatureException"
    );
}

#[test]
fn verify_second_value_of_a_signature_header_is_refused() {
    for name in ["authorization", "x-amz-date"] {
        let mut parts = signed();
        let value = parts.headers[name].clone();
        parts.headers.append(name, value);
        assert_eq!(
            code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
            "IncompleteSignatureException",
            "{name}"
        );
    }
}

#[test]
fn verify_header_and_query_signature_together_are_refused() {
    let mut parts = signed();
    signer("AKIDVECTOR", SECRET, None)
        .presign(&mut parts, b"{}", SIGNED_AT, 60)
        .unwrap();
    assert_eq!(
        code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
        "IncompleteSignatureException"
    );
}

#[test]
fn verify_scope_of_another_day_is_refused() {
    let mut parts = signed();
    let text = parts.headers["authorization"]
        .to_str()
        .unwrap()
        .replace("20260131/", "20260130/");
    parts.headers.insert("authorization", text.parse().unwrap());
    let error = verify(&parts, b"{}", SIGNED_AT, &Keys).unwrap_err();
    assert_eq!(error.kind.code, "InvalidSignatureException");
    assert!(error.message.contains("'20260130' != '20260131"), "{}", error.message);
}

#[test]
fn verify_unsigned_payload_is_refused_outside_s3() {
    for value in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "00"] {
        let mut parts = unsigned();
        parts.headers.insert("x-amz-content-sha256", value.parse().unwrap());
        signer("AKIDVECTOR", SECRET, None)
            .sign(&mut parts, b"{}", SIGNED_AT)
            .unwrap();
        assert_eq!(
            code(verify(&parts, b"{}", SIGNED_AT, &Keys)),
            "InvalidSignatureException",
            "{value}"
        );
    }
}

#[test]
fn verify_malformed_authorization_says_what_is_wrong() {
    let cases = [
        ("Bearer abc", "AWS4-HMAC-SHA256"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDVECTOR/20260131/us-east-1/ecs/aws4_request",
            "SignedHeaders",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDVECTOR, SignedHeaders=host, Signature=00",
            "Credential must be",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=A/20260131/r/s/aws4_request, SignedHeaders=x;host, Signature=00",
            "in order",
        ),
    ];
    for (text, part) in cases {
        let mut parts = signed();
        parts.headers.insert("authorization", text.parse().unwrap());
        let error = verify(&parts, b"{}", SIGNED_AT, &Keys).unwrap_err();
        assert_eq!(error.kind.code, "IncompleteSignatureException", "{text}");
        assert!(error.message.contains(part), "{text}: {}", error.message);
    }
}

#[test]
fn secret_in_debug_output_is_hidden() {
    assert_eq!(format!("{:?}", Secret::new("s3cr3t")), "Secret(..)");
}

proptest! {
    #[test]
    fn verify_any_changed_byte_of_the_body_is_refused(body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut parts = unsigned();
        signer("AKIDVECTOR", SECRET, None).sign(&mut parts, &body, SIGNED_AT).unwrap();
        prop_assert!(verify(&parts, &body, SIGNED_AT, &Keys).is_ok());
        let mut changed = body;
        let at = at.index(changed.len());
        changed[at] ^= flip;
        prop_assert!(verify(&parts, &changed, SIGNED_AT, &Keys).is_err());
    }

    #[test]
    fn verify_any_changed_signed_header_is_refused(which in 0..4_usize, at in any::<prop::sample::Index>(), by in b'!'..=b'~') {
        let mut parts = signed();
        let name = ["host", "x-amz-target", "x-amz-date", "authorization"][which];
        let mut value = parts.headers[name].as_bytes().to_vec();
        let at = at.index(value.len());
        // Separators of the Authorization header may be doubled without changing what it says.
        prop_assume!(value[at] != by && value[at] != b' ' && value[at] != b',');
        value[at] = by;
        parts.headers.insert(name, http::HeaderValue::from_bytes(&value).unwrap());
        let refused = verify(&parts, b"{}", SIGNED_AT, &Keys).is_err();
        prop_assert!(refused);
    }

    #[test]
    fn verify_any_signed_path_and_query_is_accepted_and_no_other(path in "(/[a-z0-9~._%+ éA-Z-]{0,8}){1,4}", query in "([a-z%+/= é]{1,6}(=[a-z&%+/ é]{0,6})?&?){0,4}") {
        let escape = |text: &str, keep: &[char]| text.chars().map(|letter| if letter.is_ascii_alphanumeric() || keep.contains(&letter) {
            letter.to_string()
        } else {
            letter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
        }).collect::<String>();
        let uri = format!("http://h{}?{}", escape(&path, &['/', '.', '~']), escape(&query, &['=', '&']));
        let request = Request::get(uri).header("host", "h").body(()).unwrap();
        let mut parts = request.into_parts().0;
        signer("AKIDVECTOR", SECRET, None).sign(&mut parts, b"", SIGNED_AT).unwrap();
        prop_assert!(verify(&parts, b"", SIGNED_AT, &Keys).is_ok());
        let mut other = parts.clone();
        other.uri = format!("{}&more", parts.uri).parse().unwrap();
        prop_assert!(verify(&other, b"", SIGNED_AT, &Keys).is_err());
        let mut other = parts.clone();
        other.uri = format!("http://h{}x?{}", parts.uri.path(), parts.uri.query().unwrap_or_default()).parse().unwrap();
        prop_assert!(verify(&other, b"", SIGNED_AT, &Keys).is_err());
    }
}
