//! Verifies the signature of a request.
//!
//! Owns every reason to refuse one. Pure: the time and the keys are given.

use http::request::Parts;
use subtle::ConstantTimeEq;

use super::canonical::{Claim, decode, format_time, headers_to_sign, parse_time, payload_hash, signature};
use super::{ALGORITHM, Key, KeyLookup, Principal, Scope, UNSIGNED_PAYLOAD};
use crate::error::{AwsError, common};
use crate::scalar::Timestamp;

/// A signature in a header is good for so long before and after its time; a presigned one may be so far in the future.
const MAX_SKEW_MS: i64 = 15 * 60 * 1000;
/// A presigned address is good for a week at most.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 60 * 60;

const WRONG: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
                     and signing method. Consult the service documentation for details.";

/// Verifies that a request was signed by a known key for this very content, in the header or in the query.
///
/// # Errors
/// `MissingAuthenticationTokenException` if the request is not signed, `IncompleteSignatureException` if the signature is not
/// complete or leaves out `host` or an `x-amz-*` header, `UnrecognizedClientException` if the key or its session token is not known, and
/// `InvalidSignatureException` if the signature is wrong, too old or from the future.
pub fn verify(parts: &Parts, body: &[u8], now: Timestamp, keys: &dyn KeyLookup) -> Result<Principal, AwsError> {
    screen(parts, now, keys)?.verify(parts, body)
}

/// What a request says of who sent it, with the key that it claims. Nothing speaks against it but perhaps its body and its signature:
/// who sent it is not known yet.
pub struct Screened {
    signed: Signed,
    key: Key,
}

/// Refuses what [`verify`] would refuse whatever the body and the signature are, so that a stranger's body need not be waited for.
///
/// # Errors
/// As [`verify`], but for a signature that is wrong and a session token that is not the key's.
pub fn screen(parts: &Parts, now: Timestamp, keys: &dyn KeyLookup) -> Result<Screened, AwsError> {
    let signed = Signed::read(parts)?;
    signed.check_headers(parts)?;
    signed.check_time(now)?;
    let key = keys.find(&signed.scope.access_key).ok_or_else(unknown_client)?;
    Ok(Screened { signed, key })
}

impl Screened {
    /// Verifies that the request, of which these are all the parts, was signed by the key that it claims.
    ///
    /// # Errors
    /// What [`screen`] leaves open of the errors of [`verify`].
    pub fn verify(self, parts: &Parts, body: &[u8]) -> Result<Principal, AwsError> {
        let Self { signed, key } = self;
        let payload_hash = signed.payload_hash(parts, body)?;
        let claim = Claim {
            scope: &signed.scope,
            time: &signed.time,
            signed_headers: &signed.headers,
            payload_hash: &payload_hash,
        };
        let expected = signature(parts, &claim, &key.secret)
            .ok_or_else(|| incomplete("a signed header is missing or is not text"))?;
        if !bool::from(expected.as_slice().ct_eq(&signed.signature)) {
            return Err(common::INVALID_SIGNATURE.error(WRONG));
        }
        let token_is_right = match (&key.session_token, &signed.session_token) {
            (None, None) => true,
            (Some(known), Some(given)) => known.matches(given),
            _ => false,
        };
        if !token_is_right {
            return Err(unknown_client());
        }
        let Scope {
            access_key,
            region,
            service,
            ..
        } = signed.scope;
        Ok(Principal {
            access_key,
            region,
            service,
        })
    }
}

/// The credential scope that a request claims, not verified; for choosing how to answer.
pub(crate) fn claimed_scope(parts: &Parts) -> Option<Scope> {
    Signed::read(parts).ok().map(|signed| signed.scope)
}

/// A signature as the request carries it.
struct Signed {
    scope: Scope,
    time: String,
    /// How long a presigned request is good for; `None` in the header form.
    expires_seconds: Option<i64>,
    headers: Vec<String>,
    signature: Vec<u8>,
    session_token: Option<String>,
}

impl Signed {
    fn read(parts: &Parts) -> Result<Self, AwsError> {
        let query = query_fields(parts);
        let in_query = query
            .iter()
            .any(|(name, _)| name == "X-Amz-Signature" || name == "X-Amz-Algorithm");
        match (single_header(parts, "authorization")?, in_query) {
            (Some(_), true) => Err(incomplete(
                "the request is signed both in its header and in its query; send one of them",
            )),
            (Some(text), false) => Self::from_header(parts, text),
            (None, true) => Self::from_query(&query),
            (None, false) => Err(common::MISSING_AUTHENTICATION_TOKEN.error("Request is missing Authentication Token")),
        }
    }

    fn from_header(parts: &Parts, text: &str) -> Result<Self, AwsError> {
        let fields = text
            .trim()
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(char::is_whitespace));
        let fields =
            fields.ok_or_else(|| incomplete(&format!("the Authorization header does not begin with {ALGORITHM}")))?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',').map(str::trim) {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| incomplete("the Authorization header has a part without '='"))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                other => {
                    return Err(incomplete(&format!(
                        "the Authorization header has an unknown part '{other}'"
                    )));
                }
            };
            if slot.replace(value).is_some() {
                return Err(incomplete(&format!("the Authorization header has '{name}' twice")));
            }
        }
        let need = |value: Option<&str>, name: &str| {
            value
                .map(str::to_owned)
                .ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter")))
        };
        let time = single_header(parts, "x-amz-date")?
            .ok_or_else(|| incomplete("Authorization header requires existence of an 'X-Amz-Date' header"))?;
        Ok(Self {
            scope: scope(&need(credential, "Credential")?)?,
            time: time.to_owned(),
            expires_seconds: None,
            headers: signed_headers(&need(headers, "SignedHeaders")?)?,
            signature: signature_bytes(&need(signature, "Signature")?)?,
            session_token: single_header(parts, "x-amz-security-token")?.map(str::to_owned),
        })
    }

    fn from_query(fields: &[(String, String)]) -> Result<Self, AwsError> {
        let find = |wanted: &str| -> Result<Option<String>, AwsError> {
            let mut found = fields
                .iter()
                .filter(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone());
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(incomplete(&format!("the query has '{wanted}' twice"))),
                (value, None) => Ok(value),
            }
        };
        let need = |name: &str| {
            find(name)?.ok_or_else(|| incomplete(&format!("AWS query-string parameters must include '{name}'")))
        };
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(&format!("X-Amz-Algorithm must be {ALGORITHM}")));
        }
        let expires = need("X-Amz-Expires")?
            .parse::<i64>()
            .ok()
            .filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds));
        let expires = expires.ok_or_else(|| {
            incomplete(&format!(
                "X-Amz-Expires must be between 1 and {MAX_EXPIRES_SECONDS} seconds"
            ))
        })?;
        Ok(Self {
            scope: scope(&need("X-Amz-Credential")?)?,
            time: need("X-Amz-Date")?,
            expires_seconds: Some(expires),
            headers: signed_headers(&need("X-Amz-SignedHeaders")?)?,
            signature: signature_bytes(&need("X-Amz-Signature")?)?,
            session_token: find("X-Amz-Security-Token")?,
        })
    }

    /// `host` and every `x-amz-*` header that is there must be signed, or someone on the way could change them.
    fn check_headers(&self, parts: &Parts) -> Result<(), AwsError> {
        match headers_to_sign(&parts.headers)
            .into_iter()
            .find(|name| !self.headers.contains(name))
        {
            None => Ok(()),
            Some(name) => Err(incomplete(&format!(
                "'{name}' must be a 'SignedHeader' in the AWS signature"
            ))),
        }
    }

    fn check_time(&self, now: Timestamp) -> Result<(), AwsError> {
        let signed_at = parse_time(&self.time)
            .ok_or_else(|| incomplete(&format!("Date must be in ISO-8601 'basic format'. Got '{}'", self.time)))?;
        if self.time.get(..8) != Some(self.scope.date.as_str()) {
            let message = format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}'",
                self.scope.date, self.time
            );
            return Err(common::INVALID_SIGNATURE.error(message));
        }
        let text = |time: i64| format_time(Timestamp(time)).unwrap_or_default();
        let latest = now.0.saturating_add(MAX_SKEW_MS);
        if signed_at.0 > latest {
            let message = format!(
                "Signature not yet current: {} is still later than {} ({} + 15 min.)",
                self.time,
                text(latest),
                text(now.0)
            );
            return Err(common::INVALID_SIGNATURE.error(message));
        }
        let lifetime_ms = self.expires_seconds.map_or(MAX_SKEW_MS, |seconds| seconds * 1000);
        let earliest = now.0.saturating_sub(lifetime_ms);
        if signed_at.0 < earliest {
            let lifetime = if self.expires_seconds.is_some() {
                format!("{} sec.", lifetime_ms / 1000)
            } else {
                "15 min.".to_owned()
            };
            let message = format!(
                "Signature expired: {} is now earlier than {} ({} - {lifetime})",
                self.time,
                text(earliest),
                text(now.0)
            );
            return Err(common::INVALID_SIGNATURE.error(message));
        }
        Ok(())
    }

    /// The hash that the signature covers, computed from the body; what the client says of it must agree.
    fn payload_hash(&self, parts: &Parts, body: &[u8]) -> Result<String, AwsError> {
        let computed = payload_hash(body);
        let s3 = self.scope.service == "s3";
        match single_header(parts, "x-amz-content-sha256")? {
            None if s3 && self.expires_seconds.is_some() => Ok(UNSIGNED_PAYLOAD.to_owned()),
            None => Ok(computed),
            Some(UNSIGNED_PAYLOAD) if s3 => Ok(UNSIGNED_PAYLOAD.to_owned()),
            Some(claimed) if claimed == computed => Ok(computed),
            Some(UNSIGNED_PAYLOAD) => {
                Err(common::INVALID_SIGNATURE.error(format!("{} requires a signed payload", self.scope.service)))
            }
            Some(_) => Err(common::INVALID_SIGNATURE
                .error("The provided 'x-amz-content-sha256' header does not match what was computed.")),
        }
    }
}

fn unknown_client() -> AwsError {
    common::UNRECOGNIZED_CLIENT.error("The security token included in the request is invalid.")
}

fn incomplete(message: &str) -> AwsError {
    common::INCOMPLETE_SIGNATURE.error(message)
}

fn scope(text: &str) -> Result<Scope, AwsError> {
    let wanted = "must be <access key>/YYYYMMDD/<region>/<service>/aws4_request";
    Scope::parse(text).ok_or_else(|| incomplete(&format!("Credential {wanted}, not '{text}'")))
}

fn signed_headers(text: &str) -> Result<Vec<String>, AwsError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let lower = names
        .iter()
        .all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if lower && names.is_sorted_by(|one, other| one < other) {
        return Ok(names);
    }
    Err(incomplete("SignedHeaders must be lower-case names in order, each once"))
}

fn signature_bytes(text: &str) -> Result<Vec<u8>, AwsError> {
    // Upper-case digits would make a second valid form of one signature.
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let bytes = hex::decode(text).ok().filter(|bytes| lower && bytes.len() == 32);
    // AWS answers a malformed signature as it does a wrong one.
    bytes.ok_or_else(|| common::INVALID_SIGNATURE.error(WRONG))
}

fn single_header<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a str>, AwsError> {
    let mut values = parts.headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete(&format!("the request has more than one '{name}' header")));
    }
    let text = first.map(|value| {
        value
            .to_str()
            .map_err(|_| incomplete(&format!("the '{name}' header is not text")))
    });
    text.transpose()
}

fn query_fields(parts: &Parts) -> Vec<(String, String)> {
    let text = |part: &str| String::from_utf8_lossy(&decode(part)).into_owned();
    let pairs = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
