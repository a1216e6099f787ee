//! awsJson 1.0 and 1.1: JSON documents in and out.
//!
//! Pure.

use serde_json::{Map, Value};

use crate::error::{AwsError, common};

/// Reads a request's document; no body stands for an empty object.
///
/// # Errors
/// `SerializationException` if it is no JSON.
pub(super) fn read(body: &[u8]) -> Result<Value, AwsError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(body)
        .map_err(|error| common::SERIALIZATION.error(format!("the request body is not valid JSON: {error}")))
}

/// The document of an error.
pub(super) fn error_body(error: &AwsError) -> Vec<u8> {
    let mut document = error.members.clone();
    document.insert("__type".to_owned(), error.kind.code.into());
    document.insert("message".to_owned(), error.message.clone().into());
    Value::Object(document).to_string().into_bytes()
}
