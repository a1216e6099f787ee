//! The log on a storage in memory: written, cut and opened again.

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

fn group(index: u64, conf: raft::eraftpb::ConfState) -> Configuration {
    let mut group = Configuration::default();
    group.changed(None, conf, index);
    group
}

/// A log without a snapshot, as the first version founded it.
fn open(store: &Arc<MemoryStorage>) -> LogStorage {
    if store.get(keys::HARD_STATE).unwrap().is_none() {
        let mut batch = Batch::default();
        put_hard_state(&mut batch, &HardState::default());
        let conf = raft::eraftpb::ConfState::from((vec![1], vec![]));
        put_membership(&mut batch, &group(0, conf));
        store.commit(batch).unwrap();
    }
    LogStorage::open(Arc::clone(store) as Arc<dyn Storage>).unwrap()
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
    let leftovers = log.install_own_snapshot(meta, 0).unwrap();
    for log in [&log, &open(&store)] {
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (5, 5));
        assert_eq!((log.term(4).unwrap(), all(log)), (3, entries[4..].to_vec()));
        assert!(log.term(3).is_err());
    }
    leftovers.delete(&*store, &AtomicBool::new(false)).unwrap();
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
    let fault = LogStorage::open(store).err().unwrap();
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
    let fault = LogStorage::open(store).err().unwrap();
    assert!(matches!(fault, RaftFault::Damaged { .. }), "{fault}");
}

fn committed(commit: u64) -> Option<HardState> {
    Some(HardState {
        term: 3,
        vote: 1,
        commit,
    })
}

fn snapshot_at(index: u64, slot: u64) -> v1::SnapshotMeta {
    v1::SnapshotMeta {
        index,
        term: 3,
        slot,
        ..v1::SnapshotMeta::default()
    }
}

#[test]
fn log_cut_with_entries_retained_starts_in_front_of_the_snapshot_before_and_after_reopening() {
    let store = Arc::default();
    let mut log = open(&store);
    let entries: Vec<_> = (1..11).map(|index| entry(index, 3, 100)).collect();
    log.persist(&entries, committed(10)).unwrap();
    log.install_own_snapshot(snapshot_at(8, 20), 3)
        .unwrap()
        .delete(&*store, &AtomicBool::new(false))
        .unwrap();
    for log in [&log, &open(&store)] {
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (6, 10));
        assert_eq!((log.term(5).unwrap(), all(log)), (3, entries[5..].to_vec()));
        assert!(log.term(4).is_err());
        assert_eq!(log.log_bytes(), open(&store).log_bytes());
        assert!(log.log_bytes() < 400, "only what is behind the snapshot counts");
    }
}

#[test]
fn commit_index_alone_costs_no_sync_and_goes_along_with_the_next_batch() {
    let store: Arc<MemoryStorage> = Arc::default();
    let mut log = open(&store);
    log.persist(&[entry(1, 3, 1), entry(2, 3, 1)], committed(0)).unwrap();
    let before = store.commits();
    log.persist(&[], committed(2)).unwrap();
    assert_eq!(store.commits(), before);
    assert_eq!(open(&store).hard_state().commit, 0);
    log.persist(&[entry(3, 3, 1)], None).unwrap();
    assert_eq!(open(&store).hard_state().commit, 2);
}

#[test]
fn snapshot_of_another_member_replaces_all_that_the_log_had() {
    let store: Arc<MemoryStorage> = Arc::default();
    let mut log = open(&store);
    let entries: Vec<_> = (1..11).map(|index| entry(index, 2, 10_000)).collect();
    log.persist(&entries, None).unwrap();
    let group = group(4, raft::eraftpb::ConfState::from((vec![1, 2], vec![3])));
    let leftovers = log
        .install_foreign_snapshot(snapshot_at(7, 20), group.clone(), committed(9))
        .unwrap();
    for log in [&log, &open(&store)] {
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (8, 7));
        assert_eq!((log.term(7).unwrap(), log.hard_state().commit), (3, 7));
        assert_eq!(log.configuration(), &group);
    }
    leftovers.delete(&*store, &AtomicBool::new(false)).unwrap();
    assert_eq!(store.scan(keys::entries(0..100)).count(), 0);
}

#[test]
fn snapshot_that_comes_after_a_newer_one_is_left_over() {
    let store: Arc<MemoryStorage> = Arc::default();
    let mut log = open(&store);
    log.install_foreign_snapshot(snapshot_at(7, 20), Configuration::default(), None)
        .unwrap();
    let late = v1::SnapshotMeta {
        chunk_count: 2,
        ..snapshot_at(5, 19)
    };
    let leftovers = log.install_own_snapshot(late, 0).unwrap();
    let chunks = [keys::chunk(19, 0), keys::chunk(19, 1)];
    let mut batch = Batch::default();
    chunks.iter().for_each(|key| batch.put(key.clone(), vec![1]));
    store.commit(batch).unwrap();
    leftovers.delete(&*store, &AtomicBool::new(false)).unwrap();
    assert!(chunks.iter().all(|key| store.get(key).unwrap().is_none()));
    assert_eq!(log.snapshot_meta().index, 7);
}

#[test]
fn snapshot_for_a_member_that_it_does_not_know_is_asked_for_anew() {
    let mut log = open(&Arc::default());
    log.persist(&[entry(1, 3, 1)], committed(1)).unwrap();
    let mut meta = snapshot_at(1, 5);
    meta.membership = Some(log.configuration().to_record());
    log.install_own_snapshot(meta, 0).unwrap();
    assert_eq!(log.snapshot(0, 1).unwrap().get_metadata().index, 1);
    assert!(!log.take_snapshot_wanted());
    assert!(log.snapshot(0, 2).is_err());
    assert!(log.take_snapshot_wanted());
}
