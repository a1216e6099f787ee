//! What Berth writes to disk and sends over the wire, and the code generated for it.
//!
//! Owns the `.proto` files under `berth/v1/`, the generated types and services, and the versioned
//! record envelope. It must not know what the commands and documents inside the records mean. Pure.
//!
//! The generated code is committed; `tests/generated_code.rs` proves that it is fresh and rewrites it
//! when `BERTH_WRITE_GENERATED=1` is set. A new `.proto` file in `berth/v1/` is picked up by itself.

pub mod codec;
pub mod record;

/// Messages and services of package `berth.v1`, generated.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::cast_possible_truncation,
    clippy::let_underscore_must_use,
    reason = "generated code"
)]
pub mod v1 {
    include!("generated/berth.v1.rs");
}
