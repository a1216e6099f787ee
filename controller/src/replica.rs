//! Core's state in the Raft group: the state machine that the group drives, and the group as the API's port sees it.
//! Owns how the two are joined; it must not know what commands mean. Shell.

use std::sync::Arc;

use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, Command, Event, Rejection, SnapshotRecord, apply};

use crate::api::ports::{PortFuture, ProposeFailure, Replica, Unavailable};
use berth_raft::{ProposeError, Raft, ReadError, RestoreError, StateMachine};

/// The Raft group over Berth's state.
pub type StateGroup = Raft<ReplicatedState>;

/// What applying a command gave.
pub type ApplyOutcome = Result<Arc<[Event]>, Rejection>;

/// The state that the group keeps.
#[derive(Debug, Default)]
pub struct ReplicatedState {
    state: ClusterState,
}

impl StateMachine for ReplicatedState {
    type Command = Command;
    type Outcome = ApplyOutcome;
    type View = Arc<ClusterState>;
    type SnapshotItem = SnapshotRecord;

    fn apply(&mut self, index: u64, _term: u64, command: Command) -> ApplyOutcome {
        apply(&mut self.state, LogIndex(index), &command).map(Arc::from)
    }

    fn view(&self) -> Self::View {
        Arc::new(self.state.clone())
    }

    fn snapshot_items(view: &Self::View) -> Box<dyn Iterator<Item = SnapshotRecord> + '_> {
        Box::new(view.snapshot())
    }

    fn restore(&mut self, items: &mut dyn Iterator<Item = SnapshotRecord>) -> Result<(), RestoreError> {
        self.state = ClusterState::from_snapshot(items).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}

impl Replica for StateGroup {
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>> {
        Box::pin(async move {
            let applied = Self::propose(self, command).await.map_err(unavailable)?;
            Ok(applied.outcome?.to_vec())
        })
    }

    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>> {
        Box::pin(async move {
            let published = Self::read(self).await.map_err(|error| match error {
                ReadError::Overloaded => Unavailable::Overloaded(error.to_string()),
                ReadError::Stopped | ReadError::Timeout { .. } => Unavailable::NoAnswer(error.to_string()),
            })?;
            Ok(Arc::clone(&published.view))
        })
    }
}

/// A failed proposal in the API's terms.
pub(crate) fn unavailable(error: ProposeError) -> Unavailable {
    let text = error.to_string();
    match error {
        ProposeError::Overloaded => Unavailable::Overloaded(text),
        ProposeError::TooLarge { .. } => Unavailable::TooLarge(text),
        ProposeError::NotLeader { .. }
        | ProposeError::NotEncodable { .. }
        | ProposeError::DiskFull { .. }
        | ProposeError::Stopped
        | ProposeError::Timeout { .. } => Unavailable::NoAnswer(text),
    }
}
