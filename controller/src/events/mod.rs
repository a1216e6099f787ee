//! What a controller remembers of what the cluster announced and of which resources changed, for those who follow it. Shell.
//!
//! It is filled as commands are applied, on every controller in the same way, so that a reader goes on at another one. It is bounded: who comes
//! back too late is told what was missed. It must not know how any of it is written.
//!
//! - `kept_events.rs`: announcements, each of them.
//! - `kept_changes.rs`: resources, each once, at the place of its last change.

mod kept_changes;
mod kept_events;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use berth_core::announcements::{Announcement, Position, Resource, Witness};
use berth_core::model::{LogIndex, Timestamp};
use berth_core::state::{ClusterState, Command, Event, Rejection, apply};
use tokio::sync::watch;

use kept_changes::KeptChanges;
use kept_events::KeptEvents;

/// A stretch that a reader asked for and that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Where it begins.
    pub(crate) from: Position,
    /// The first place after it.
    pub(crate) to: Position,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read<T> {
    /// What was found, in order.
    pub(crate) found: Vec<T>,
    /// What is missing before that, if anything is.
    pub(crate) missed: Option<Missed>,
    /// Where to go on.
    pub(crate) next: Position,
}

impl<T> Read<T> {
    /// What is kept from `from` on and `take` takes, at most `limit`. `kept` has all from there on, in order, of what is kept from `begins` on; `end` is
    /// the place after all that there was.
    fn of<K>(
        begins: Position,
        from: Position,
        limit: usize,
        end: Position,
        kept: impl Iterator<Item = (Position, K)>,
        take: impl Fn(Position, K) -> Option<T>,
    ) -> Self {
        let missed = (from < begins).then_some(Missed { from, to: begins });
        let (mut found, mut next) = (vec![], from.max(end).max(begins));
        for (place, one) in kept {
            if found.len() == limit {
                next = place;
                break;
            }
            next = next.max(place.next());
            found.extend(take(place, one));
        }
        Self { found, missed, next }
    }
}

/// What one controller remembers. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// Index of the last command applied.
    applied: watch::Sender<u64>,
    history: OnceLock<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: KeptEvents,
    changes: KeptChanges,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            applied: watch::Sender::new(0),
            history: OnceLock::new(),
        }
    }
}

impl EventMemory {
    /// Says of which history it is: positions and ids of one mean nothing in another. What was said first stays.
    pub(crate) fn of_history(&self, history: u64) {
        self.0.history.get_or_init(|| history);
    }

    /// Of which history it is; 0 until that is known.
    pub(crate) fn history(&self) -> u64 {
        self.0.history.get().copied().unwrap_or_default()
    }

    /// Applies a command, and remembers what comes of it.
    pub(crate) fn apply(
        &self,
        state: &mut ClusterState,
        index: LogIndex,
        command: &Command,
    ) -> Result<Vec<Event>, Rejection> {
        let witness = Witness::before(state, command);
        let applied = apply(state, index, command);
        if let Ok(events) = &applied {
            let announced = witness.announce(state, index, command, events);
            let touched = witness.touched(command, events);
            let mut kept = self.lock();
            kept.events.add(announced);
            kept.changes.add(index, touched);
        }
        self.0.applied.send_replace(index.0);
        applied
    }

    /// The state was replaced by that of a snapshot at `index`: of what led to it nothing is known.
    pub(crate) fn begin_after(&self, index: LogIndex) {
        let mut kept = self.lock();
        kept.events.begin_at(Position::after(index));
        kept.changes.begin_at(Position::after(index));
        drop(kept);
        self.0.applied.send_replace(index.0);
    }

    /// The place after all that was announced so far.
    pub(crate) fn end(&self) -> Position {
        Position::after(LogIndex(*self.0.applied.borrow()))
    }

    /// The next announcements from `from` on that are `wanted`, at most `limit`.
    pub(crate) fn events(
        &self,
        from: Position,
        limit: usize,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Read<Arc<Announcement>> {
        // Before the lock: what is applied meanwhile is read, or has its place after this end.
        let end = self.end();
        self.lock().events.read(from, limit, end, wanted)
    }

    /// The place of the first announcement at or after `since`, and since when announcements are kept if that is later.
    pub(crate) fn since(&self, since: Timestamp) -> (Position, Option<Timestamp>) {
        let end = self.end();
        self.lock().events.since(since, end)
    }

    /// The next resources that changed at or after `from` and are `wanted`, at most `limit`, each once.
    pub(crate) fn changes(
        &self,
        from: Position,
        limit: usize,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Read<(Position, Resource)> {
        let end = self.end();
        self.lock().changes.read(from, limit, end, wanted)
    }

    /// News of what is applied, from now on.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.0.applied.subscribe()
    }

    /// What is behind the lock is whole after every step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
