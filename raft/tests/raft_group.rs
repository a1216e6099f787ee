//! Groups of several members: elections, replication, reads, losses, handing over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod group;
mod toy;

use std::time::{Duration, Instant};

use berth_raft::{Founding, ProposeError, Raft, RaftFault, RaftOptions, ReadError, ReceiveError, Role, RunState};
use berth_storage::SledStorage;
use group::{DEADLINE, Group, memory, options, wait};
use std::sync::Arc;
use tokio::task::JoinSet;
use toy::{Set, ToyMap};

/// Answers of requests that cannot be served come this soon.
fn impatient() -> RaftOptions {
    RaftOptions {
        propose_deadline: Duration::from_millis(600),
        read_deadline: Duration::from_millis(600),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn group_of_three_applies_what_any_member_proposes_on_all_of_them() {
    let group = Group::of(3, options()).await;
    for number in 0..30 {
        let id = 1 + number as u64 % 3;
        let applied = group.raft(id).propose(Set::numbered(number)).await.unwrap();
        let view = group.raft(id).view();
        assert!(view.index >= applied.index, "the proposer's own view has it");
        assert!(view.view.contains_key(&Set::numbered(number).key));
    }
    group.assert_equal().await;
    assert_eq!(group.read(2).await, 30);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_of_three_on_disks_restarted_has_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let open = |id: u64| -> Arc<dyn berth_storage::Storage> {
        Arc::new(SledStorage::open(&folder.path().join(id.to_string())).unwrap())
    };
    let small = RaftOptions {
        snapshot_after_entries: 40,
        retained_entries: 10,
        ..options()
    };
    let mut group = Group::on((1..=3).map(open).collect(), small).await;
    for number in 0..100 {
        group.propose(1 + number as u64 % 3, number).await;
    }
    for id in 1..=3 {
        group.kill(id, false).await;
    }
    group.stores.clear();
    for id in 1..=3 {
        group.stores.insert(id, open(id));
        group.start(id);
    }
    for id in 1..=3 {
        assert_eq!(group.read(id).await, 100, "on member {id}");
    }
    group.propose(2, 100).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_that_loses_its_leader_goes_on_with_all_that_was_acknowledged() {
    for (members, noticed) in [(3, true), (3, false), (5, true)] {
        let mut group = Group::of(members, options()).await;
        for number in 0..20 {
            group.propose(1 + number as u64 % members, number).await;
        }
        let leader = group.leader().await;
        group.kill(leader, noticed).await;
        let survivor = *group.members.keys().next().unwrap();
        assert_eq!(group.read(survivor).await, 20, "{members} members, noticed: {noticed}");
        group.propose(survivor, 20).await;
        group.start(leader);
        assert_eq!(group.read(leader).await, 21, "it comes back and catches up");
        group.assert_equal().await;
        group.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_whose_connections_break_is_replaced_long_before_the_election_timeout() {
    let mut gaps = Vec::new();
    for _ in 0..7 {
        let mut group = Group::of(3, options()).await;
        let leader = group.leader().await;
        let survivor = group.follower().await;
        group.network.disconnect(leader, true);
        let started = Instant::now();
        group.propose(survivor, 1).await;
        gaps.push(started.elapsed());
        group.members.remove(&leader);
        group.shutdown().await;
    }
    gaps.sort();
    // Not all of them: a busy machine may not run the members at all for a while.
    assert!(gaps[2] < Duration::from_millis(500), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn group_without_a_majority_acknowledges_nothing_and_goes_on_when_it_is_back() {
    let mut group = Group::of(3, impatient()).await;
    group.propose(1, 0).await;
    let leader = group.leader().await;
    for id in 1..=3 {
        if id != leader {
            group.kill(id, true).await;
        }
    }
    let refused = group.raft(leader).propose(Set::numbered(1)).await;
    assert!(matches!(refused, Err(ProposeError::Timeout { .. })), "{refused:?}");
    let refused = group.raft(leader).read().await;
    assert!(matches!(refused, Err(ReadError::Timeout { .. })), "{refused:?}");
    let back = if leader == 1 { 2 } else { 1 };
    group.start(back);
    group.leader().await;
    group.raft(back).read().await.unwrap();
    group.propose(back, 2).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_of_five_survives_the_loss_of_two() {
    let mut group = Group::of(5, options()).await;
    for number in 0..20 {
        group.propose(1 + number as u64 % 5, number).await;
    }
    for _ in 0..2 {
        let leader = group.leader().await;
        group.kill(leader, true).await;
    }
    let survivor = *group.members.keys().next().unwrap();
    group.propose(survivor, 20).await;
    assert_eq!(group.read(survivor).await, 21);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_cut_off_answers_no_reads_while_the_others_go_on() {
    let group = Group::of(3, impatient()).await;
    let old = group.leader().await;
    group.propose(old, 0).await;
    group.network.isolate(old);
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let mut status = group.raft(others[0]).watch_status();
    wait(&mut status, |status| status.leader.is_some_and(|leader| leader != old)).await;
    let mut number = 1;
    while group.raft(others[0]).propose(Set::numbered(number)).await.is_err() {
        number += 1;
    }
    let stale = group.raft(old).read().await;
    assert!(
        stale.is_err(),
        "a read that does not contain what the others acknowledged"
    );
    group.network.heal();
    group.raft(old).read().await.unwrap();
    assert!(group.raft(old).view().view.contains_key(&Set::numbered(number).key));
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_on_a_follower_sees_what_was_acknowledged_anywhere_before() {
    let group = Group::of(3, options()).await;
    for number in 0..60 {
        let (writer, reader) = (1 + number as u64 % 3, 1 + (number as u64 + 1) % 3);
        let applied = group.raft(writer).propose(Set::numbered(number)).await.unwrap();
        let read = group.raft(reader).read().await.unwrap();
        assert!(read.index >= applied.index);
        assert!(read.view.contains_key(&Set::numbered(number).key));
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_beyond_a_batch_are_all_answered_on_leader_and_follower() {
    const PROPOSALS: usize = 3_000;
    let group = Group::of(3, options()).await;
    for id in [group.leader().await, group.follower().await] {
        let mut waiting = JoinSet::new();
        for number in 0..PROPOSALS {
            let raft = group.raft(id).clone();
            waiting.spawn(async move { raft.propose(Set::numbered(number)).await.map(drop) });
        }
        let outcomes = tokio::time::timeout(DEADLINE, waiting.join_all()).await.unwrap();
        let failed: Vec<_> = outcomes.into_iter().filter(Result::is_err).collect();
        assert!(failed.is_empty(), "on member {id}: {failed:?}");
    }
    assert_eq!(group.read(1).await, PROPOSALS);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal_over_the_leaders_room_is_refused_to_the_follower_that_forwards_it() {
    let store = Arc::new(berth_storage::MemoryStorage::default());
    let stores = vec![
        Arc::clone(&store) as Arc<dyn berth_storage::Storage>,
        memory(),
        memory(),
    ];
    let required = RaftOptions {
        required_free_bytes: 1_000,
        ..options()
    };
    let group = Group::on(stores, required).await;
    group.raft(2).transfer_leadership(1).await.ok();
    assert_eq!(group.leader().await, 1);
    store.set_free_bytes(999);
    assert_eq!(
        group.raft(2).propose(Set::numbered(1)).await,
        Err(ProposeError::DiskFull {
            free_bytes: 999,
            required_bytes: 1_000
        })
    );
    store.set_free_bytes(1_000);
    group.propose(2, 1).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_transferred_moves_to_the_member_named() {
    let group = Group::of(3, options()).await;
    for (number, to) in [2, 3, 1].into_iter().enumerate() {
        group.raft(3).transfer_leadership(to).await.unwrap();
        assert_eq!(group.leader().await, to);
        group.propose(1, number).await;
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_is_shut_down_hands_over_first() {
    let mut gaps = Vec::new();
    for _ in 0..3 {
        let mut group = Group::of(3, options()).await;
        let leader = group.leader().await;
        let term = group.raft(leader).status().term;
        let follower = group.follower().await;
        let started = Instant::now();
        assert_eq!(group.raft(leader).shutdown().await, RunState::Stopped);
        group.network.disconnect(leader, false);
        group.members.remove(&leader);
        group.propose(follower, 1).await;
        gaps.push(started.elapsed());
        assert_eq!(group.raft(follower).status().term, term + 1, "one election");
        group.shutdown().await;
    }
    gaps.sort();
    assert!(
        gaps[0] < Duration::from_millis(650),
        "none came without an election timeout: {gaps:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn group_under_load_on_slow_disks_keeps_its_leader() {
    let slow = || -> Arc<dyn berth_storage::Storage> {
        Arc::new(berth_storage::MemoryStorage::with_commit_delay(Duration::from_millis(
            120,
        )))
    };
    let group = Group::on((0..3).map(|_| slow()).collect(), options()).await;
    let leader = group.leader().await;
    let term = group.raft(leader).status().term;
    let until = Instant::now() + Duration::from_secs(5);
    let mut proposers = JoinSet::new();
    for proposer in 0..64 {
        let raft = group.raft(1 + proposer as u64 % 3).clone();
        proposers.spawn(async move {
            while Instant::now() < until {
                raft.propose(Set::numbered(proposer)).await.unwrap();
            }
        });
    }
    proposers.join_all().await;
    for id in 1..=3 {
        let status = group.raft(id).status();
        assert_eq!((status.leader, status.term), (Some(leader), term), "on member {id}");
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_another_cluster_or_for_another_member_is_refused() {
    let (ours, theirs) = (Group::of(1, options()).await, Group::of(1, options()).await);
    let message = |group: &Group, to: u64| berth_proto::v1::PeerMessage {
        cluster_id: group.raft(1).identity().cluster.0.to_vec(),
        from: 2,
        to,
        content: None,
    };
    ours.raft(1).receive(message(&ours, 1)).unwrap();
    let refused = ours.raft(1).receive(message(&theirs, 1));
    assert!(matches!(refused, Err(ReceiveError::WrongCluster { .. })), "{refused:?}");
    let refused = ours.raft(1).receive(message(&ours, 7));
    assert_eq!(refused, Err(ReceiveError::WrongMember { ours: 1, theirs: 7 }));
    ours.raft(1).propose(Set::numbered(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn store_of_another_cluster_is_refused_when_it_is_to_join() {
    let mut group = Group::of(1, options()).await;
    let cluster = Group::of(1, options()).await.raft(1).identity().cluster;
    group.kill(1, false).await;
    let joining = RaftOptions {
        founding: Founding::Join { cluster },
        ..options()
    };
    let store = Arc::clone(&group.stores[&1]);
    let fault = Raft::start(store, ToyMap::default(), joining, group.network.clone()).unwrap_err();
    assert!(matches!(fault, RaftFault::WrongCluster { .. }), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_waits_to_be_contacted_founds_nothing_and_leads_nothing() {
    let mut group = Group::of(1, options()).await;
    group.stores.insert(2, memory());
    group.start(2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = group.raft(2).status();
    assert_eq!((status.role, status.leader, status.term), (Role::Learner, None, 0));
    assert!(group.raft(2).members().members.is_empty());
    group.shutdown().await;
}
