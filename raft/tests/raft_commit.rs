//! When members other than the leader learn that something is committed: at once where somebody there waits for it, else with what is sent next.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stepped;
mod toy;

use berth_raft::engine::Answer;
use stepped::Stepped;

/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: u64 = 2;

#[test]
fn others_hear_of_what_the_leader_proposed_with_its_next_heartbeat() {
    let mut group = Stepped::of(3);
    let ticket = group.propose(1, 7);
    assert!(matches!(group.answers[&ticket], Answer::Proposed(Ok(_))));
    assert!(group.has(1, 7));
    assert!(!group.has(2, 7) && !group.has(3, 7), "nobody there waits for it");
    group.pass(HEARTBEAT_TICKS);
    assert!(group.has(2, 7) && group.has(3, 7));
}

#[test]
fn member_that_proposed_something_hears_of_it_at_once() {
    let mut group = Stepped::of(3);
    let ticket = group.propose(2, 7);
    assert!(matches!(group.answers[&ticket], Answer::Proposed(Ok(_))));
    assert!(group.has(2, 7));
    // And what it did not propose is not told at once again.
    group.propose(1, 8);
    assert!(!group.has(2, 8));
}

#[test]
fn member_that_reads_hears_at_once_of_what_is_committed_before() {
    let mut group = Stepped::of(3);
    group.propose(1, 7);
    let ticket = 1_000;
    group.step(2, |engine, _| engine.read(ticket));
    group.deliver();
    assert!(matches!(&group.answers[&ticket], Answer::Read(Ok(_))), "without a tick");
    assert!(group.has(2, 7));
}
