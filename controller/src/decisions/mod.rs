//! Recordings of placement decisions, made from what a member or a data directory holds of the log. Shell.
//!
//! Owns which span is meant, and how a recording is handed out while the controller serves ([`DecisionStreams`]) or written from a data
//! directory that no controller uses ([`write_offline`]). What is in one is core's (`core/src/decisions`).

mod export;
mod offline;
mod span;
mod streams;

pub use export::{DecisionsError, Exported, write};
pub use offline::write_offline;
pub use span::{Edge, Span};
pub use streams::DecisionStreams;
