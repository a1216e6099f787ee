//! AWS's own test suite for Signature Version 4, which botocore's source distribution brings as `tests/unit/auth/aws4_testsuite`.
//!
//! Runs when `BERTH_SIGV4_SUITE` names that folder; the suite is not part of this repository.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use berth_aws::Timestamp;
use berth_aws::sigv4::{Key, KeyLookup, Secret, verify};
use http::Request;
use http::request::Parts;

/// 2015-08-30T12:36:00Z, the time of every case.
const NOW: Timestamp = Timestamp(1_440_938_160_000);
/// Requests that no HTTP parser takes: a space in the address, a header over several lines.
const NOT_HTTP: [&str; 2] = ["get-space", "get-header-value-multiline"];
/// A token that is added after signing is accepted by AWS; we want every `x-amz-*` header signed.
const REFUSED: [&str; 1] = ["post-sts-header-after"];

struct Keys {
    token: Option<Secret>,
}

impl KeyLookup for Keys {
    fn find(&self, access_key: &str) -> Option<Key> {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        (access_key == "AKIDEXAMPLE").then(|| Key {
            secret,
            session_token: self.token.clone(),
        })
    }
}

#[test]
fn verify_every_case_of_the_suite_gives_its_signature() {
    let Ok(folder) = std::env::var("BERTH_SIGV4_SUITE") else {
        return;
    };
    let mut cases = Vec::new();
    find(Path::new(&folder), &mut cases);
    let mut verified = 0;
    for case in cases {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        if NOT_HTTP.contains(&name.as_str()) {
            continue;
        }
        let (mut parts, body) = parse(&std::fs::read_to_string(&case).unwrap());
        // One of the signed requests still has the signature of another; the file beside it is right.
        let authorization = std::fs::read_to_string(case.with_extension("authz")).unwrap();
        parts
            .headers
            .insert("authorization", authorization.trim().parse().unwrap());
        let token = parts
            .headers
            .get("x-amz-security-token")
            .map(|token| Secret::new(token.to_str().unwrap()));
        let result = verify(&parts, body.as_bytes(), NOW, &Keys { token });
        assert_eq!(result.is_ok(), !REFUSED.contains(&name.as_str()), "{name}: {result:?}");
        verified += 1;
    }
    assert!(verified > 30, "only {verified} cases found in {folder}");
}

fn find(folder: &Path, cases: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, cases);
        } else if path.extension().is_some_and(|extension| extension == "sreq") {
            cases.push(path);
        }
    }
}

fn parse(text: &str) -> (Parts, String) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
    let (method, uri) = first.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        request = request.header(name, value.as_bytes());
    }
    (request.body(()).unwrap().into_parts().0, body.to_owned())
}
