//! The controller's side of the conversation with agents, as `proto/berth/v1/agent.proto` describes it.
//!
//! Owns who has a session, what each host is told to run, and that reports are committed before they are acknowledged.
//! It must not know why a task is where it is. Shell.
//!
//! A session is told *that* tasks of its host changed and looks up *what* they are in the newest view when it gets to
//! write: nothing queues behind a slow agent but ids of its own tasks. Reports that come in at the same time
//! are one command.

mod absent;
mod assignments;
mod container_logs;
mod context;
mod ecs_agents;
mod feed;
mod logs;
mod opening;
mod registry;
mod reports;
mod server;
mod session;

#[cfg(test)]
pub(crate) use opening::testing;

pub use logs::{LogError, LogLine, LogPage, LogQuery};
pub(crate) use server::serve_plain;
pub use server::{AgentsError, AgentsHandle, Sessions, begin, start};
