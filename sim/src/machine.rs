//! Core's state as the Raft group drives it, with a tape of what was applied. A model of a shell.

use std::sync::{Arc, Mutex, PoisonError};

use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, Command, Event, Feature, Rejection, SnapshotRecord, apply};
use berth_raft::{RestoreError, StateMachine};

use crate::bug::{Bug, Bugs};

/// What applying a command gave.
pub(crate) type Outcome = Result<Arc<[Event]>, Rejection>;

/// The state as it is handed out.
pub(crate) type View = Arc<ClusterState>;

/// A command that a controller has applied.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) command: Command,
}

/// What a controller has applied since the tape was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<Entry>>>);

impl Tape {
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

/// The state that the group keeps.
#[derive(Debug)]
pub(crate) struct Machine {
    state: ClusterState,
    tape: Tape,
    bugs: Bugs,
    /// Nothing was applied since a snapshot was restored.
    restored: bool,
}

impl Machine {
    pub(crate) fn new(tape: Tape, bugs: Bugs) -> Self {
        Self {
            state: ClusterState::at_newest_level(),
            tape,
            bugs,
            restored: false,
        }
    }
}

impl StateMachine for Machine {
    type Command = Command;
    type Outcome = Outcome;
    type View = View;
    type SnapshotItem = SnapshotRecord;

    fn packs(view: &View) -> bool {
        view.uses(Feature::PackedRecords)
    }

    fn apply(&mut self, index: u64, _term: u64, command: Command) -> Outcome {
        if self.bugs.has(Bug::DoubleApply) && std::mem::take(&mut self.restored) {
            apply(&mut self.state, LogIndex(index), &command).ok();
        }
        let outcome = apply(&mut self.state, LogIndex(index), &command).map(Arc::from);
        self.tape.record(Entry { index, command });
        outcome
    }

    fn view(&self) -> View {
        Arc::new(self.state.clone())
    }

    fn snapshot_items(view: &View) -> Box<dyn Iterator<Item = SnapshotRecord> + '_> {
        Box::new(view.snapshot())
    }

    fn restore(&mut self, items: &mut dyn Iterator<Item = SnapshotRecord>) -> Result<(), RestoreError> {
        let mut items: Vec<SnapshotRecord> = items.collect();
        if self.bugs.has(Bug::TruncatedSnapshot) && items.len() > 10 {
            items.remove(items.len() / 2);
        }
        self.restored = true;
        self.state = ClusterState::from_snapshot(items).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}
