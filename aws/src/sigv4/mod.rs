//! AWS Signature Version 4: verification for the server, signing for clients and tests.
//!
//! Owns the canonical form of a request, the derived key, and every rule by which a signature is refused. The time and the keys
//! are given by the caller. Pure.

mod canonical;
mod credential;
mod sign;
mod verify;

pub use credential::{Credentials, Key, KeyLookup, Principal, Scope, Secret};
pub use sign::{SignError, Signer};
pub(crate) use verify::claimed_scope;
pub use verify::{Screened, screen, verify};

/// The only algorithm there is.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a body's hash is replaced with if the body is not signed; S3 alone allows it.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
