//! The controller: the AWS-compatible front, the replicated state behind it, and the sessions with agents. Shell.

pub mod agents;
pub mod api;
pub mod backup;
pub mod clock;
mod features;
pub mod leader;
pub mod monitoring;
pub mod node;
pub mod replica;
