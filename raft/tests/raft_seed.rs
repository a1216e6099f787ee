//! A group that begins with a state from elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use std::sync::Arc;

use berth_raft::{NoPeers, Published, Raft, StateMachine, seed};
use berth_storage::{MemoryStorage, Storage};
use toy::{Set, ToyMap, options};

fn state() -> Published<<ToyMap as StateMachine>::View> {
    let mut machine = ToyMap::default();
    for number in 0..1_000 {
        machine.apply(0, 0, Set::numbered(number));
    }
    Published {
        index: 500,
        term: 7 << 20,
        view: machine.view(),
    }
}

#[tokio::test]
async fn group_seeded_with_a_state_goes_on_from_it_in_a_later_term() {
    let store = Arc::new(MemoryStorage::default());
    seed::<ToyMap>(&*store, &options(), &state()).unwrap();
    for round in 1..=2 {
        let raft = Raft::start(
            Arc::clone(&store) as Arc<dyn Storage>,
            ToyMap::default(),
            options(),
            NoPeers,
        )
        .unwrap();
        let read = raft.read().await.unwrap();
        assert_eq!(read.view.len(), 999 + round, "as it was left");
        let applied = raft.propose(Set::numbered(1_000 + round)).await.unwrap();
        assert!(applied.term > 7 << 20 && applied.index > 500, "{applied:?}");
        assert_eq!(applied.outcome, 1_000 + round);
        raft.shutdown().await;
    }
}

#[tokio::test]
async fn store_that_has_a_group_is_not_seeded_again() {
    let store = MemoryStorage::default();
    seed::<ToyMap>(&store, &options(), &state()).unwrap();
    let error = seed::<ToyMap>(&store, &options(), &state()).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}
