//! The canonical request, the string to sign and the signature: what client and server must compute alike.
//!
//! Pure.

use hmac::{Hmac, Mac};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{ALGORITHM, Scope, Secret};
use crate::scalar::Timestamp;

/// The signature of a request: its bytes, not yet in hexadecimal.
pub(super) type Signature = [u8; 32];

/// What is signed, apart from the request itself.
pub(super) struct Claim<'a> {
    pub(super) scope: &'a Scope,
    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) time: &'a str,
    /// Lower-case names, sorted.
    pub(super) signed_headers: &'a [String],
    /// The body's hash in hexadecimal, or what stands for it.
    pub(super) payload_hash: &'a str,
}

/// Computes the signature of a request; `None` if a signed header is not there or not text.
pub(super) fn signature(parts: &Parts, claim: &Claim<'_>, secret: &Secret) -> Option<Signature> {
    let request = canonical_request(parts, claim)?;
    let hash = hex::encode(Sha256::digest(request));
    let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.time, claim.scope.signed());
    let key = derived_key(secret, claim.scope)?;
    hmac(&key, text.as_bytes())
}

/// The SHA-256 of a body, in hexadecimal.
pub(super) fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

pub(super) fn canonical_request(parts: &Parts, claim: &Claim<'_>) -> Option<String> {
    let mut text = format!("{}\n", parts.method);
    text += &canonical_path(parts.uri.path(), &claim.scope.service);
    text.push('\n');
    text += &canonical_query(parts.uri.query().unwrap_or_default());
    text.push('\n');
    for name in claim.signed_headers {
        text += &format!("{name}:{}\n", header(parts, name)?);
    }
    text += &format!("\n{}\n{}", claim.signed_headers.join(";"), claim.payload_hash);
    Some(text)
}

/// The path without dots and doubled slashes, encoded once more than on the wire; S3 signs it as it is.
fn canonical_path(path: &str, service: &str) -> String {
    if service == "s3" {
        return encode(&decode(path), true);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if folder && !segments.is_empty() { "/" } else { "" };
    encode(format!("/{}{end}", segments.join("/")).as_bytes(), true)
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&decode(name), false), encode(&decode(value), false))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// A header's values, trimmed, with runs of spaces made one, joined with commas.
fn header(parts: &Parts, name: &str) -> Option<String> {
    let mut values = Vec::new();
    for value in parts.headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() && name == "host" {
        values.push(parts.uri.authority()?.as_str().to_owned());
    }
    (!values.is_empty()).then(|| values.join(","))
}

/// The names of all headers that must be signed: `host` and every `x-amz-*`, sorted.
pub(super) fn headers_to_sign(headers: &HeaderMap) -> Vec<String> {
    let amz = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"));
    let mut names: Vec<String> = amz.chain(["host"]).map(str::to_owned).collect();
    names.sort();
    names
}

fn derived_key(secret: &Secret, scope: &Scope) -> Option<Signature> {
    let mut key = hmac(format!("AWS4{}", secret.expose()).as_bytes(), scope.date.as_bytes())?;
    for part in [scope.region.as_str(), &scope.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes())?;
    }
    Some(key)
}

/// HMAC-SHA256, which takes keys of any length and so always gives a value.
fn hmac(key: &[u8], text: &[u8]) -> Option<Signature> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().into())
}

/// Percent-encodes all but AWS's unreserved characters.
pub(super) fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            b'/' if keep_slash => text.push('/'),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// Undoes percent-encoding; a `%` without two digits stays as it is.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = if text[at] == b'%' {
            text.get(at + 1..at + 3)
        } else {
            None
        };
        if let Some(byte) = digits.and_then(|digits| hex::decode(digits).ok()) {
            bytes.extend(byte);
            at += 3;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}

/// A time as signatures carry it: `YYYYMMDDTHHMMSSZ`.
pub(super) fn format_time(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(time.0).ok()?;
    Some(time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Reads `YYYYMMDDTHHMMSSZ` and nothing else.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| -> Option<i8> {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    if text.len() != 16 || text.get(8..9) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    let year = i16::from(digits(0, 2)?) * 100 + i16::from(digits(2, 4)?);
    let time = jiff::civil::DateTime::new(
        year,
        digits(4, 6)?,
        digits(6, 8)?,
        digits(9, 11)?,
        digits(11, 13)?,
        digits(13, 15)?,
        0,
    )
    .ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}
