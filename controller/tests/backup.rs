//! Backups of a controller that serves, and new clusters from them.

mod cluster;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_controller::api::ports::{Backups, PartFailure};
use berth_controller::backup::{BackupStreams, restore, verify_file};
use berth_controller::clock::{Clock, SystemClock};
use berth_controller::replica::{ReplicatedState, StateGroup};
use berth_core::model::*;
use berth_core::state::{ClusterState, Command, Taggable};
use berth_raft::RaftOptions;
use berth_storage::SledStorage;
use cluster::{TestCluster, key};

/// Enough to take several parts.
const DEFINITIONS: u32 = 5_000;

async fn large(cluster: &TestCluster) {
    for number in 0..DEFINITIONS / 100 {
        let proposals = (0..100).map(|one| cluster.define_quietly(number * 100 + one));
        for proposal in proposals.collect::<Vec<_>>() {
            proposal.await.expect("no panic");
        }
    }
}

trait Quietly {
    fn define_quietly(&self, number: u32) -> tokio::task::JoinHandle<()>;
}

impl Quietly for TestCluster {
    fn define_quietly(&self, number: u32) -> tokio::task::JoinHandle<()> {
        let definition = cluster::definition(&format!("family-{number}"), Resources::new(128, 64));
        let group = self.group.clone();
        tokio::spawn(async move {
            let applied = group.propose(Command::RegisterTaskDefinition(definition)).await;
            applied.expect("is applied").outcome.expect("is accepted");
        })
    }
}

async fn fetch(streams: &BackupStreams, id: &str) -> Vec<Vec<u8>> {
    let mut parts = vec![];
    for number in 0.. {
        let part = streams.part(id, number).await.expect("a part");
        let again = streams.part(id, number).await.expect("the same part again");
        assert_eq!(part, again);
        if part.is_last {
            break;
        }
        parts.push(part.data);
    }
    parts
}

/// The state of a controller that starts on `data_dir`, and the term in which it leads.
async fn started_on(data_dir: &Path) -> (Arc<ClusterState>, u64) {
    let store = SledStorage::open(&data_dir.join("store")).expect("the store opens");
    let options = RaftOptions {
        on_fault: |_| {},
        required_free_bytes: 0,
        ..RaftOptions::default()
    };
    let group = StateGroup::start(Arc::new(store), ReplicatedState::default(), options).expect("the group starts");
    let read = group.read().await.expect("it leads");
    let found = (Arc::clone(&read.view), read.term);
    group.shutdown().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_made_while_changes_go_on_restores_the_state_at_its_index() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = TestCluster::start();
    cluster.group.read().await.expect("it leads");
    large(&cluster).await;
    let before = cluster.state();
    let streams = BackupStreams::new(cluster.group.clone(), Arc::new(SystemClock));
    let begun = streams.begin("one".to_owned()).await.expect("begun");
    // What comes after the beginning is not in it.
    let tag = Command::TagResource {
        resource: Taggable::TaskDefinition(TaskDefinitionKey {
            scope: key().scope,
            family: "family-0".into(),
            revision: 1,
        }),
        tags: [("after".to_owned(), "the backup".to_owned())].into(),
    };
    cluster.propose(tag).await;
    let parts = fetch(&streams, "one").await;
    assert!(parts.len() > 1, "{} part", parts.len());
    let file = directory.path().join("one.backup");
    std::fs::write(&file, parts.concat()).expect("written");
    assert_eq!(verify_file(&file).expect("sound").header.index, begun.index);

    let old_term = cluster.group.status().term;
    let data_dir = directory.path().join("data");
    let restored = restore(&file, &data_dir, SystemClock.now()).expect("restored");
    let (state, term) = started_on(&data_dir).await;
    assert_eq!(*state, *before);
    assert!(term > restored.term && restored.term > old_term, "{term} {restored:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn part_out_of_order_and_backup_too_many_are_refused() {
    let cluster = TestCluster::start();
    let streams = BackupStreams::new(cluster.group.clone(), Arc::new(SystemClock));
    streams.begin("one".to_owned()).await.expect("begun");
    let early = streams.part("one", 1).await.expect_err("refused");
    assert_eq!(
        early,
        PartFailure::OutOfOrder {
            what: "backup",
            next: 0
        }
    );
    for number in 2..=4 {
        streams.begin(number.to_string()).await.expect("begun");
    }
    let fifth = streams.begin("five".to_owned()).await.expect_err("refused");
    assert!(fifth.to_string().contains("4 backups"), "{fifth}");
    cluster.stop().await;
}

#[tokio::test]
async fn backup_that_nobody_asks_for_is_dropped_and_makes_room() {
    let cluster = TestCluster::start();
    let idle = Duration::from_millis(50);
    let streams = BackupStreams::dropped_after(idle, cluster.group.clone(), Arc::new(SystemClock));
    for number in 1..=4 {
        streams.begin(number.to_string()).await.expect("begun");
    }
    // On this runtime of one thread, whose timers end in order, all four are dropped before this has passed.
    tokio::time::sleep(20 * idle).await;
    let dropped = streams.part("1", 0).await.expect_err("dropped");
    assert!(matches!(dropped, PartFailure::Unknown { .. }), "{dropped}");
    streams.begin("five".to_owned()).await.expect("there is room again");
    cluster.stop().await;
}

#[tokio::test]
async fn restore_into_a_directory_in_use_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = TestCluster::start();
    let streams = BackupStreams::new(cluster.group.clone(), Arc::new(SystemClock));
    streams.begin("one".to_owned()).await.expect("begun");
    let file = directory.path().join("one.backup");
    std::fs::write(&file, fetch(&streams, "one").await.concat()).expect("written");
    let data_dir = directory.path().join("data");
    std::fs::create_dir(&data_dir).expect("created");
    std::fs::write(data_dir.join("something"), "else").expect("written");
    let refused = restore(&file, &data_dir, SystemClock.now()).expect_err("refused");
    assert!(refused.to_string().contains("something"), "{refused}");
    assert!(!data_dir.join("store").exists());
    // A key that clients have may be there already; a second restore finds the first.
    std::fs::rename(data_dir.join("something"), data_dir.join("root-key.json")).expect("renamed");
    restore(&file, &data_dir, SystemClock.now()).expect("restored");
    let again = restore(&file, &data_dir, SystemClock.now()).expect_err("refused");
    assert!(again.to_string().contains("store"), "{again}");
    // What is damaged leaves nothing behind.
    let mut bytes = std::fs::read(&file).expect("read");
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&file, bytes).expect("written");
    let elsewhere = directory.path().join("elsewhere");
    restore(&file, &elsewhere, SystemClock.now()).expect_err("cut off");
    assert!(!elsewhere.exists());
    cluster.stop().await;
}
