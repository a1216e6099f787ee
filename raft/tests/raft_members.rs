//! Members that come, learn, vote and go; and the snapshots that those who lack the log are given.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod group;
mod toy;

use std::sync::Arc;
use std::time::Duration;

use berth_raft::testing::Faults;
use berth_raft::{
    FeedItem, MemberRecord, MemberRole, MembershipChange, MembershipError, RaftOptions, Role, RunState, TransferError,
};
use berth_storage::{SledStorage, Storage};
use group::{DEADLINE, Group, memory, options, record, wait};
use toy::{PACKS_KEY, Set};

/// Snapshots are taken often, and little log is kept behind them.
fn compacting() -> RaftOptions {
    RaftOptions {
        snapshot_after_entries: 50,
        retained_entries: 5,
        ..options()
    }
}

fn ids(group: &Group, on: u64, role: MemberRole) -> Vec<u64> {
    let members = group.raft(on).members();
    let with_role = members.members.iter().filter(|member| member.role == role);
    with_role.map(|member| member.record.id).collect()
}

async fn wait_for_members(group: &Group, on: u64, count: usize) {
    let mut members = group.raft(on).watch_members();
    let known = members.wait_for(|members| members.members.len() == count);
    tokio::time::timeout(DEADLINE, known).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn member_added_learns_then_votes_and_everyone_knows_where_it_is() {
    let mut group = Group::of(1, options()).await;
    for number in 0..20 {
        group.propose(1, number).await;
    }
    group.join(2).await;
    wait_for_members(&group, 2, 2).await;
    assert_eq!(ids(&group, 2, MemberRole::Learner), [2]);
    assert_eq!(group.raft(2).status().role, Role::Learner);
    assert_eq!(group.read(2).await, 20, "a learner reads as well");
    group.propose(2, 20).await;
    group.raft(2).promote(2, DEADLINE).await.unwrap();
    for id in [1, 2] {
        let mut members = group.raft(id).watch_members();
        let voters = |members: &Arc<berth_raft::Membership>| {
            members.get(2).is_some_and(|member| member.role == MemberRole::Voter)
        };
        tokio::time::timeout(DEADLINE, members.wait_for(voters))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(group.raft(id).members().get(2).unwrap().record, record(2));
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_and_records_survive_restarts() {
    let mut group = Group::of(3, compacting()).await;
    let moved = MemberRecord {
        name: "moved".to_owned(),
        ..record(3)
    };
    let change = MembershipChange::Update(moved.clone());
    group.raft(2).change_membership(change).await.unwrap();
    for number in 0..120 {
        group.propose(1 + number as u64 % 3, number).await;
    }
    for id in 1..=3 {
        group.kill(id, false).await;
    }
    for id in 1..=3 {
        group.start(id);
    }
    assert_eq!(group.read(1).await, 120);
    assert_eq!(ids(&group, 1, MemberRole::Voter), [1, 2, 3]);
    assert_eq!(group.raft(1).members().get(3).unwrap().record, moved);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_removed_stops_and_says_why_and_its_id_is_never_taken_again() {
    let group = Group::of(3, options()).await;
    let follower = group.follower().await;
    let other = (1..=3).find(|id| *id != follower).unwrap();
    group.raft(other).remove_member(follower, false).await.unwrap();
    let run = tokio::time::timeout(DEADLINE, group.raft(follower).stopped())
        .await
        .unwrap();
    assert_eq!(run, RunState::Removed);
    let refused = group.raft(other).add_member(record(follower)).await;
    assert_eq!(refused, Err(MembershipError::IdUsed { member: follower }));
    group.propose(other, 1).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_removed_while_it_was_away_is_told_when_it_comes_back() {
    let mut group = Group::of(3, options()).await;
    let away = group.follower().await;
    group.kill(away, true).await;
    let other = *group.members.keys().next().unwrap();
    group.raft(other).remove_member(away, false).await.unwrap();
    group.start(away);
    let run = tokio::time::timeout(DEADLINE, group.raft(away).stopped())
        .await
        .unwrap();
    assert_eq!(run, RunState::Removed);
    group.propose(other, 1).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_removed_hands_over_first_and_stops() {
    let group = Group::of(3, options()).await;
    let leader = group.leader().await;
    group.propose(leader, 0).await;
    group.raft(leader).remove_member(leader, false).await.unwrap();
    let run = tokio::time::timeout(DEADLINE, group.raft(leader).stopped())
        .await
        .unwrap();
    assert_eq!(run, RunState::Removed);
    let survivor = (1..=3).find(|id| *id != leader).unwrap();
    group.propose(survivor, 1).await;
    assert_eq!(ids(&group, survivor, MemberRole::Voter).len(), 2);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_that_would_lose_the_majority_is_refused() {
    let mut group = Group::of(3, options()).await;
    let dead = group.follower().await;
    group.kill(dead, true).await;
    let leader = group.leader().await;
    let other = *group.members.keys().find(|id| **id != leader).unwrap();
    let mut refused = group.raft(leader).remove_member(other, false).await;
    while matches!(refused, Err(MembershipError::ChangeUnderWay)) {
        refused = group.raft(leader).remove_member(other, false).await;
    }
    assert_eq!(refused, Err(MembershipError::WouldLoseQuorum { alive: 1, needed: 2 }));
    group.raft(other).remove_member(dead, false).await.unwrap();
    group.propose(other, 1).await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_makes_no_sense_is_refused_on_any_member_for_the_same_reason() {
    let group = Group::of(3, options()).await;
    for id in 1..=3 {
        let raft = group.raft(id);
        assert_eq!(
            raft.remove_member(77, false).await,
            Err(MembershipError::NoSuchMember { member: 77 })
        );
        assert_eq!(
            raft.promote(2, Duration::ZERO).await,
            Err(MembershipError::VotesAlready { member: 2 })
        );
        assert_eq!(
            raft.add_member(record(2)).await,
            Err(MembershipError::IdUsed { member: 2 })
        );
        let large = MemberRecord {
            name: "x".repeat(10_000),
            ..record(9)
        };
        let refused = raft.add_member(large).await;
        assert!(
            matches!(refused, Err(MembershipError::RecordTooLarge { .. })),
            "{refused:?}"
        );
        assert_eq!(
            raft.transfer_leadership(77).await,
            Err(TransferError::NotVoter { member: 77 })
        );
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_cannot_be_reached_is_not_promoted() {
    let group = Group::of(1, options()).await;
    group.raft(1).add_member(record(2)).await.unwrap();
    let refused = group.raft(1).promote(2, Duration::from_millis(300)).await;
    assert!(
        matches!(refused, Err(MembershipError::LagsBehind { .. })),
        "{refused:?}"
    );
    group.propose(1, 1).await;
    group.raft(1).remove_member(2, false).await.unwrap();
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_member_is_replaced_by_one_with_a_new_id() {
    let mut group = Group::of(3, compacting()).await;
    for number in 0..100 {
        group.propose(1, number).await;
    }
    let dead = group.follower().await;
    group.kill(dead, true).await;
    let survivor = *group.members.keys().next().unwrap();
    group.raft(survivor).remove_member(dead, false).await.unwrap();
    group.join(9).await;
    group.raft(survivor).promote(9, DEADLINE).await.unwrap();
    assert_eq!(group.read(9).await, 100);
    assert!(ids(&group, survivor, MemberRole::Voter).contains(&9));
    group.shutdown().await;
}

fn large(number: usize) -> Set {
    Set {
        key: format!("large-{number}"),
        value: "v".repeat(20_000 + number),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_lags_behind_the_log_gets_a_snapshot_and_its_subscribers_are_told() {
    let mut group = Group::of(3, compacting()).await;
    let away = group.follower().await;
    group.propose(away, 0).await;
    let mut feed = group.raft(away).subscribe();
    group.network.isolate(away);
    let other = *group.members.keys().find(|id| **id != away).unwrap();
    for number in 0..130 {
        // Larger than one question for chunks brings.
        group.raft(other).propose(large(number)).await.unwrap();
    }
    // Snapshots are written beside the log: once they are, the log lacks what the member needs.
    let missing_from = group.raft(away).status().applied + 1;
    for id in group.members.keys().filter(|id| **id != away) {
        let mut status = group.raft(*id).watch_status();
        wait(&mut status, |status| {
            status.snapshot > missing_from + compacting().retained_entries
        })
        .await;
    }
    group.network.heal();
    let mut status = group.raft(away).watch_status();
    wait(&mut status, |status| status.applied >= 130).await;
    let resync = async {
        loop {
            if let FeedItem::Resync = feed.next().await.unwrap() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, resync).await.unwrap();
    assert!(group.raft(away).status().snapshot > 0);
    assert_eq!(group.read(away).await, 131);
    group.assert_equal().await;
    group.kill(away, false).await;
    group.start(away);
    assert_eq!(group.read(away).await, 131, "what it was given survives a restart");
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_member_gets_a_snapshot_over_a_network_that_loses_and_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Storage> = Arc::new(SledStorage::open(folder.path()).unwrap());
    let mut group = Group::of(1, compacting()).await;
    for number in 0..120 {
        group.raft(1).propose(large(number)).await.unwrap();
    }
    group.network.set_faults(Faults {
        lost: 15,
        repeated: 15,
        late: 15,
    });
    group.stores.insert(2, disk);
    group.join(2).await;
    let mut status = group.raft(2).watch_status();
    wait(&mut status, |status| status.applied >= 120).await;
    group.network.set_faults(Faults::default());
    group.raft(1).promote(2, DEADLINE).await.unwrap();
    assert_eq!(group.read(2).await, 120);
    group.assert_equal().await;
    let staged = group.stores[&2]
        .scan(b"snapshot-chunk/".to_vec()..b"snapshot-chunk0".to_vec())
        .map(|item| item.unwrap().0[15..23].to_vec())
        .collect::<std::collections::BTreeSet<_>>();
    assert!(
        staged.len() <= 2,
        "chunks of transfers that were given up are cleared away"
    );
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_member_gets_a_snapshot_that_is_packed() {
    let mut group = Group::of(1, compacting()).await;
    group.raft(1).propose(Set::present(PACKS_KEY)).await.unwrap();
    for number in 0..120 {
        group.raft(1).propose(large(number)).await.unwrap();
    }
    group.join(2).await;
    assert_eq!(group.read(2).await, 121);
    group.assert_equal().await;
    let chunks = group.stores[&2].scan(b"snapshot-chunk/".to_vec()..b"snapshot-chunk0".to_vec());
    assert!(chunks.count() < 100, "2.4 MB fit into few chunks once they are packed");
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_crashes_while_it_fetches_a_snapshot_fetches_it_again() {
    let mut group = Group::of(1, compacting()).await;
    for number in 0..150 {
        group.raft(1).propose(large(number)).await.unwrap();
    }
    group.stores.insert(2, memory());
    group.start(2);
    group.raft(1).add_member(record(2)).await.unwrap();
    let store = Arc::clone(&group.stores[&2]);
    let chunks = || {
        store
            .scan(b"snapshot-chunk/".to_vec()..b"snapshot-chunk0".to_vec())
            .count()
    };
    let started = tokio::time::Instant::now();
    while chunks() == 0 {
        assert!(started.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    group.kill(2, true).await;
    group.start(2);
    let mut status = group.raft(2).watch_status();
    wait(&mut status, |status| status.applied >= 150).await;
    assert_eq!(group.read(2).await, 150);
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_founded_by_an_older_version_takes_members_in() {
    let mut group = Group {
        network: berth_raft::testing::Network::default(),
        members: std::collections::BTreeMap::new(),
        stores: std::collections::BTreeMap::new(),
        options: options(),
    };
    group.stores.insert(1, toy::store_of_the_first_version());
    group.start(1);
    assert_eq!(group.read(1).await, 1);
    group.join(2).await;
    group.raft(1).promote(2, DEADLINE).await.unwrap();
    assert_eq!(group.read(2).await, 1);
    group.shutdown().await;
}
