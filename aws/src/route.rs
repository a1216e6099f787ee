//! Finds out which operation a request calls.
//!
//! Owns dispatch: by the service in the credential scope first, then by `X-Amz-Target` or `Action`. Pure.

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::error::{AwsError, common};
use crate::generated::SERVICES;
use crate::model::{OperationModel, Service};
use crate::protocol::{self, Protocol, form_fields};
use crate::sigv4;

/// Operations that an answer names to who called one that there is not.
const MAX_NAMED: usize = 10;

/// An operation that a request calls.
#[derive(Clone, Debug)]
pub struct Call {
    /// The service.
    pub service: &'static Service,
    /// Its operation.
    pub operation: &'static OperationModel,
    /// The input as [`protocol::read`] takes it: a JSON document, or a form.
    pub input: Bytes,
    /// What the caller speaks, which may be another protocol than that of the service.
    pub protocol: Protocol,
}

impl Call {
    /// An answer of the operation, which the service wrote in its own protocol, as the caller understands it.
    #[must_use]
    pub fn answer(&self, response: Response<Bytes>, request_id: &str) -> Response<Bytes> {
        if self.protocol == self.service.protocol || response.status() != http::StatusCode::OK {
            return response;
        }
        protocol::answer_to_form(self.service, self.operation, response.body(), request_id)
    }

    /// An error of the operation, as the caller understands it.
    #[must_use]
    pub fn refuse(&self, error: &AwsError, request_id: &str) -> Response<Bytes> {
        if self.protocol == self.service.protocol {
            return protocol::write_error(self.service, error, request_id);
        }
        protocol::write_error_in(self.protocol, self.service.xml_namespace, error, request_id)
    }
}

/// Finds the operation that a request calls, given the service in its verified credential scope.
///
/// # Errors
/// `InvalidSignatureException` for a service that is not served, `UnknownOperationException` if the service has no such operation.
pub fn route(parts: &Parts, body: &Bytes, signing_name: &str) -> Result<Call, AwsError> {
    let candidates: Vec<&'static Service> = SERVICES
        .iter()
        .copied()
        .filter(|service| service.signing_name == signing_name)
        .collect();
    if candidates.is_empty() {
        let served: Vec<&str> = SERVICES.iter().map(|service| service.signing_name).collect();
        let message = format!(
            "Credential should be scoped to a service that is served here ({}), not '{signing_name}'.",
            served.join(", ")
        );
        return Err(common::INVALID_SIGNATURE.error(message));
    }
    match target(parts) {
        Some(target) => by_target(&candidates, parts, target, body),
        None => by_action(&candidates, parts, body),
    }
}

fn by_target(candidates: &[&'static Service], parts: &Parts, target: &str, body: &Bytes) -> Result<Call, AwsError> {
    let unknown =
        || common::UNKNOWN_OPERATION.error(format!("The operation '{target}' is not known: {}", known(candidates)));
    if parts.method != http::Method::POST {
        return Err(common::UNKNOWN_OPERATION.error(format!(
            "The operation '{target}' must be called with POST, not {}",
            parts.method
        )));
    }
    let (prefix, name) = target.split_once('.').ok_or_else(unknown)?;
    let is_json =
        |service: &&&'static Service| service.protocol != Protocol::AwsQuery && service.target_prefix == prefix;
    let service = candidates.iter().find(is_json).copied().ok_or_else(unknown)?;
    let operation = service
        .operation(name)
        .ok_or_else(|| not_served(service, format!("{} has no operation {name} here", service.name)))?;
    Ok(Call {
        service,
        operation,
        input: body.clone(),
        protocol: service.protocol,
    })
}

fn by_action(candidates: &[&'static Service], parts: &Parts, body: &Bytes) -> Result<Call, AwsError> {
    if let Some(protocol) = parts.headers.get("smithy-protocol") {
        let protocol = protocol.to_str().unwrap_or_default();
        let known = known(candidates);
        return Err(common::UNKNOWN_OPERATION.error(format!("The protocol {protocol} is not spoken here: {known}")));
    }
    let form = form(parts, body);
    let fields = form_fields(&form)?;
    let find = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let Some(action) = find("Action") else {
        return Err(common::UNKNOWN_OPERATION.error(format!("The request names no operation: {}", known(candidates))));
    };
    let version = find("Version").unwrap_or_default();
    let serves = |service: &&&'static Service| speaks_query(service) && service.api_version == version;
    // AWS's words.
    let said = || format!("Could not find operation {action} for version {version}");
    let service = candidates.iter().find(serves).copied();
    let service = service.ok_or_else(|| common::UNKNOWN_OPERATION.error(said()))?;
    let operation = service.operation(action);
    let operation = operation.ok_or_else(|| not_served(service, said()))?;
    Ok(Call {
        service,
        operation,
        input: match service.protocol {
            Protocol::AwsQuery => form,
            Protocol::AwsJson10 | Protocol::AwsJson11 => protocol::document_of_form(service, operation, &form)?,
        },
        protocol: Protocol::AwsQuery,
    })
}

fn speaks_query(service: &Service) -> bool {
    service.protocol == Protocol::AwsQuery || service.also_query
}

/// The error for an operation that a service does not have; of a small one, with those that it has.
fn not_served(service: &Service, said: String) -> AwsError {
    let has: Vec<&str> = service.operations.iter().map(|operation| operation.name).collect();
    let has = match has.len() > MAX_NAMED {
        true => String::new(),
        false => format!(". Served of {} are: {}", service.name, has.join(", ")),
    };
    common::UNKNOWN_OPERATION.error(format!("{said}{has}"))
}

/// How the operations of these services are called, for who called them otherwise.
fn known(candidates: &[&'static Service]) -> String {
    let ways = candidates.iter().flat_map(|service| {
        let is_json = service.protocol != Protocol::AwsQuery;
        let json = is_json.then(|| format!("send X-Amz-Target: {}.<operation>", service.target_prefix));
        let query = speaks_query(service).then(|| format!("send Action and Version={}", service.api_version));
        [json, query]
    });
    let ways = ways.flatten();
    ways.collect::<Vec<_>>().join(" or ")
}

/// The form of a query request: its body, and the query without what belongs to the signature.
fn form(parts: &Parts, body: &Bytes) -> Bytes {
    let query = parts.uri.query().unwrap_or_default();
    let fields: Vec<&str> = query
        .split('&')
        .filter(|field| !field.is_empty() && !field.starts_with("X-Amz-"))
        .collect();
    if fields.is_empty() {
        return body.clone();
    }
    let mut form = fields.join("&").into_bytes();
    if !body.is_empty() {
        form.push(b'&');
        form.extend_from_slice(body);
    }
    form.into()
}

/// Answers a request with an error when its operation is not known or not yet: in the protocol of the service that it claims to
/// be for, and else in the one that it looks like.
#[must_use]
pub fn refuse(parts: &Parts, error: &AwsError, request_id: &str) -> Response<Bytes> {
    if let Some(service) = claimed_service(parts) {
        let is_form = target(parts).is_none() && content_type(parts).contains("x-www-form-urlencoded");
        return match service.also_query && is_form {
            true => protocol::write_error_in(Protocol::AwsQuery, service.xml_namespace, error, request_id),
            false => protocol::write_error(service, error, request_id),
        };
    }
    let json = target(parts).is_some() || content_type(parts).contains("json");
    let protocol = if json { Protocol::AwsJson11 } else { Protocol::AwsQuery };
    protocol::write_error_in(protocol, "", error, request_id)
}

/// The service that a request says it is for, by its target or else its credential scope; not verified.
#[must_use]
pub fn claimed_service(parts: &Parts) -> Option<&'static Service> {
    let prefix = target(parts)
        .and_then(|target| target.split_once('.'))
        .map(|(prefix, _)| prefix);
    let scope = sigv4::claimed_scope(parts);
    let by_target = SERVICES
        .iter()
        .find(|service| prefix.is_some_and(|prefix| prefix == service.target_prefix));
    by_target
        .or_else(|| {
            SERVICES.iter().find(|service| {
                scope
                    .as_ref()
                    .is_some_and(|scope| scope.service == service.signing_name)
            })
        })
        .copied()
}

fn target(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()
}

fn content_type(parts: &Parts) -> &str {
    parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
