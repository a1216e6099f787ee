//! The wire protocols: how requests are read and answers written.
//!
//! Owns the choice of protocol; each protocol is one file with `read`, `write` and `write_error`. A protocol reads a request into a
//! JSON value by the tables of its shape; the checks and the Rust types come after, and are the same for all. Pure.

mod json;
mod query;

pub(crate) use query::form_fields;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;

use crate::check;
use crate::error::{AwsError, common};
use crate::model::{Operation, OperationModel, Service};

/// The header in which answers of the JSON protocols name an error.
pub const ERROR_TYPE: &str = "x-amzn-errortype";

/// The header in which answers of the JSON protocols name an error by its code in query protocols, and whose fault it is.
pub const QUERY_ERROR: &str = "x-amzn-query-error";

/// A wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON documents, the operation in `X-Amz-Target`, `application/x-amz-json-1.0`.
    AwsJson10,
    /// JSON documents, the operation in `X-Amz-Target`, `application/x-amz-json-1.1`.
    AwsJson11,
    /// Forms in, XML out, the operation in `Action`.
    AwsQuery,
}

/// Reads and checks the input of an operation.
///
/// # Errors
/// `SerializationException` for a document that is malformed or has a value of a wrong type; the service's validation error for an
/// unknown member and for values that break the model's constraints.
pub fn read<O: Operation>(body: &[u8]) -> Result<O::Input, AwsError> {
    let (service, shape) = (O::SERVICE, O::MODEL.input);
    let mut value = match service.protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => json::read(body)?,
        Protocol::AwsQuery => query::read(service, shape, body)?,
    };
    check::normalise(service, shape, &mut value)?;
    check::constraints(service, shape, &value)?;
    serde_json::from_value(value).map_err(|error| common::SERIALIZATION.error(error.to_string()))
}

/// Writes the output of an operation as an answer with status 200.
#[must_use]
pub fn write<O: Operation>(output: &O::Output, request_id: &str) -> Response<Bytes> {
    let service = O::SERVICE;
    let body = match service.protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => serde_json::to_vec(output).map_err(|error| error.to_string()),
        Protocol::AwsQuery => match serde_json::to_value(output) {
            Ok(value) => query::write(service, O::MODEL, &value, request_id),
            Err(error) => Err(error.to_string()),
        },
    };
    match body {
        Ok(body) => respond(service.protocol, 200, request_id, body),
        Err(error) => {
            let message = format!("the answer of {} could not be written: {error}", O::NAME);
            write_error(service, &common::INTERNAL_FAILURE.error(message), request_id)
        }
    }
}

/// Writes an error as a service's clients expect it.
#[must_use]
pub fn write_error(service: &Service, error: &AwsError, request_id: &str) -> Response<Bytes> {
    let mut response = write_error_in(service.protocol, service.xml_namespace, error, request_id);
    if service.also_query {
        let fault = if error.kind.is_sender_fault() {
            "Sender"
        } else {
            "Receiver"
        };
        let value = format!("{};{fault}", error.kind.query_code);
        if let Ok(value) = http::HeaderValue::from_str(&value) {
            response.headers_mut().insert(QUERY_ERROR, value);
        }
    }
    response
}

/// The document that says what a form does, for an operation of a service that speaks JSON.
///
/// # Errors
/// `MalformedInput` for a form that cannot be read; the service's validation error for a field that the operation does not have.
pub(crate) fn document_of_form(service: &Service, operation: &OperationModel, form: &[u8]) -> Result<Bytes, AwsError> {
    let value = query::read(service, operation.input, form)?;
    Ok(value.to_string().into())
}

/// The answer of an operation of a service that speaks JSON, for who asked with a form.
pub(crate) fn answer_to_form(
    service: &Service,
    operation: &OperationModel,
    document: &[u8],
    request_id: &str,
) -> Response<Bytes> {
    let value = serde_json::from_slice(document).map_err(|error| error.to_string());
    match value.and_then(|value| query::write(service, operation, &value, request_id)) {
        Ok(body) => respond(Protocol::AwsQuery, 200, request_id, body),
        Err(error) => {
            let message = format!("the answer of {} could not be written: {error}", operation.name);
            let error = common::INTERNAL_FAILURE.error(message);
            write_error_in(Protocol::AwsQuery, service.xml_namespace, &error, request_id)
        }
    }
}

/// Writes an error in a protocol, for requests whose service is not known.
#[must_use]
pub fn write_error_in(protocol: Protocol, xml_namespace: &str, error: &AwsError, request_id: &str) -> Response<Bytes> {
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => {
            let mut response = respond(protocol, error.kind.status, request_id, json::error_body(error));
            if let Ok(value) = http::HeaderValue::from_str(error.kind.code) {
                response.headers_mut().insert(ERROR_TYPE, value);
            }
            response
        }
        Protocol::AwsQuery => respond(
            protocol,
            error.kind.query_status,
            request_id,
            query::error_body(xml_namespace, error, request_id),
        ),
    }
}

impl Protocol {
    /// The content type of answers.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::AwsJson10 => "application/x-amz-json-1.0",
            Self::AwsJson11 => "application/x-amz-json-1.1",
            Self::AwsQuery => "text/xml",
        }
    }
}

fn respond(protocol: Protocol, status: u16, request_id: &str, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(protocol.content_type()));
    if let Ok(value) = http::HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}
