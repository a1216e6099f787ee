//! Errors as AWS clients see them: a code, a status and a message, before any protocol renders them.
//!
//! Owns the errors that all services share; each service's own are generated beside its shapes. Pure.

use serde_json::{Map, Value};

/// One kind of error: its code and status in each family of protocols.
///
/// Kinds are statics; `errors::CLUSTER_NOT_FOUND.error("Cluster not found.")` makes an error of one.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// The code in JSON protocols: the error shape's name.
    pub code: &'static str,
    /// The HTTP status in JSON protocols.
    pub status: u16,
    /// The code in XML protocols.
    pub query_code: &'static str,
    /// The HTTP status in XML protocols.
    pub query_status: u16,
}

impl ErrorKind {
    /// An error that has one code and status in all protocols.
    #[must_use]
    pub const fn new(code: &'static str, status: u16) -> Self {
        Self {
            code,
            status,
            query_code: code,
            query_status: status,
        }
    }

    /// An error whose code or status differs between JSON and XML protocols.
    #[must_use]
    pub const fn split(code: &'static str, status: u16, query_code: &'static str, query_status: u16) -> Self {
        Self {
            code,
            status,
            query_code,
            query_status,
        }
    }

    /// An error of this kind with a message for the caller.
    #[must_use]
    pub fn error(&'static self, message: impl Into<String>) -> AwsError {
        AwsError {
            kind: self,
            message: message.into(),
            members: Map::new(),
        }
    }

    /// True if the fault lies with the caller.
    #[must_use]
    pub const fn is_sender_fault(&self) -> bool {
        self.status < 500
    }
}

/// An error to answer a request with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {message}", kind.code)]
pub struct AwsError {
    /// What went wrong, as a code.
    pub kind: &'static ErrorKind,
    /// What went wrong, for a person.
    pub message: String,
    /// Further members of the error's shape, e.g. `resourceIds` of ECS's `ConflictException`.
    pub members: Map<String, Value>,
}

impl AwsError {
    /// The same error with a further member of its shape.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

/// Errors that every service answers with, whatever its model declares.
pub mod common {
    use super::ErrorKind;

    /// The document is not valid, or a value has the wrong type.
    pub static SERIALIZATION: ErrorKind = ErrorKind::split("SerializationException", 400, "MalformedInput", 400);
    /// The service has no operation of this name.
    pub static UNKNOWN_OPERATION: ErrorKind = ErrorKind::split("UnknownOperationException", 400, "InvalidAction", 400);
    /// The operation exists, but nothing serves it.
    pub static NOT_IMPLEMENTED: ErrorKind = ErrorKind::new("NotImplementedException", 501);
    /// The server failed.
    pub static INTERNAL_FAILURE: ErrorKind = ErrorKind::new("InternalFailure", 500);
    /// The server cannot answer at the moment.
    pub static SERVICE_UNAVAILABLE: ErrorKind = ErrorKind::new("ServiceUnavailable", 503);
    /// The caller sends too much.
    pub static THROTTLING: ErrorKind = ErrorKind::split("ThrottlingException", 400, "Throttling", 400);
    /// The caller may not do this.
    pub static ACCESS_DENIED: ErrorKind = ErrorKind::split("AccessDeniedException", 400, "AccessDenied", 403);
    /// The request is not signed.
    pub static MISSING_AUTHENTICATION_TOKEN: ErrorKind = ErrorKind::split(
        "MissingAuthenticationTokenException",
        400,
        "MissingAuthenticationToken",
        403,
    );
    /// The signature lacks a part or is not well formed.
    pub static INCOMPLETE_SIGNATURE: ErrorKind =
        ErrorKind::split("IncompleteSignatureException", 400, "IncompleteSignature", 400);
    /// The access key or its session token is unknown.
    pub static UNRECOGNIZED_CLIENT: ErrorKind =
        ErrorKind::split("UnrecognizedClientException", 400, "InvalidClientTokenId", 403);
    /// The signature is wrong, or too old, or from the future.
    pub static INVALID_SIGNATURE: ErrorKind =
        ErrorKind::split("InvalidSignatureException", 400, "SignatureDoesNotMatch", 403);
}
