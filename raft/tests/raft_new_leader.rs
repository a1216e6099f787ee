//! What a leader that is new must not conclude from not having heard of anyone yet.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stepped;
mod toy;

use berth_raft::{MemberRecord, MembershipChange, MembershipError};
use stepped::Stepped;

fn remove(member: u64) -> MembershipChange {
    MembershipChange::Remove { member, forced: false }
}

/// Member 2 leads, and has heard from member 1 only.
fn led_by_one_that_has_not_heard_from_the_third() -> Stepped {
    let mut group = Stepped::of(3);
    // The third falls silent for so long that nobody counts on it; and says nothing to the new leader.
    group.part(3, 2);
    group.pass(100);
    group.lead(2);
    group
}

#[test]
fn new_leader_waits_for_a_member_before_it_refuses_a_removal_for_want_of_it() {
    let mut group = led_by_one_that_has_not_heard_from_the_third();
    let ticket = group.change(1, remove(1));
    group.pass(5);
    assert!(!group.answers.contains_key(&ticket), "the third may be about to answer");
    group.cut.clear();
    assert!(group.changed(ticket).is_ok());
    assert_eq!(group.engines[&2].membership().members.len(), 2);
}

#[test]
fn new_leader_asked_by_itself_waits_as_well() {
    let mut group = led_by_one_that_has_not_heard_from_the_third();
    let ticket = group.change(2, remove(1));
    group.pass(5);
    assert!(!group.answers.contains_key(&ticket), "the third may be about to answer");
    group.cut.clear();
    assert!(group.changed(ticket).is_ok());
}

#[test]
fn removal_is_refused_once_a_new_leader_has_waited_for_the_silent_one_in_vain() {
    let mut group = led_by_one_that_has_not_heard_from_the_third();
    let before = group.ticks;
    let ticket = group.change(1, remove(1));
    let refused = group.changed(ticket);
    assert_eq!(refused, Err(MembershipError::WouldLoseQuorum { alive: 1, needed: 2 }));
    assert!((40..60).contains(&(group.ticks - before)), "{}", group.ticks - before);
    let before = group.ticks;
    let ticket = group.change(1, remove(1));
    assert!(group.changed(ticket).is_err());
    assert_eq!(group.ticks, before, "a leader that is not new refuses at once");
}

#[test]
fn change_asked_of_a_leader_that_has_not_applied_what_it_found_waits_until_it_has() {
    let mut group = Stepped::of(3);
    // Member 2 has an entry that is not known to be committed, so that only it can be elected.
    group.part(1, 3);
    group.cut.insert((2, 1));
    group.propose(1, 0);
    group.isolate(1);
    group.pass_until_leads(2);
    group.part(2, 3);
    let ticket = group.change(
        2,
        MembershipChange::Update(MemberRecord {
            id: 3,
            name: "moved".to_owned(),
            ..MemberRecord::default()
        }),
    );
    group.pass(3);
    assert!(!group.answers.contains_key(&ticket), "no other change is under way");
    group.cut.clear();
    assert!(group.changed(ticket).is_ok());
}
