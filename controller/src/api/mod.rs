//! The AWS-compatible API: one port for every service.
//!
//! Owns the way of a request: [`server`] accepts it ([`opening`] is what it has to serve with, [`connections`] and [`bodies`] bound what strangers cost), [`front`] verifies its signature and finds its operation in the one table of
//! [`dispatch`], and the operation's own file (`ecs/create_service.rs` for `CreateService`) checks the input, reads the state or
//! proposes a command, and shapes the answer. It must not know how state is replicated, how tasks are placed or how agents are
//! reached: [`ports`] says what it needs of those. Shell.
//!
//! To add an operation: write `async fn handle(api: &Api, call: &Call, input: XRequest) -> Result<XResponse, AwsError>` in a file of its
//! own, and name it in [`dispatch::ROUTES`].

mod berth;
mod bodies;
mod cloudwatch;
mod connections;
mod context;
#[cfg(test)]
mod coverage;
mod credentials;
pub mod dispatch;
mod ecs;
mod errors;
mod front;
mod members;
mod opening;
mod pagination;
pub(crate) mod passed_calls;
pub mod ports;
#[cfg(test)]
mod random_documents;
mod rehearsed;
mod server;
mod sts;
#[cfg(test)]
pub(crate) mod testing;
mod unsupported;

pub use context::{Api, ApiOptions, ApiParts};
pub use credentials::RootCredentials;
pub use ecs::preview;
pub use opening::Opening;
pub use server::{ServeError, serve};
