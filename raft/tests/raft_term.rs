//! Proposals that only the leader of one term may make: they are in the log of that term, or void.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod group;
mod stepped;
mod toy;

use berth_raft::ProposeError;
use group::Group;
use stepped::Stepped;
use toy::Set;

/// A leader that was cut off, proposed one thing for any term (1) and one for its own (2), and came back when another led.
fn deposed_with_proposals() -> (Stepped, u64, u64) {
    let mut group = Stepped::of(3);
    let term = group.term(1);
    group.isolate(1);
    let any = group.propose(1, 1);
    let bound = group.propose_in_term(1, 2, term);
    group.pass_until_leads_other_than(1);
    assert!(
        !group.answers.contains_key(&bound),
        "its fate is not known before something of the new term arrives"
    );
    group.cut.clear();
    (group, any, bound)
}

#[test]
fn proposal_of_a_deposed_leader_is_void_where_it_is_bound_to_its_term_and_is_made_by_its_successor_otherwise() {
    let (mut group, any, bound) = deposed_with_proposals();
    assert_eq!(group.proposed(bound), Err(ProposeError::TermPassed));
    let applied = group.proposed(any).unwrap();
    assert_eq!(applied.term, group.term(1));
    group.pass(100);
    for id in 1..=3 {
        assert!(group.has(id, 1) && !group.has(id, 2), "member {id}");
    }
}

#[test]
fn proposal_bound_to_a_term_is_refused_at_once_by_whoever_does_not_lead_in_it() {
    let mut group = Stepped::of(3);
    let term = group.term(1);
    for (member, term) in [(2, term), (1, term - 1), (1, term + 1)] {
        let ticket = group.propose_in_term(member, 1, term);
        assert!(group.answers.contains_key(&ticket));
        assert_eq!(group.proposed(ticket), Err(ProposeError::TermPassed));
    }
    group.pass(100);
    assert!((1..=3).all(|id| !group.has(id, 1)));
    let ticket = group.propose_in_term(1, 2, term);
    assert_eq!(group.proposed(ticket).unwrap().term, term);
}

#[test]
fn proposal_bound_to_a_term_whose_entry_the_successor_has_is_answered_with_its_place_in_that_term() {
    let mut group = Stepped::of(3);
    let term = group.term(1);
    // Member 2 gets the entry; that it has it, nobody hears; and member 3 gets nothing.
    group.part(1, 3);
    group.cut.insert((2, 1));
    let bound = group.propose_in_term(1, 1, term);
    group.isolate(1);
    group.pass_until_leads(2);
    group.cut.clear();
    let applied = group.proposed(bound).unwrap();
    assert_eq!(applied.term, term);
    assert!(group.term(2) > term);
}

#[test]
fn leader_that_leads_again_in_a_later_term_does_not_propose_what_it_decided_before() {
    let (mut group, _, bound) = deposed_with_proposals();
    let other = group.leader();
    let before = group.propose_in_term(other, 3, group.term(other));
    assert!(group.proposed(before).is_ok());
    group.pass(50);
    group.lead(1);
    group.pass(50);
    assert_eq!(group.proposed(bound), Err(ProposeError::TermPassed));
    assert!((1..=3).all(|id| !group.has(id, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_proposes_in_its_term_and_others_are_refused() {
    let group = Group::of(3, group::options()).await;
    let leader = group.leader().await;
    let term = group.raft(leader).status().term;
    let applied = group
        .raft(leader)
        .propose_in_term(Set::numbered(1), term)
        .await
        .unwrap();
    assert_eq!(applied.term, term);
    for id in (1..=3).filter(|id| *id != leader) {
        let refused = group.raft(id).propose_in_term(Set::numbered(2), term).await;
        assert_eq!(refused, Err(ProposeError::TermPassed));
    }
    assert_eq!(group.read(leader).await, 1);
    group.shutdown().await;
}
