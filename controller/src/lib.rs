//! The controller: the AWS-compatible front, the replicated state behind it, and the sessions with agents. Shell.

mod administration;
pub mod agents;
pub mod api;
pub mod backup;
pub mod clock;
mod cluster_port;
pub mod decisions;
mod errors;
mod events;
mod features;
pub mod leader;
mod members;
pub mod monitoring;
pub mod node;
mod parts;
pub mod peers;
pub mod registrar;
pub mod replica;
mod waker;
