//! The Raft group of one member, from the outside: what is acknowledged stays, whatever happens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_proto::record::{self, FORMAT_VERSION, RecordKind};
use berth_raft::{FeedItem, NoPeers, ProposeError, Raft, RaftFault, RaftOptions, ReadError, Role, RunState};
use berth_storage::{Batch, MAX_VALUE_BYTES, MemoryStorage, Scan, SledStorage, Storage, StorageError};
use tokio::task::JoinSet;
use toy::{PACKS_KEY, Set, ToyMap, options};

/// Longer than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn start(store: &Arc<MemoryStorage>, options: RaftOptions) -> Raft<ToyMap> {
    Raft::start(
        Arc::clone(store) as Arc<dyn Storage>,
        ToyMap::default(),
        options,
        NoPeers,
    )
    .unwrap()
}

fn start_error(store: &Arc<MemoryStorage>) -> RaftFault {
    Raft::start(
        Arc::clone(store) as Arc<dyn Storage>,
        ToyMap::default(),
        options(),
        NoPeers,
    )
    .unwrap_err()
}

fn compacting(entries: u64) -> RaftOptions {
    RaftOptions {
        snapshot_after_entries: entries,
        ..options()
    }
}

async fn wait_for_snapshot(raft: &Raft<ToyMap>, index: u64) {
    let mut status = raft.watch_status();
    tokio::time::timeout(DEADLINE, status.wait_for(|status| status.snapshot >= index))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn group_started_on_an_empty_store_leads_without_an_election_timeout() {
    let raft = start(&Arc::default(), options());
    let mut status = raft.watch_status();
    let leading = tokio::time::timeout(DEADLINE, status.wait_for(|status| status.role == Role::Leader));
    let status = leading.await.unwrap().unwrap().clone();
    assert_eq!((status.leader, status.term), (Some(1), 2), "one campaign, at once");
}

#[tokio::test]
async fn proposal_applied_answers_with_its_place_and_outcome() {
    let raft = start(&Arc::default(), options());
    raft.read().await.unwrap();
    let first = raft.propose(Set::numbered(1)).await.unwrap();
    let second = raft.propose(Set::numbered(2)).await.unwrap();
    assert_eq!((first.outcome, second.outcome), (1, 2));
    assert_eq!(second.index, first.index + 1);
    assert_eq!(second.term, 2);
}

#[tokio::test]
async fn read_after_an_acknowledged_proposal_sees_it() {
    let raft = start(&Arc::default(), options());
    raft.read().await.unwrap();
    for number in 0..200 {
        let applied = raft.propose(Set::numbered(number)).await.unwrap();
        let read = raft.read().await.unwrap();
        assert!(read.index >= applied.index);
        assert!(read.view.contains_key(&format!("key-{number:06}")));
        assert!(
            raft.view().index >= applied.index,
            "the published view comes before the answer"
        );
    }
}

#[tokio::test]
async fn group_restarted_has_every_acknowledged_proposal() {
    let store = Arc::default();
    for round in 0..5 {
        let raft = start(&store, compacting(7));
        let before = raft.read().await.unwrap();
        assert_eq!(before.view.len(), round * 20);
        for number in 0..20 {
            raft.propose(Set::numbered(round * 20 + number)).await.unwrap();
        }
        assert_eq!(raft.shutdown().await, RunState::Stopped);
    }
}

#[tokio::test]
async fn group_stopped_by_dropping_its_handle_releases_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Storage> = Arc::new(SledStorage::open(folder.path()).unwrap());
    let raft = Raft::start(store, ToyMap::default(), options(), NoPeers).unwrap();
    let mut status = raft.watch_status();
    raft.propose_until_leading(Set::numbered(1)).await;
    drop(raft);
    tokio::time::timeout(DEADLINE, status.wait_for(|status| status.has_stopped()))
        .await
        .unwrap()
        .unwrap();
    let reopened = Arc::new(SledStorage::open(folder.path()).unwrap());
    let raft = Raft::start(reopened, ToyMap::default(), options(), NoPeers).unwrap();
    assert_eq!(raft.read().await.unwrap().view.len(), 1);
}

/// Proposing right after the start may come before the member leads.
trait ProposeUntilLeading {
    async fn propose_until_leading(&self, set: Set);
}

impl ProposeUntilLeading for Raft<ToyMap> {
    async fn propose_until_leading(&self, set: Set) {
        self.read().await.unwrap();
        self.propose(set).await.unwrap();
    }
}

/// Keeps a copy of the storage after every commit: every state that a crash could leave behind.
#[derive(Default)]
struct RecordingStorage {
    inner: MemoryStorage,
    images: Mutex<Vec<MemoryStorage>>,
    recorded: AtomicU64,
}

impl Storage for RecordingStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.get(key)
    }

    fn scan(&self, range: std::ops::Range<Vec<u8>>) -> Scan<'_> {
        self.inner.scan(range)
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut images = self.images.lock().unwrap();
        self.inner.commit(batch)?;
        images.push(self.inner.duplicate());
        self.recorded.store(images.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.inner.free_bytes()
    }
}

#[tokio::test]
async fn group_restarted_from_the_state_after_any_commit_has_what_was_acknowledged_by_then() {
    let store = Arc::new(RecordingStorage::default());
    let raft = Raft::start(
        Arc::clone(&store) as Arc<dyn Storage>,
        ToyMap::default(),
        compacting(9),
        NoPeers,
    )
    .unwrap();
    raft.read().await.unwrap();
    let mut acknowledged_at = Vec::new();
    for number in 0..60 {
        let value = "x".repeat(number * 200);
        raft.propose(Set {
            key: format!("key-{number:06}"),
            value,
        })
        .await
        .unwrap();
        acknowledged_at.push(store.recorded.load(Ordering::SeqCst));
    }
    wait_for_snapshot(&raft, 18).await;
    raft.shutdown().await;
    drop(raft);

    let images = std::mem::take(&mut *store.images.lock().unwrap());
    assert!(images.len() > 60, "entries, snapshot chunks, switches and deletions");
    for (number, image) in (1_u64..).zip(images) {
        let expected = acknowledged_at.iter().filter(|recorded| **recorded <= number).count();
        let raft = start(&Arc::new(image), options());
        let view = raft.read().await.unwrap();
        let missing = (0..expected).find(|key| !view.view.contains_key(&format!("key-{key:06}")));
        assert_eq!(missing, None, "after commit {number}, {expected} were acknowledged");
    }
}

#[tokio::test]
async fn proposals_made_together_share_syncs() {
    const PROPOSALS: usize = 400;
    let store = Arc::new(MemoryStorage::with_commit_delay(Duration::from_millis(5)));
    let raft = start(&store, options());
    raft.read().await.unwrap();
    let before = store.commits();
    let mut waiting = JoinSet::new();
    for number in 0..PROPOSALS {
        let raft = raft.clone();
        waiting.spawn(async move { raft.propose(Set::numbered(number)).await.map(|applied| applied.outcome) });
    }
    let outcomes = waiting.join_all().await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let commits = store.commits() - before;
    assert!(commits <= 20, "{PROPOSALS} proposals took {commits} syncs");
}

#[tokio::test]
async fn proposal_alone_takes_one_sync() {
    let store = Arc::default();
    let raft = start(&store, options());
    raft.read().await.unwrap();
    let before = store.commits();
    for number in 0..10 {
        raft.propose(Set::numbered(number)).await.unwrap();
    }
    assert_eq!(store.commits() - before, 10);
}

#[tokio::test]
async fn log_after_a_snapshot_is_cut_and_the_snapshot_is_what_remains() {
    let store = Arc::default();
    let raft = start(&store, compacting(50));
    raft.read().await.unwrap();
    for number in 0..500 {
        raft.propose(Set::numbered(number % 40)).await.unwrap();
    }
    wait_for_snapshot(&raft, 400).await;
    raft.shutdown().await;
    drop(raft);

    let raft = start(&store, compacting(1_000_000));
    let view = raft.read().await.unwrap();
    assert_eq!(view.view.len(), 40);
    let entries = store.scan(b"log/".to_vec()..b"log0".to_vec()).count();
    assert!(entries < 150, "{entries} entries are left of 500");
}

#[tokio::test]
async fn snapshot_with_large_and_many_items_is_stored_in_bounded_chunks_and_restored() {
    let store = Arc::default();
    let raft = start(
        &store,
        RaftOptions {
            snapshot_after_bytes: 600_000,
            ..options()
        },
    );
    raft.read().await.unwrap();
    let large = "large ".repeat(80_000);
    raft.propose(Set {
        key: "large".to_owned(),
        value: large.clone(),
    })
    .await
    .unwrap();
    for number in 0..300 {
        let value = "v".repeat(1_000 + number);
        raft.propose(Set {
            key: format!("key-{number}"),
            value,
        })
        .await
        .unwrap();
    }
    wait_for_snapshot(&raft, 2).await;
    raft.shutdown().await;
    drop(raft);

    let chunks: Vec<_> = store
        .scan(b"snapshot-chunk/".to_vec()..b"snapshot-chunk0".to_vec())
        .map(Result::unwrap)
        .collect();
    assert!(chunks.len() > 100, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
    let raft = start(&store, options());
    let view = raft.read().await.unwrap();
    assert_eq!(view.view.len(), 301);
    assert_eq!(*view.view["large"], *large);
    assert_eq!(view.view["key-299"].len(), 1_299);
}

#[tokio::test]
async fn commands_and_snapshot_once_packed_take_a_fraction_and_are_restored() {
    let mut bytes = Vec::new();
    for first in [PACKS_KEY, "other"] {
        let store = Arc::default();
        let raft = start(&store, compacting(50));
        raft.read().await.unwrap();
        raft.propose(Set::present(first)).await.unwrap();
        for number in 0..100 {
            let value = format!("{number} is what this value says. ").repeat(200);
            let key = format!("key-{number}");
            raft.propose(Set { key, value }).await.unwrap();
        }
        wait_for_snapshot(&raft, 50).await;
        raft.shutdown().await;
        drop(raft);
        let stored = |prefix: &str| {
            let range = format!("{prefix}/").into_bytes()..format!("{prefix}0").into_bytes();
            store.scan(range).map(|item| item.unwrap().1.len()).sum::<usize>()
        };
        bytes.push((stored("log"), stored("snapshot-chunk")));
        let raft = start(&store, options());
        let view = raft.read().await.unwrap();
        assert_eq!(view.view.len(), 101);
        assert_eq!(*view.view["key-99"], *"99 is what this value says. ".repeat(200));
    }
    let [packed, plain] = bytes.try_into().unwrap();
    assert!(
        packed.0 * 5 < plain.0 && packed.1 * 5 < plain.1,
        "{packed:?} instead of {plain:?}"
    );
}

#[tokio::test]
async fn snapshot_with_a_chunk_missing_is_refused() {
    for first in [PACKS_KEY, "other"] {
        snapshot_with_a_chunk_missing(first).await;
    }
}

async fn snapshot_with_a_chunk_missing(first: &str) {
    let store = Arc::default();
    let raft = start(&store, compacting(10));
    raft.read().await.unwrap();
    raft.propose(Set::present(first)).await.unwrap();
    for number in 0..30 {
        raft.propose(Set {
            key: format!("{number}"),
            value: "v".repeat(3_000),
        })
        .await
        .unwrap();
    }
    wait_for_snapshot(&raft, 10).await;
    raft.shutdown().await;
    // Beside the current snapshot there may be one that was being written, or one that was about to be cleared away.
    let mut last_chunks = BTreeMap::new();
    for item in store.scan(b"snapshot-chunk/".to_vec()..b"snapshot-chunk0".to_vec()) {
        let key = item.unwrap().0;
        last_chunks.insert(key[..b"snapshot-chunk/".len() + 8].to_vec(), key);
    }
    let mut batch = Batch::default();
    last_chunks.into_values().for_each(|key| batch.delete(key));
    store.commit(batch).unwrap();
    let fault = start_error(&store);
    assert!(matches!(fault, RaftFault::Damaged { .. }), "{fault:?}");
}

async fn store_with_three_proposals() -> Arc<MemoryStorage> {
    let store = Arc::default();
    let raft = start(&store, options());
    raft.read().await.unwrap();
    for number in 0..3 {
        raft.propose(Set::numbered(number)).await.unwrap();
    }
    raft.shutdown().await;
    store
}

#[tokio::test]
async fn store_with_any_record_damaged_is_refused() {
    let store = store_with_three_proposals().await;
    let records: Vec<_> = store.scan(Vec::new()..vec![u8::MAX]).map(Result::unwrap).collect();
    assert!(records.len() >= 6, "identity, membership, hard state, entries");
    for (key, mut value) in records {
        let copy = Arc::new(store.duplicate());
        let middle = value.len() / 2;
        value[middle] ^= 0x10;
        copy.overwrite(key.clone(), value);
        let fault = start_error(&copy);
        let name = String::from_utf8_lossy(&key);
        assert!(fault.chain().contains("damaged"), "{name}: {}", fault.chain());
    }
}

#[tokio::test]
async fn store_written_by_a_newer_version_is_refused_naming_both() {
    let store = store_with_three_proposals().await;
    let newer = record::seal_as(FORMAT_VERSION + 1, RecordKind::HardState, vec![1, 2, 3]);
    store.overwrite(b"hard-state".to_vec(), newer);
    let text = start_error(&store).chain();
    assert!(
        text.contains("format version 3") && text.contains("up to version 2"),
        "{text}"
    );
}

#[tokio::test]
async fn store_of_another_member_is_refused() {
    let store = store_with_three_proposals().await;
    let options = RaftOptions {
        member_id: Some(2),
        ..options()
    };
    let fault = Raft::start(store as Arc<dyn Storage>, ToyMap::default(), options, NoPeers).unwrap_err();
    assert!(
        matches!(fault, RaftFault::WrongMember { expected: 2, found: 1 }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn proposal_over_the_bound_is_refused_and_nothing_is_written() {
    let store = Arc::default();
    let raft = start(&store, options());
    raft.read().await.unwrap();
    let before = store.commits();
    let refused = raft
        .propose(Set {
            key: "k".to_owned(),
            value: "v".repeat(2 << 20),
        })
        .await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
    assert_eq!(store.commits(), before);
}

#[tokio::test]
async fn proposal_on_a_nearly_full_disk_is_refused_until_there_is_room() {
    let store: Arc<MemoryStorage> = Arc::default();
    let raft = start(
        &store,
        RaftOptions {
            required_free_bytes: 1_000,
            ..options()
        },
    );
    raft.read().await.unwrap();
    store.set_free_bytes(999);
    let before = store.commits();
    let refused = raft.propose(Set::numbered(1)).await;
    assert_eq!(
        refused,
        Err(ProposeError::DiskFull {
            free_bytes: 999,
            required_bytes: 1_000
        })
    );
    assert_eq!(store.commits(), before);
    assert_eq!(raft.read().await.unwrap().view.len(), 0, "reads go on");
    store.set_free_bytes(1_000);
    raft.propose(Set::numbered(1)).await.unwrap();
}

#[tokio::test]
async fn storage_that_fails_stops_the_group_without_acknowledging() {
    static FAULTS: AtomicU64 = AtomicU64::new(0);
    let store: Arc<MemoryStorage> = Arc::default();
    let on_fault: fn(&RaftFault) = |_| {
        FAULTS.fetch_add(1, Ordering::SeqCst);
    };
    let raft = start(&store, RaftOptions { on_fault, ..options() });
    raft.propose_until_leading(Set::numbered(1)).await;
    store.fail_commits();
    assert_eq!(raft.propose(Set::numbered(2)).await, Err(ProposeError::Stopped));
    let run = tokio::time::timeout(DEADLINE, raft.stopped()).await.unwrap();
    assert!(
        matches!(&run, RunState::Failed(reason) if reason.contains("told to fail")),
        "{run:?}"
    );
    assert_eq!(raft.propose(Set::numbered(3)).await, Err(ProposeError::Stopped));
    assert_eq!(raft.read().await.unwrap_err(), ReadError::Stopped);
    assert_eq!(raft.view().view.len(), 1);
    assert_eq!(FAULTS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn subscriber_receives_batches_in_order_and_the_end() {
    let raft = start(&Arc::default(), options());
    raft.read().await.unwrap();
    let mut feed = raft.subscribe();
    for number in 0..5 {
        raft.propose(Set::numbered(number)).await.unwrap();
    }
    let mut outcomes = Vec::new();
    while outcomes.len() < 5 {
        match tokio::time::timeout(DEADLINE, feed.next()).await.unwrap() {
            Some(FeedItem::Batch(batch)) => outcomes.extend(batch.outcomes.iter().map(|applied| applied.outcome)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(outcomes, [1, 2, 3, 4, 5]);
    raft.shutdown().await;
    assert!(tokio::time::timeout(DEADLINE, feed.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn subscriber_too_slow_is_told_to_resync_and_holds_up_nobody() {
    let raft = start(&Arc::default(), options());
    raft.read().await.unwrap();
    let mut feed = raft.subscribe();
    for number in 0..2_000 {
        raft.propose(Set::numbered(number)).await.unwrap();
    }
    let item = tokio::time::timeout(DEADLINE, feed.next()).await.unwrap();
    assert!(matches!(item, Some(FeedItem::Resync)), "{item:?}");
}
