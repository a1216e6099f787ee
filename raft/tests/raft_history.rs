//! What a store holds of the past, read while its member goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use std::sync::Arc;

use berth_raft::{History, NoPeers, Raft, RaftOptions, StateMachine, snapshot_index};
use berth_storage::{MemoryStorage, Storage};
use toy::{Set, ToyMap, options};

fn replayed(history: History<ToyMap>) -> (u64, <ToyMap as StateMachine>::View) {
    let mut index = history.index();
    let (mut machine, commands) = history.into_parts();
    for past in commands {
        let past = past.unwrap();
        assert!(past.index > index);
        index = past.index;
        machine.apply(past.index, past.term, past.command);
    }
    (index, machine.view())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_read_while_snapshots_cut_the_log_leads_to_the_state_at_its_end() {
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let options = RaftOptions {
        snapshot_after_entries: 30,
        ..options()
    };
    let raft = Raft::start(Arc::clone(&store), ToyMap::default(), options, NoPeers).unwrap();
    raft.read().await.unwrap();
    let writer = raft.clone();
    let writing = tokio::spawn(async move {
        for number in 0..600 {
            writer.propose(Set::numbered(number)).await.unwrap();
        }
    });
    let mut compared = 0;
    while !writing.is_finished() {
        let published = raft.read().await.unwrap();
        // A snapshot may be newer than what was asked for; then it is all that there is.
        let history = History::<ToyMap>::read(&*store, Some(published.index)).unwrap();
        if history.index() <= published.index {
            let (_, view) = replayed(history);
            assert_eq!(view, published.view);
            compared += 1;
        }
    }
    writing.await.unwrap();
    assert!(compared > 10, "{compared}");
    assert!(snapshot_index(&*store).unwrap() > 30);
    raft.shutdown().await;
    let (_, view) = replayed(History::read(&*store, None).unwrap());
    assert_eq!(view.len(), 600);
}

#[test]
fn store_that_is_none_of_a_member_has_no_history() {
    let fault = History::<ToyMap>::read(&MemoryStorage::default(), None).unwrap_err();
    assert!(fault.to_string().contains("damaged"), "{fault}");
}
