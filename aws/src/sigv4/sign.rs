//! Signs requests, in the `Authorization` header or in the query.
//!
//! Pure.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};

use super::canonical::{Claim, encode, format_time, headers_to_sign, payload_hash, signature};
use super::{ALGORITHM, Credentials, Scope};
use crate::scalar::Timestamp;

/// Signs requests to one service in one region.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Whose requests they are.
    pub credentials: Credentials,
    /// The region, e.g. `us-east-1`.
    pub region: String,
    /// The service's signing name, e.g. `ecs`.
    pub service: String,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The time does not fit into a signature.
    #[error("the time {0:?} cannot be written into a signature")]
    Time(Timestamp),
    /// A header to be signed is missing or no text.
    #[error("the request lacks a host, or a header to be signed is not text")]
    Header,
    /// A part of the credentials cannot stand in a header or address.
    #[error("the credentials or scope hold characters that cannot be sent")]
    Text(#[from] http::Error),
}

impl Signer {
    /// Adds the headers of a signature: `X-Amz-Date`, `X-Amz-Security-Token` if there is a token, and `Authorization`.
    ///
    /// # Errors
    /// If the request has no host or the credentials cannot stand in a header.
    pub fn sign(&self, parts: &mut Parts, body: &[u8], now: Timestamp) -> Result<(), SignError> {
        let time = format_time(now).ok_or(SignError::Time(now))?;
        let scope = self.scope(&time);
        insert(parts, "x-amz-date", &time)?;
        if let Some(token) = &self.credentials.session_token {
            insert(parts, "x-amz-security-token", token.expose())?;
        }
        let signed_headers = headers_to_sign(&parts.headers);
        let claim = Claim {
            scope: &scope,
            time: &time,
            signed_headers: &signed_headers,
            payload_hash: &payload_hash(body),
        };
        let signature = signature(parts, &claim, &self.credentials.secret).ok_or(SignError::Header)?;
        let (credential, headers, signature) = (scope.credential(), signed_headers.join(";"), hex::encode(signature));
        let text = format!("{ALGORITHM} Credential={credential}, SignedHeaders={headers}, Signature={signature}");
        insert(parts, "authorization", &text)
    }

    /// Puts a signature into the query, so that the address alone, with the same body, is good for `expires_seconds`.
    ///
    /// # Errors
    /// If the request has no host or the address cannot be written.
    pub fn presign(
        &self,
        parts: &mut Parts,
        body: &[u8],
        now: Timestamp,
        expires_seconds: u32,
    ) -> Result<(), SignError> {
        let time = format_time(now).ok_or(SignError::Time(now))?;
        let scope = self.scope(&time);
        let signed_headers = headers_to_sign(&parts.headers);
        let mut fields = vec![
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", scope.credential()),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", expires_seconds.to_string()),
            ("X-Amz-SignedHeaders", signed_headers.join(";")),
        ];
        if let Some(token) = &self.credentials.session_token {
            fields.push(("X-Amz-Security-Token", token.expose().to_owned()));
        }
        for (name, value) in fields {
            append(parts, name, &value)?;
        }
        let claim = Claim {
            scope: &scope,
            time: &time,
            signed_headers: &signed_headers,
            payload_hash: &payload_hash(body),
        };
        let signature = signature(parts, &claim, &self.credentials.secret).ok_or(SignError::Header)?;
        append(parts, "X-Amz-Signature", &hex::encode(signature))
    }

    fn scope(&self, time: &str) -> Scope {
        Scope {
            access_key: self.credentials.access_key.clone(),
            date: time.chars().take(8).collect(),
            region: self.region.clone(),
            service: self.service.clone(),
        }
    }
}

fn insert(parts: &mut Parts, name: &'static str, value: &str) -> Result<(), SignError> {
    let value = HeaderValue::from_str(value).map_err(http::Error::from)?;
    parts.headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

fn append(parts: &mut Parts, name: &str, value: &str) -> Result<(), SignError> {
    let query = parts
        .uri
        .query()
        .filter(|query| !query.is_empty())
        .map(|query| format!("{query}&"))
        .unwrap_or_default();
    let path_and_query = format!("{}?{query}{name}={}", parts.uri.path(), encode(value.as_bytes(), false));
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(path_and_query.parse().map_err(http::Error::from)?);
    parts.uri = Uri::from_parts(uri).map_err(http::Error::from)?;
    Ok(())
}
