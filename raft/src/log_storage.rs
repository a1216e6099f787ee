//! The Raft log and state of one member, on a [`Storage`]. Shell.
//!
//! Owns how entries, hard state, membership and snapshot metadata are laid out and read back; it must
//! not know what entries contain. Every change is one batch, synced when the call returns.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_proto::record::RecordKind;
use berth_proto::v1;
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError as LogError};

use super::error::RaftFault;
use super::founding::{put_message, read_message, require};
use super::membership::Configuration;
use super::options::{MAX_CACHED_LOG_BYTES, MAX_RETAINED_LOG_BYTES};
use super::stored_entries::{self, Slot, limited, size_in_memory};
use super::{convert, keys};
use berth_storage::{Batch, Storage};

/// Keys deleted in one batch: the store looks each of them up, and others wait meanwhile.
const DELETE_BATCH_KEYS: usize = 64;

/// Keys deleted in one batch where nobody else is there who could wait.
const DELETE_BATCH_KEYS_ALONE: usize = 1024;

/// The durable Raft state of one member.
///
/// The log starts at the current snapshot, or some entries in front of it for members that lag.
pub(super) struct LogStorage {
    store: Arc<dyn Storage>,
    /// As it is on the disk.
    hard_state: HardState,
    /// The newest commit index known; written with the next batch.
    commit: u64,
    configuration: Configuration,
    snapshot: v1::SnapshotMeta,
    /// Index and term of the entry in front of the log.
    start: (u64, u64),
    slots: VecDeque<Slot>,
    /// Bytes of the entries behind the snapshot.
    log_bytes: u64,
    cache: VecDeque<Entry>,
    cached_bytes: usize,
    next_snapshot_slot: u64,
    /// A member needs a snapshot that is newer than the current one.
    snapshot_wanted: Cell<bool>,
}

/// What a new snapshot made superfluous; deleting it later, or never, changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// The number under which chunks are stored.
    slot: u64,
    /// How many chunks.
    chunk_count: u64,
    /// Entries, each with its index.
    entries: Vec<(u64, Slot)>,
}

impl LogStorage {
    /// Reads the state of a member from a store that was founded.
    pub(super) fn open(store: Arc<dyn Storage>) -> Result<Self, RaftFault> {
        let hard_state: v1::HardState = require(&*store, keys::HARD_STATE, RecordKind::HardState)?;
        let membership: v1::Membership = require(&*store, keys::MEMBERSHIP, RecordKind::Membership)?;
        let snapshot: v1::SnapshotMeta =
            read_message(&*store, keys::SNAPSHOT, RecordKind::SnapshotMeta)?.unwrap_or_default();
        let hard_state = convert::hard_state_from_record(&hard_state);
        let mut log = Self {
            store,
            commit: hard_state.commit,
            hard_state,
            configuration: Configuration::from_record(membership),
            start: log_start(&snapshot),
            next_snapshot_slot: slot_of(&snapshot) + 1,
            snapshot,
            slots: VecDeque::new(),
            log_bytes: 0,
            cache: VecDeque::new(),
            cached_bytes: 0,
            snapshot_wanted: Cell::new(false),
        };
        log.clear_leftovers()?;
        log.read_log()?;
        if log.hard_state.commit > log.last() {
            let (commit, last) = (log.hard_state.commit, log.last());
            return Err(RaftFault::damaged(format!(
                "entries up to {commit} are committed, the log ends at {last}"
            )));
        }
        Ok(log)
    }

    /// The storage below, for whoever writes and reads snapshots.
    pub(super) fn store(&self) -> &Arc<dyn Storage> {
        &self.store
    }

    /// The current snapshot; index 0 if there is none.
    pub(super) fn snapshot_meta(&self) -> &v1::SnapshotMeta {
        &self.snapshot
    }

    /// A number under which chunks may be stored that disturb no others.
    pub(super) fn new_snapshot_slot(&mut self) -> u64 {
        self.next_snapshot_slot += 1;
        self.next_snapshot_slot - 1
    }

    /// The current membership.
    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Bytes of the entries behind the snapshot.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Whether a member was found to need a newer snapshot, since this was asked last.
    pub(super) fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.take()
    }

    /// Makes entries and hard state durable, in one batch; entries replace those at and behind their index.
    ///
    /// A commit index alone is not written, but goes along with the next batch. Nothing depends on it: a
    /// member that knows less of what is committed after a crash learns it again from its leader, and what
    /// it applied stays in its log. Who the members are must not go back, so that has its own index
    /// ([`LogStorage::change_membership`]), and a snapshot brings its own commit index.
    pub(super) fn persist(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<(), RaftFault> {
        let mut batch = Batch::default();
        if let Some(first) = entries.first() {
            self.check_appendable(entries, first.index)?;
            self.drop_from(first.index, &mut batch);
        }
        let mut slots = Vec::with_capacity(entries.len());
        for entry in entries {
            slots.push(stored_entries::put(&mut batch, entry));
        }
        let mut fresh = hard_state.unwrap_or_else(|| self.hard_state.clone());
        self.commit = self.commit.max(fresh.commit);
        fresh.commit = self.commit;
        let voted = (fresh.term, fresh.vote) != (self.hard_state.term, self.hard_state.vote);
        if voted || (!batch.is_empty() && fresh != self.hard_state) {
            put_hard_state(&mut batch, &fresh);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch)?;
        for (slot, entry) in slots.into_iter().zip(entries) {
            self.push(slot, entry.clone());
        }
        self.hard_state = fresh;
        Ok(())
    }

    /// Remembers what is committed, for the next batch.
    pub(super) fn note_commit(&mut self, commit: u64) {
        self.commit = self.commit.max(commit);
    }

    /// The hard state with the newest commit index known.
    pub(super) fn hard_state(&self) -> HardState {
        HardState {
            commit: self.commit,
            ..self.hard_state.clone()
        }
    }

    /// Makes a membership durable, before anything is decided with it. That the entry which made it is
    /// committed is written along.
    pub(super) fn change_membership(&mut self, configuration: Configuration) -> Result<(), RaftFault> {
        self.commit = self.commit.max(configuration.index);
        let hard_state = self.hard_state();
        let mut batch = Batch::default();
        put_hard_state(&mut batch, &hard_state);
        put_membership(&mut batch, &configuration);
        self.store.commit(batch)?;
        (self.hard_state, self.configuration) = (hard_state, configuration);
        Ok(())
    }

    /// Makes a fully written snapshot of this member the current one, and cuts the log so that about so many
    /// entries up to the snapshot are left. A snapshot that came too late is itself what is left over.
    pub(super) fn install_own_snapshot(
        &mut self,
        mut meta: v1::SnapshotMeta,
        retain_entries: u64,
    ) -> Result<Leftovers, RaftFault> {
        if meta.index <= self.snapshot.index {
            return Ok(Leftovers::of_snapshot(&meta));
        }
        if meta.index > self.last() {
            let (new, last) = (meta.index, self.last());
            return Err(RaftFault::damaged(format!(
                "snapshot at {new} does not fit a log that ends at {last}"
            )));
        }
        meta.retained_entries = self.retainable(meta.index, retain_entries);
        let start = meta.index - meta.retained_entries;
        meta.log_start_term = raft::Storage::term(self, start)
            .map_err(|error| RaftFault::damaged(format!("entry {start} is not in the log: {error}")))?;
        self.commit = self.commit.max(meta.index);
        let hard_state = self.hard_state();
        let mut batch = Batch::default();
        put_message(&mut batch, keys::SNAPSHOT, RecordKind::SnapshotMeta, &meta);
        put_hard_state(&mut batch, &hard_state);
        self.store.commit(batch)?;

        let mut leftovers = Leftovers::of_snapshot(&self.snapshot);
        let old = self
            .slots
            .len()
            .min(usize::try_from(start.saturating_sub(self.start.0)).unwrap_or(usize::MAX));
        leftovers.entries = (self.start.0 + 1..).zip(self.slots.drain(..old)).collect();
        while self.cache.front().is_some_and(|entry| entry.index <= start) {
            self.drop_oldest_cached();
        }
        self.hard_state = hard_state;
        self.start = (start, meta.log_start_term);
        let retained = usize::try_from(meta.retained_entries).unwrap_or(usize::MAX);
        self.log_bytes = self.slots.iter().skip(retained).map(|slot| slot.bytes as u64).sum();
        self.snapshot = meta;
        Ok(leftovers)
    }

    /// How many entries up to an index may stay.
    fn retainable(&self, index: u64, wanted: u64) -> u64 {
        let behind = self.last() - index;
        let mut bytes = 0;
        let newest_first = self.slots.iter().rev();
        let kept = newest_first
            .skip(usize::try_from(behind).unwrap_or(usize::MAX))
            .take(usize::try_from(wanted).unwrap_or(usize::MAX))
            .take_while(|slot| {
                bytes += slot.bytes as u64;
                bytes <= MAX_RETAINED_LOG_BYTES
            });
        kept.count() as u64
    }

    /// Puts the snapshot of another member, whose chunks are stored, in the place of all that this member has.
    pub(super) fn install_foreign_snapshot(
        &mut self,
        meta: v1::SnapshotMeta,
        configuration: Configuration,
        hard_state: Option<HardState>,
    ) -> Result<Leftovers, RaftFault> {
        if meta.index <= self.commit {
            let (new, commit) = (meta.index, self.commit);
            return Err(RaftFault::damaged(format!(
                "a snapshot at {new} was to replace a log that is committed up to {commit}"
            )));
        }
        let mut hard_state = hard_state.unwrap_or_else(|| self.hard_state.clone());
        hard_state.commit = meta.index;
        let mut batch = Batch::default();
        let mut leftovers = Leftovers::of_snapshot(&self.snapshot);
        for (index, slot) in (self.start.0 + 1..).zip(&self.slots) {
            if index > meta.index {
                // What no leader committed must not turn up behind the snapshot.
                stored_entries::part_keys(index, *slot).for_each(|key| batch.delete(key));
            } else {
                leftovers.entries.push((index, *slot));
            }
        }
        put_message(&mut batch, keys::SNAPSHOT, RecordKind::SnapshotMeta, &meta);
        put_hard_state(&mut batch, &hard_state);
        put_membership(&mut batch, &configuration);
        self.store.commit(batch)?;
        self.start = log_start(&meta);
        (self.commit, self.hard_state) = (meta.index, hard_state);
        (self.snapshot, self.configuration) = (meta, configuration);
        (self.log_bytes, self.cached_bytes) = (0, 0);
        self.slots.clear();
        self.cache.clear();
        Ok(leftovers)
    }

    fn last(&self) -> u64 {
        self.start.0 + self.slots.len() as u64
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.start.0 + 1)?).ok()
    }

    fn check_appendable(&self, entries: &[Entry], first: u64) -> Result<(), RaftFault> {
        let contiguous = (first..).zip(entries).all(|(index, entry)| entry.index == index);
        if first <= self.commit || first > self.last() + 1 || !contiguous {
            let (start, last) = (self.commit, self.last());
            return Err(RaftFault::damaged(format!(
                "entries from {first} on do not fit a log that is committed up to {start} and ends at {last}"
            )));
        }
        Ok(())
    }

    fn drop_from(&mut self, index: u64, batch: &mut Batch) {
        for dropped in (index..=self.last()).rev() {
            if let Some(slot) = self.slots.pop_back() {
                self.log_bytes = self.log_bytes.saturating_sub(slot.bytes as u64);
                stored_entries::part_keys(dropped, slot).for_each(|key| batch.delete(key));
            }
        }
        while self.cache.back().is_some_and(|entry| entry.index >= index) {
            if let Some(entry) = self.cache.pop_back() {
                self.cached_bytes -= size_in_memory(&entry);
            }
        }
    }

    fn push(&mut self, slot: Slot, entry: Entry) {
        self.log_bytes += slot.bytes as u64;
        self.slots.push_back(slot);
        self.cached_bytes += size_in_memory(&entry);
        self.cache.push_back(entry);
        while self.cached_bytes > MAX_CACHED_LOG_BYTES && self.cache.len() > 1 {
            self.drop_oldest_cached();
        }
    }

    fn drop_oldest_cached(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cached_bytes -= size_in_memory(&entry);
        }
    }

    fn clear_leftovers(&self) -> Result<(), RaftFault> {
        let current = slot_of(&self.snapshot);
        let mut keys = Vec::new();
        for range in [
            keys::entries(0..self.start.0 + 1),
            keys::chunks(0..current),
            keys::chunks(current + 1..u64::MAX),
        ] {
            for item in self.store.scan(range) {
                keys.push(item?.0);
            }
        }
        delete(
            &*self.store,
            keys.into_iter(),
            DELETE_BATCH_KEYS_ALONE,
            &AtomicBool::new(false),
        )
    }

    fn read_log(&mut self) -> Result<(), RaftFault> {
        let store = Arc::clone(&self.store);
        for item in stored_entries::read(&*store, self.start.0 + 1..u64::MAX) {
            let (entry, slot) = item?;
            if entry.index != self.last() + 1 {
                let (found, last) = (entry.index, self.last());
                return Err(RaftFault::damaged(format!(
                    "entry {found} follows entry {last} in the log"
                )));
            }
            self.push(slot, entry);
        }
        let retained = usize::try_from(self.snapshot.retained_entries).unwrap_or(usize::MAX);
        self.log_bytes = self.slots.iter().skip(retained).map(|slot| slot.bytes as u64).sum();
        Ok(())
    }
}

impl raft::Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState {
            hard_state: self.hard_state.clone(),
            conf_state: self.configuration.conf.clone(),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(raft::Error::Store(LogError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(LogError::Unavailable));
        }
        let max_size = max_size.into();
        let cached_from = self.cache.front().map_or(u64::MAX, |entry| entry.index);
        let mut found: Vec<Entry> = if low >= cached_from {
            let skipped = usize::try_from(low - cached_from).unwrap_or(usize::MAX);
            limited(
                self.cache
                    .iter()
                    .skip(skipped)
                    .take_while(|entry| entry.index < high)
                    .cloned()
                    .map(Ok),
                max_size,
            )
        } else {
            let stored = stored_entries::read(&*self.store, low..high).map(|item| item.map(|(entry, _)| entry));
            limited(stored, max_size)
        }
        .map_err(|fault| raft::Error::Store(LogError::Other(Box::new(fault))))?;
        raft::util::limit_size(&mut found, max_size);
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.0 {
            return Ok(self.start.1);
        }
        let position = self.position(index).ok_or(raft::Error::Store(LogError::Compacted))?;
        self.slots
            .get(position)
            .map(|slot| slot.term)
            .ok_or(raft::Error::Store(LogError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The metadata of the current snapshot. Its content is in chunks, which travel outside Raft's messages.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let configuration = Configuration::from_record(self.snapshot.membership.clone().unwrap_or_default());
        // A member that the snapshot does not know would refuse it.
        if self.snapshot.index == 0 || self.snapshot.index < request_index || !configuration.contains(to) {
            self.snapshot_wanted.set(true);
            return Err(raft::Error::Store(LogError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot {
            data: prost::Message::encode_to_vec(&self.snapshot),
            ..Snapshot::default()
        };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.snapshot.index, self.snapshot.term);
        metadata.set_conf_state(configuration.conf);
        Ok(snapshot)
    }
}

/// The number under which the chunks of a snapshot are stored.
pub(super) fn slot_of(meta: &v1::SnapshotMeta) -> u64 {
    if meta.slot == 0 { meta.index } else { meta.slot }
}

/// Index and term of the entry in front of the log that goes with a snapshot.
fn log_start(meta: &v1::SnapshotMeta) -> (u64, u64) {
    if meta.retained_entries == 0 {
        (meta.index, meta.term)
    } else {
        (meta.index.saturating_sub(meta.retained_entries), meta.log_start_term)
    }
}

fn put_hard_state(batch: &mut Batch, state: &HardState) {
    let record = convert::hard_state_to_record(state);
    put_message(batch, keys::HARD_STATE, RecordKind::HardState, &record);
}

fn put_membership(batch: &mut Batch, configuration: &Configuration) {
    put_message(
        batch,
        keys::MEMBERSHIP,
        RecordKind::Membership,
        &configuration.to_record(),
    );
}

impl Leftovers {
    fn of_snapshot(meta: &v1::SnapshotMeta) -> Self {
        Self::of_chunks(slot_of(meta), meta.chunk_count)
    }

    /// The first chunks that are stored under a number.
    pub(super) fn of_chunks(slot: u64, chunk_count: u64) -> Self {
        Self {
            slot,
            chunk_count,
            entries: Vec::new(),
        }
    }

    /// Whether there is nothing to delete.
    pub(super) fn is_empty(&self) -> bool {
        self.chunk_count == 0 && self.entries.is_empty()
    }

    /// Deletes them without holding up others, until told to stop.
    pub(super) fn delete(self, store: &dyn Storage, stop: &AtomicBool) -> Result<(), RaftFault> {
        let chunks = (0..self.chunk_count).map(|number| keys::chunk(self.slot, number));
        let entries = self.entries.into_iter();
        let parts = entries.flat_map(|(index, slot)| stored_entries::part_keys(index, slot));
        delete(store, chunks.chain(parts), DELETE_BATCH_KEYS, stop)
    }
}

fn delete(
    store: &dyn Storage,
    mut keys: impl Iterator<Item = Vec<u8>>,
    at_once: usize,
    stop: &AtomicBool,
) -> Result<(), RaftFault> {
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Batch::default();
        keys.by_ref().take(at_once).for_each(|key| batch.delete(key));
        if batch.is_empty() {
            break;
        }
        store.commit_unhurried(batch)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "log_storage_tests.rs"]
mod tests;
