//! Proposals that are forwarded, lost, repeated and overtaken by elections: each is applied once, or said to be unknown.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod group;
mod toy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_raft::testing::Faults;
use berth_raft::{ProposeError, RaftOptions};
use group::{Group, options};
use tokio::task::JoinSet;
use toy::Set;

/// Who proposes at the same time.
const PROPOSERS: usize = 24;

/// What one proposer was told of each of its proposals.
type Told = Vec<(String, Result<(), ProposeError>)>;

/// Counts in the machine how often each key was set: `ToyMap` appends to a key that begins with `count-`.
fn counted(proposer: usize, number: u64) -> Set {
    Set {
        key: format!("count-{proposer}-{number}"),
        value: "x".to_owned(),
    }
}

/// Lets proposers propose on all members until told to stop.
fn propose_everywhere(group: &Group, stop: &Arc<AtomicBool>) -> JoinSet<Told> {
    let members: Vec<_> = group.members.values().cloned().collect();
    let mut proposers = JoinSet::new();
    for proposer in 0..PROPOSERS {
        let raft = members[proposer % members.len()].clone();
        let stop = Arc::clone(stop);
        proposers.spawn(async move {
            let mut told = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let set = counted(proposer, number);
                let key = set.key.clone();
                told.push((key, raft.propose(set).await.map(drop)));
            }
            told
        });
    }
    proposers
}

/// Checks what was told against how often each was applied.
async fn assert_once(group: &Group, proposers: JoinSet<Told>) -> usize {
    let told: BTreeMap<String, Result<(), ProposeError>> = proposers.join_all().await.into_iter().flatten().collect();
    let any = *group.members.keys().next().unwrap();
    let view = group.raft(any).read().await.unwrap();
    let mut acknowledged = 0;
    for (key, answer) in &told {
        let applied = view.view.get(key).map_or(0, |value| value.len());
        match answer {
            Ok(()) => {
                assert_eq!(applied, 1, "{key} was acknowledged");
                acknowledged += 1;
            }
            Err(ProposeError::Overloaded | ProposeError::DiskFull { .. }) => {
                assert_eq!(applied, 0, "{key} was refused")
            }
            Err(_) => assert!(applied <= 1, "{key} was applied {applied} times"),
        }
    }
    acknowledged
}

fn patient() -> RaftOptions {
    RaftOptions {
        snapshot_after_entries: 400,
        retained_entries: 50,
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_over_a_network_that_loses_repeats_and_reorders_are_applied_once() {
    let group = Group::of(3, patient()).await;
    group.network.set_faults(Faults {
        lost: 8,
        repeated: 20,
        late: 10,
    });
    let stop = Arc::new(AtomicBool::new(false));
    let proposers = propose_everywhere(&group, &stop);
    tokio::time::sleep(Duration::from_secs(6)).await;
    stop.store(true, Ordering::SeqCst);
    group.network.set_faults(Faults::default());
    let acknowledged = assert_once(&group, proposers).await;
    assert!(acknowledged > 50, "{acknowledged} were acknowledged");
    group.assert_equal().await;
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_while_leaders_are_killed_are_applied_once() {
    let mut group = Group::of(5, patient()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let proposers = propose_everywhere(&group, &stop);
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let leader = group.leader().await;
        // Every other one falls silent instead of closing its connections; the handle that proposers have goes on.
        group.network.disconnect(leader, round % 2 == 0);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let raft = group.members[&leader].clone();
        group.network.connect(&raft);
    }
    stop.store(true, Ordering::SeqCst);
    let acknowledged = assert_once(&group, proposers).await;
    assert!(acknowledged > 200, "{acknowledged} were acknowledged");
    group.assert_equal().await;
    group.members.retain(|_, raft| !raft.status().has_stopped());
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal_made_while_nobody_leads_is_applied_once_somebody_does() {
    let mut group = Group::of(3, options()).await;
    let leader = group.leader().await;
    group.kill(leader, false).await;
    let survivor = *group.members.keys().next().unwrap();
    let applied = group.raft(survivor).propose(counted(0, 0)).await.unwrap();
    assert!(group.raft(survivor).view().index >= applied.index);
    group.start(leader);
    assert_eq!(group.raft(leader).read().await.unwrap().view["count-0-0"].len(), 1);
    group.shutdown().await;
}
