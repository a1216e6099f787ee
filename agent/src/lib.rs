//! The agent of a Berth host: runs the tasks that the controllers assign to it.
//!
//! Shell. One way through it: `session` takes assignments in, `supervisor` keeps one runner per task, which asks
//! `berth_core::task_lifecycle::step` what to do, writes the answer into `ledger` and has `runtime` carry it out; what
//! changed goes over the board in `reports` back to `session`. It must not know how controllers decide.

mod agent;
mod clock;
mod config;
mod controllers;
mod departure;
mod dialer;
mod fence;
mod foreign_ports;
pub mod host;
pub mod image;
mod ledger;
mod log_source;
pub mod logs;
mod membership;
pub mod network;
mod process;
mod reports;
pub mod runtime;
mod session;
mod supervisor;
#[cfg(test)]
mod test_support;

pub use agent::{Agent, AgentError, AgentHandle};
pub use config::AgentConfig;
pub use departure::{Departed, Departure};
pub use ledger::LedgerError;
pub use log_source::{FileLogs, LogChunk, LogLine, LogQuery, LogSource, LogSourceError};
pub use membership::{MembershipConfig, MembershipError, has_joined};
