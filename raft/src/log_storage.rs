//! The Raft log and state of one member, on a [`Storage`]. Shell.
//!
//! Owns how entries, hard state, membership and snapshot metadata are laid out and read back; it must
//! not know what entries contain. Every change is one batch, synced when the call returns.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError as LogError};

use super::error::RaftFault;
use super::options::MAX_CACHED_LOG_BYTES;
use super::stored_entries::{self, Slot, limited, size_in_memory};
use super::{convert, keys};
use berth_storage::{Batch, Storage};

/// Keys deleted in one batch when leftovers are cleared away.
pub(super) const DELETE_BATCH_KEYS: usize = 512;

/// The durable Raft state of one member.
///
/// The log starts right behind the current snapshot, or at index 1 while there is none.
pub(super) struct LogStorage {
    store: Arc<dyn Storage>,
    hard_state: HardState,
    membership: ConfState,
    snapshot: v1::SnapshotMeta,
    slots: VecDeque<Slot>,
    log_bytes: u64,
    cache: VecDeque<Entry>,
    cached_bytes: usize,
}

/// What a new snapshot made superfluous; deleting it later, or never, changes nothing.
#[derive(Debug)]
pub(super) struct Leftovers {
    keys: Vec<Vec<u8>>,
}

impl LogStorage {
    /// Reads the state of a member, or writes that of the first member of a new group.
    pub(super) fn open(store: Arc<dyn Storage>, member_id: u64) -> Result<Self, RaftFault> {
        match read_message::<v1::MemberIdentity>(&*store, keys::IDENTITY, RecordKind::MemberIdentity)? {
            None => found_group(&*store, member_id)?,
            Some(identity) if identity.member_id != member_id => {
                return Err(RaftFault::WrongMember {
                    expected: member_id,
                    found: identity.member_id,
                });
            }
            Some(_) => {}
        }
        let hard_state: v1::HardState = require(&*store, keys::HARD_STATE, RecordKind::HardState)?;
        let membership: v1::Membership = require(&*store, keys::MEMBERSHIP, RecordKind::Membership)?;
        let snapshot: v1::SnapshotMeta =
            read_message(&*store, keys::SNAPSHOT, RecordKind::SnapshotMeta)?.unwrap_or_default();
        let mut log = Self {
            store,
            hard_state: convert::hard_state_from_record(&hard_state),
            membership: convert::membership_from_record(membership),
            snapshot,
            slots: VecDeque::new(),
            log_bytes: 0,
            cache: VecDeque::new(),
            cached_bytes: 0,
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

    /// The storage below, for the thread that writes snapshots.
    pub(super) fn store(&self) -> &Arc<dyn Storage> {
        &self.store
    }

    /// The snapshot from which the log goes on; index 0 if there is none.
    pub(super) fn snapshot_meta(&self) -> &v1::SnapshotMeta {
        &self.snapshot
    }

    /// The current membership.
    pub(super) fn membership(&self) -> &ConfState {
        &self.membership
    }

    /// The commit index that would survive a power cut.
    pub(super) fn durable_commit(&self) -> u64 {
        self.hard_state.commit
    }

    /// Bytes of the entries behind the snapshot.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Makes entries and hard state durable, in one batch; entries replace those at and behind their index.
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
        if let Some(state) = &hard_state {
            put_message(
                &mut batch,
                keys::HARD_STATE,
                RecordKind::HardState,
                &convert::hard_state_to_record(state),
            );
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch)?;
        for (slot, entry) in slots.into_iter().zip(entries) {
            self.push(slot, entry.clone());
        }
        if let Some(state) = hard_state {
            self.hard_state = state;
        }
        Ok(())
    }

    /// Makes a commit index durable.
    pub(super) fn persist_commit(&mut self, commit: u64) -> Result<(), RaftFault> {
        let state = HardState {
            commit,
            ..self.hard_state.clone()
        };
        self.persist(&[], Some(state))
    }

    /// The stored hard state with another commit index.
    pub(super) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Makes a fully written snapshot the current one and cuts the log behind it.
    pub(super) fn install_snapshot(&mut self, meta: v1::SnapshotMeta) -> Result<Leftovers, RaftFault> {
        let current = self.snapshot.index;
        if meta.index <= current || meta.index > self.last() {
            let (new, last) = (meta.index, self.last());
            return Err(RaftFault::damaged(format!(
                "snapshot at {new} does not fit a log from {current} to {last}"
            )));
        }
        let hard_state = HardState {
            commit: self.hard_state.commit.max(meta.index),
            ..self.hard_state.clone()
        };
        let mut batch = Batch::default();
        put_message(&mut batch, keys::SNAPSHOT, RecordKind::SnapshotMeta, &meta);
        put_message(
            &mut batch,
            keys::HARD_STATE,
            RecordKind::HardState,
            &convert::hard_state_to_record(&hard_state),
        );
        self.store.commit(batch)?;

        let mut leftovers: Vec<Vec<u8>> = (0..self.snapshot.chunk_count)
            .map(|number| keys::chunk(current, number))
            .collect();
        for index in current + 1..=meta.index {
            if let Some(slot) = self.slots.pop_front() {
                self.log_bytes -= slot.bytes as u64;
                leftovers.extend(stored_entries::part_keys(index, slot));
            }
        }
        while self.cache.front().is_some_and(|entry| entry.index <= meta.index) {
            self.drop_oldest_cached();
        }
        self.hard_state = hard_state;
        self.snapshot = meta;
        Ok(Leftovers { keys: leftovers })
    }

    fn last(&self) -> u64 {
        self.snapshot.index + self.slots.len() as u64
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.snapshot.index + 1)?).ok()
    }

    fn check_appendable(&self, entries: &[Entry], first: u64) -> Result<(), RaftFault> {
        let contiguous = (first..).zip(entries).all(|(index, entry)| entry.index == index);
        if first <= self.snapshot.index || first > self.last() + 1 || !contiguous {
            let (start, last) = (self.snapshot.index, self.last());
            return Err(RaftFault::damaged(format!(
                "entries from {first} on do not fit a log from {start} to {last}"
            )));
        }
        Ok(())
    }

    fn drop_from(&mut self, index: u64, batch: &mut Batch) {
        for dropped in (index..=self.last()).rev() {
            if let Some(slot) = self.slots.pop_back() {
                self.log_bytes -= slot.bytes as u64;
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
        let current = self.snapshot.index;
        let mut keys = Vec::new();
        for range in [
            keys::entries(0..current + 1),
            keys::chunks(0..current),
            keys::chunks(current + 1..u64::MAX),
        ] {
            for item in self.store.scan(range) {
                keys.push(item?.0);
            }
        }
        Leftovers { keys }.delete(&*self.store)
    }

    fn read_log(&mut self) -> Result<(), RaftFault> {
        let store = Arc::clone(&self.store);
        for item in stored_entries::read(&*store, self.snapshot.index + 1..u64::MAX) {
            let (entry, slot) = item?;
            if entry.index != self.last() + 1 {
                let (found, last) = (entry.index, self.last());
                return Err(RaftFault::damaged(format!(
                    "entry {found} follows entry {last} in the log"
                )));
            }
            self.push(slot, entry);
        }
        Ok(())
    }
}

impl raft::Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState {
            hard_state: self.hard_state.clone(),
            conf_state: self.membership.clone(),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.snapshot.index {
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
        if index == self.snapshot.index {
            return Ok(self.snapshot.term);
        }
        let position = self.position(index).ok_or(raft::Error::Store(LogError::Compacted))?;
        self.slots
            .get(position)
            .map(|slot| slot.term)
            .ok_or(raft::Error::Store(LogError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.snapshot.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The metadata of the current snapshot. Its content is in chunks, which travel outside Raft's messages.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.snapshot.index == 0 || self.snapshot.index < request_index {
            return Err(raft::Error::Store(LogError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.snapshot.index;
        metadata.term = self.snapshot.term;
        metadata.set_conf_state(
            self.snapshot
                .membership
                .clone()
                .map(convert::membership_from_record)
                .unwrap_or_default(),
        );
        Ok(snapshot)
    }
}

impl Leftovers {
    /// Deletes them in small batches, each of which holds up others only shortly.
    pub(super) fn delete(self, store: &dyn Storage) -> Result<(), RaftFault> {
        for keys in self.keys.chunks(DELETE_BATCH_KEYS) {
            let mut batch = Batch::default();
            keys.iter().for_each(|key| batch.delete(key.clone()));
            store.commit(batch)?;
        }
        Ok(())
    }
}

/// Writes the state of the first member of a new group, in a store that holds nothing yet.
fn found_group(store: &dyn Storage, member_id: u64) -> Result<(), RaftFault> {
    if let Some(item) = store.scan(Vec::new()..vec![u8::MAX]).next() {
        let key = String::from_utf8_lossy(&item?.0).into_owned();
        return Err(RaftFault::damaged(format!(
            "the store has no member identity, but a key {key:?}"
        )));
    }
    let mut batch = Batch::default();
    let identity = v1::MemberIdentity { member_id };
    let membership = v1::Membership {
        voters: vec![member_id],
        ..v1::Membership::default()
    };
    put_message(&mut batch, keys::IDENTITY, RecordKind::MemberIdentity, &identity);
    put_message(&mut batch, keys::MEMBERSHIP, RecordKind::Membership, &membership);
    put_message(
        &mut batch,
        keys::HARD_STATE,
        RecordKind::HardState,
        &v1::HardState::default(),
    );
    Ok(store.commit(batch)?)
}

fn put_message<M: prost::Message>(batch: &mut Batch, key: &[u8], kind: RecordKind, message: &M) {
    batch.put(key.to_vec(), record::encode_message(kind, message));
}

fn read_message<M: prost::Message + Default>(
    store: &dyn Storage,
    key: &[u8],
    kind: RecordKind,
) -> Result<Option<M>, RaftFault> {
    let Some(bytes) = store.get(key)? else { return Ok(None) };
    let name = String::from_utf8_lossy(key).into_owned();
    record::decode_message(kind, &bytes)
        .map(Some)
        .map_err(RaftFault::record(name))
}

fn require<M: prost::Message + Default>(store: &dyn Storage, key: &[u8], kind: RecordKind) -> Result<M, RaftFault> {
    read_message(store, key, kind)?
        .ok_or_else(|| RaftFault::damaged(format!("the {} is missing", String::from_utf8_lossy(key))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_storage::MemoryStorage;
    use raft::Storage as _;

    fn entry(index: u64, term: u64, bytes: usize) -> Entry {
        Entry {
            index,
            term,
            data: vec![u8::try_from(index).unwrap(); bytes],
            ..Entry::default()
        }
    }

    fn open(store: &Arc<MemoryStorage>) -> LogStorage {
        LogStorage::open(Arc::clone(store) as Arc<dyn Storage>, 1).unwrap()
    }

    fn all(log: &LogStorage) -> Vec<Entry> {
        let (first, last) = (log.first_index().unwrap(), log.last_index().unwrap());
        log.entries(first, last + 1, None, GetEntriesContext::empty(false))
            .unwrap()
    }

    #[test]
    fn log_with_entries_larger_than_a_value_reopened_is_the_same() {
        let store = Arc::default();
        let mut log = open(&store);
        let entries: Vec<_> = (1..6)
            .map(|index| entry(index, 1, 5_000 * usize::try_from(index).unwrap()))
            .collect();
        log.persist(&entries, None).unwrap();
        assert_eq!(all(&log), entries);
        assert_eq!(all(&open(&store)), entries);
        assert_eq!(open(&store).log_bytes(), log.log_bytes());
    }

    #[test]
    fn log_overwritten_by_another_leader_leaves_nothing_of_the_old_entries() {
        let store = Arc::default();
        let mut log = open(&store);
        log.persist(&[entry(1, 1, 10), entry(2, 1, 50_000), entry(3, 1, 50_000)], None)
            .unwrap();
        log.persist(&[entry(2, 2, 10)], None).unwrap();
        assert_eq!(all(&log), [entry(1, 1, 10), entry(2, 2, 10)]);
        assert_eq!(all(&open(&store)), all(&log));
        assert_eq!((log.term(2).unwrap(), log.last_index().unwrap()), (2, 2));
        assert!(log.term(3).is_err());
    }

    #[test]
    fn log_larger_than_its_cache_reads_old_entries_from_the_store() {
        let mut log = open(&Arc::default());
        let entries: Vec<_> = (1..12).map(|index| entry(index, 1, 1_000_000)).collect();
        log.persist(&entries, None).unwrap();
        assert!(log.cache.len() < 6, "{} entries in memory", log.cache.len());
        assert_eq!(all(&log), entries);
        let limited = log.entries(1, 12, 2_500_000, GetEntriesContext::empty(false)).unwrap();
        assert_eq!(limited, entries[..2]);
    }

    #[test]
    fn log_cut_by_a_snapshot_starts_behind_it_before_and_after_reopening() {
        let store = Arc::default();
        let mut log = open(&store);
        let entries: Vec<_> = (1..6).map(|index| entry(index, 3, 10_000)).collect();
        log.persist(
            &entries,
            Some(HardState {
                term: 3,
                vote: 1,
                commit: 4,
            }),
        )
        .unwrap();
        let meta = v1::SnapshotMeta {
            index: 4,
            term: 3,
            ..v1::SnapshotMeta::default()
        };
        let leftovers = log.install_snapshot(meta).unwrap();
        for log in [&log, &open(&store)] {
            assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (5, 5));
            assert_eq!((log.term(4).unwrap(), all(log)), (3, entries[4..].to_vec()));
            assert!(log.term(3).is_err());
        }
        leftovers.delete(&*store).unwrap();
        assert_eq!(store.scan(keys::entries(0..5)).count(), 0);
        assert_eq!(all(&open(&store)), entries[4..]);
    }

    #[test]
    fn log_with_an_entry_missing_is_refused() {
        let store: Arc<MemoryStorage> = Arc::default();
        open(&store)
            .persist(&[entry(1, 1, 1), entry(2, 1, 1), entry(3, 1, 1)], None)
            .unwrap();
        let mut batch = Batch::default();
        batch.delete(keys::entry_part(2, 0));
        store.commit(batch).unwrap();
        let fault = LogStorage::open(store, 1).err().unwrap();
        assert!(fault.to_string().contains("entry 3 follows entry 1"), "{fault}");
    }

    #[test]
    fn log_shorter_than_its_commit_index_is_refused() {
        let store: Arc<MemoryStorage> = Arc::default();
        open(&store)
            .persist(
                &[entry(1, 1, 1)],
                Some(HardState {
                    term: 1,
                    vote: 1,
                    commit: 2,
                }),
            )
            .unwrap();
        let fault = LogStorage::open(store, 1).err().unwrap();
        assert!(matches!(fault, RaftFault::Damaged { .. }), "{fault}");
    }
}
