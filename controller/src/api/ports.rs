//! What the API needs of the rest of the controller, as traits: the replicated state, and what the agents know. Pure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_core::model::TaskId;
use berth_core::reconcile::{StandaloneRequest, UnplacedTasks};
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

/// Runs tasks outside services.
pub trait TaskRunner: Send + Sync + 'static {
    /// Places the tasks, in one plan with all requests that wait, and waits until those that found a host are committed.
    fn run_tasks(&self, request: StandaloneRequest) -> PortFuture<'_, Result<RanTasks, ProposeFailure>>;
}

/// What became of the tasks of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RanTasks {
    /// Tasks that have hosts now, or that an earlier request with the same client token made.
    pub tasks: Vec<TaskId>,
    /// Tasks that found no host, and why; they do not exist.
    pub unplaced: UnplacedTasks,
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
