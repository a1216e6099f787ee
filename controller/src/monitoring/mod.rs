//! What tells an operator how a controller is: whether it lives, whether it is ready, and its metrics.
//!
//! Owns the metrics, their names and the paths `/healthz`, `/readyz` and `/metrics`. Others count and time into [`Metrics`]; what is
//! a state rather than an event is read off when somebody asks ([`readings`]). It must not change anything of what it measures. Shell.

mod measured_storage;
mod metrics;
mod readings;
mod routes;

pub use measured_storage::MeasuredStorage;
pub(crate) use metrics::ProposalOutcome;
pub use metrics::{Metrics, RequestTimer};
pub use routes::{Watched, routes};
