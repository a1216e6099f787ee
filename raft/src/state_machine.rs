//! What the Raft group replicates, seen from the group: something that applies commands in order.
//!
//! Owns the contract; it must not know any particular machine. Pure.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A deterministic machine that the group drives on every member with the same commands in the same order.
pub trait StateMachine: Send + 'static {
    /// What is proposed, written to the log and applied; its JSON form must stay readable by newer versions.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What applying a command gave; goes to whoever proposed it and to the subscribers.
    type Outcome: Clone + Send + Sync + 'static;
    /// The state at one index. Cloning must be cheap: one is handed out after every batch.
    type View: Clone + Send + Sync + 'static;
    /// One piece of a snapshot; its JSON form must stay readable by newer versions.
    type SnapshotItem: Serialize + DeserializeOwned;

    /// Whether all members read packed records, as far as the state tells: commands and snapshots are packed from then on.
    fn packs(view: &Self::View) -> bool;

    /// Applies the command at a place in the log. A refusal is an outcome too.
    fn apply(&mut self, index: u64, term: u64, command: Self::Command) -> Self::Outcome;

    /// The state as it is now.
    fn view(&self) -> Self::View;

    /// The pieces of a snapshot, in an order that [`StateMachine::restore`] understands. Runs on another
    /// thread than `apply`, and lazily: the whole snapshot is never in memory.
    fn snapshot_items(view: &Self::View) -> Box<dyn Iterator<Item = Self::SnapshotItem> + '_>;

    /// Replaces the state by that of a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`] when the items do not make up a state.
    fn restore(&mut self, items: &mut dyn Iterator<Item = Self::SnapshotItem>) -> Result<(), RestoreError>;
}

/// Why the items of a snapshot do not make up a state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);
