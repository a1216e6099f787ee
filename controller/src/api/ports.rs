//! What the API needs of the rest of the controller, as traits: the replicated state, and what the agents know. Pure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_core::state::{ClusterState, Command, Event, Rejection};

/// A boxed future, so that a port can be a trait object.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The replicated state.
pub trait Replica: Send + Sync + 'static {
    /// Proposes a command and waits until it is committed and applied.
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>>;

    /// The state with everything that was answered before the call.
    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>>;
}

/// Why a command took no effect, or is not known to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeFailure {
    /// The state refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be proposed or its outcome is not known.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The controller cannot serve a request at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It has too much to do; nothing happened.
    #[error("{0}")]
    Overloaded(String),
    /// It has no leader, no disk, or no answer in time.
    #[error("{0}")]
    NoAnswer(String),
    /// The command is larger than one change may be.
    #[error("{0}")]
    TooLarge(String),
}
