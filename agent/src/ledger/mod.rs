//! What an agent remembers across its own restarts: its identity, the position it has seen, its tasks.
//!
//! Owns when something is remembered for good: a write that has returned survives a power cut. Many runners write at
//! once, so one thread commits what has gathered, with one sync for all. It must not know what tasks go through. Shell.

mod documents;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use berth_core::model::{AgentId, LogPosition, TaskId, TaskSpec};
use berth_core::task_lifecycle::TaskState;
use berth_proto::record::RecordError;
use berth_storage::{SledStorage, Storage, StorageError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use documents::Change;
use writer::Writer;

/// Why the ledger cannot be used, or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store below failed; what it holds is unknown until it is opened again.
    #[error("the agent's ledger failed")]
    Storage(#[from] StorageError),
    /// What was written cannot be read.
    #[error(
        "the agent's ledger cannot be read: to begin again under a new identity, stop the host's containers, remove \
         the ledger's folder and start the agent"
    )]
    Record(#[from] RecordError),
    /// A task's state is there without its spec, or the other way round.
    #[error("the agent's ledger has only a part of task {0}")]
    Incomplete(TaskId),
    /// An earlier write failed, and said why.
    #[error("the agent's ledger has failed before, and takes nothing more until the agent is started again")]
    Closed,
}

/// How far the agent has seen the controllers' history, and which history that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenPosition {
    /// The container instance that the agent was when it saw it.
    pub(crate) container_instance_arn: String,
    /// The newest position of an assignment.
    pub(crate) position: LogPosition,
}

/// With what the agent has joined its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// Id of the join token, which is no secret.
    pub(crate) token: String,
}

/// A task as the ledger has it.
#[derive(Clone, Debug)]
pub(crate) struct LedgerTask {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) state: TaskState,
}

/// All that a ledger has when it is opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) agent: Option<AgentId>,
    pub(crate) seen: Option<SeenPosition>,
    /// The controllers that the cluster has told of.
    pub(crate) controllers: Vec<String>,
    pub(crate) joined: Option<Joined>,
    pub(crate) tasks: BTreeMap<TaskId, LedgerTask>,
}

/// The agent's memory. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// `None` remembers nothing.
    writer: Option<Writer>,
    failed: CancellationToken,
    closed: CancellationToken,
}

impl Ledger {
    /// A ledger that remembers nothing, for an agent that is to be forgotten with its process.
    pub(crate) fn volatile() -> Self {
        let closed = CancellationToken::new();
        closed.cancel();
        Self {
            writer: None,
            failed: CancellationToken::new(),
            closed,
        }
    }

    /// Opens the ledger in a folder of its own, or begins one. Blocks.
    ///
    /// # Errors
    /// Any [`LedgerError`] but [`LedgerError::Closed`].
    pub(crate) fn open(folder: &Path) -> Result<(Self, Contents), LedgerError> {
        Self::on(Arc::new(SledStorage::open(folder)?))
    }

    fn on(storage: Arc<dyn Storage>) -> Result<(Self, Contents), LedgerError> {
        let contents = documents::load(&*storage)?;
        let (failed, closed) = (CancellationToken::new(), CancellationToken::new());
        let writer = Writer::spawn(storage, failed.clone(), closed.clone());
        Ok((
            Self {
                writer: Some(writer),
                failed,
                closed,
            },
            contents,
        ))
    }

    /// Resolves once a write has failed: what the agent does then would not be remembered, so it stops.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits until the store is released, which the last clone does.
    pub(crate) async fn close(self) {
        drop(self.writer);
        self.closed.cancelled().await;
    }

    pub(crate) async fn put_agent(&self, agent: &AgentId) -> Result<(), LedgerError> {
        self.write(|| Change::agent(agent)).await
    }

    pub(crate) async fn put_seen(&self, seen: &SeenPosition) -> Result<(), LedgerError> {
        self.write(|| Change::seen(seen)).await
    }

    pub(crate) async fn put_controllers(&self, controllers: &[String]) -> Result<(), LedgerError> {
        self.write(|| Change::controllers(controllers)).await
    }

    pub(crate) async fn put_joined(&self, joined: &Joined) -> Result<(), LedgerError> {
        self.write(|| Change::joined(joined)).await
    }

    /// Remembers tasks that are new, all with one sync.
    pub(crate) async fn put_tasks(&self, tasks: &[LedgerTask]) -> Result<(), LedgerError> {
        if tasks.is_empty() {
            return Ok(());
        }
        self.write(|| Change::tasks(tasks)).await
    }

    pub(crate) async fn put_state(&self, state: &TaskState) -> Result<(), LedgerError> {
        self.write(|| Change::state(state)).await
    }

    pub(crate) async fn forget_task(&self, task: TaskId) -> Result<(), LedgerError> {
        self.write(|| Ok(Change::Forget(task))).await
    }

    async fn write(&self, change: impl FnOnce() -> Result<Change, RecordError>) -> Result<(), LedgerError> {
        match &self.writer {
            Some(writer) => writer.write(change()?).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
