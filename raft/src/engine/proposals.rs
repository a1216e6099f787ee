//! The proposals of this member that are under way: until they are applied here, refused, or too old. Pure.
//!
//! Owns when a proposal is sent to the leader, and when it is sent again under the same id. It must not know
//! what is proposed, nor how it reaches the leader.

use std::collections::{BTreeMap, BTreeSet};

use super::Ticket;
use super::ids::ProposalId;
use crate::membership::MembershipChange;
use crate::options::{FORWARD_RETRY_TICKS, MAX_OUTSTANDING_BYTES, MAX_OUTSTANDING_PROPOSALS};

/// What is proposed.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// An encoded command.
    Command(Vec<u8>),
    /// A change of the membership.
    Change(MembershipChange),
}

impl Content {
    /// Bytes that it adds to the log, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Command(data) => data.len(),
            Self::Change(_) => crate::options::MAX_MEMBER_RECORD_BYTES,
        }
    }
}

/// One proposal.
#[derive(Debug)]
struct Outstanding {
    ticket: Ticket,
    content: Content,
    /// The only term in whose leader's log it may be.
    term: Option<u64>,
    /// Tick after which nobody waits for it.
    deadline: u64,
    /// How often it was sent.
    attempts: u32,
    /// Tick at which it is sent again.
    retry_at: u64,
}

/// A proposal to be sent now.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) id: ProposalId,
    pub(super) content: Content,
    /// How often it was sent before.
    pub(super) attempt: u32,
}

/// A proposal that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    /// Whether it was to change the membership.
    pub(super) is_change: bool,
}

/// All proposals of this run of this member.
#[derive(Debug)]
pub(super) struct Proposals {
    origin: u64,
    next: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    unsent: BTreeSet<u64>,
    bytes: usize,
    /// The newest term of which an entry is applied here.
    applied_term: u64,
}

impl Proposals {
    /// An origin that no other run of any member has.
    pub(super) fn new(origin: u64) -> Self {
        Self {
            origin,
            next: 1,
            outstanding: BTreeMap::new(),
            unsent: BTreeSet::new(),
            bytes: 0,
            applied_term: 0,
        }
    }

    pub(super) fn origin(&self) -> u64 {
        self.origin
    }

    /// Takes in a new proposal; whether there is room for it. With a term, it is for the log of this member while it
    /// leads in that term, and for no other.
    pub(super) fn add(&mut self, ticket: Ticket, content: Content, term: Option<u64>, deadline: u64) -> bool {
        let bytes = content.bytes();
        if self.outstanding.len() >= MAX_OUTSTANDING_PROPOSALS || self.bytes + bytes > MAX_OUTSTANDING_BYTES {
            return false;
        }
        self.bytes += bytes;
        let outstanding = Outstanding {
            ticket,
            content,
            term,
            deadline,
            attempts: 0,
            retry_at: u64::MAX,
        };
        self.outstanding.insert(self.next, outstanding);
        self.unsent.insert(self.next);
        self.next += 1;
        true
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// What is to be sent now, in order. With `keeps`, whoever gets it keeps it until its leadership ends.
    pub(super) fn take_unsent(&mut self, now: u64, keeps: bool) -> Vec<Sending> {
        let lowest = self.outstanding.keys().next().copied().unwrap_or(self.next);
        let mut sending = Vec::with_capacity(self.unsent.len());
        for sequence in std::mem::take(&mut self.unsent) {
            let Some(outstanding) = self.outstanding.get_mut(&sequence) else {
                continue;
            };
            sending.push(Sending {
                id: ProposalId {
                    origin: self.origin,
                    sequence,
                    lowest,
                },
                content: outstanding.content.clone(),
                attempt: outstanding.attempts,
            });
            outstanding.attempts += 1;
            outstanding.retry_at = if keeps { u64::MAX } else { now + FORWARD_RETRY_TICKS };
        }
        sending
    }

    /// Keeps what is bound to a term from going anywhere unless this member leads in that term. Those that have not
    /// been in a log are over, and nothing came of them; the others wait until it shows what became of their entry.
    pub(super) fn withhold(&mut self, led_term: Option<u64>) -> Vec<Ended> {
        let outstanding = &self.outstanding;
        let foreign = |sequence: &u64| {
            let term = outstanding.get(sequence).and_then(|proposal| proposal.term);
            term.is_some() && term != led_term
        };
        if !self.unsent.iter().any(foreign) {
            return Vec::new();
        }
        let (withheld, unsent) = std::mem::take(&mut self.unsent).into_iter().partition(foreign);
        self.unsent = unsent;
        self.end_those(withheld, |proposal| proposal.attempts == 0)
    }

    /// An entry of this term is applied, and what was applied before it is noted: since terms only grow along the log,
    /// what is bound to an earlier one and still waits is in no log that counts.
    pub(super) fn reached(&mut self, term: u64) -> Vec<Ended> {
        if term <= self.applied_term {
            return Vec::new();
        }
        self.applied_term = term;
        let all = self.outstanding.keys().copied().collect();
        self.end_those(all, |proposal| proposal.term.is_some_and(|bound| bound < term))
    }

    /// The proposal with this number is applied.
    pub(super) fn applied(&mut self, sequence: u64) -> Option<Ended> {
        self.end(sequence)
    }

    /// Those that a snapshot contains, although they were never applied here.
    pub(super) fn covered_by(&mut self, contains: impl Fn(u64) -> bool) -> Vec<Ended> {
        let covered: Vec<u64> = self
            .outstanding
            .keys()
            .copied()
            .filter(|sequence| contains(*sequence))
            .collect();
        covered.into_iter().filter_map(|sequence| self.end(sequence)).collect()
    }

    /// The leader refused an attempt. If it was the only one, the proposal is over and nothing came of it;
    /// otherwise another may have been taken, so that it goes on until it is applied or too old.
    pub(super) fn refused(&mut self, sequence: u64, attempt: u32, retry_at: u64) -> Option<Ended> {
        let outstanding = self.outstanding.get_mut(&sequence)?;
        if (outstanding.attempts, attempt) == (1, 0) {
            return self.end(sequence);
        }
        if outstanding.attempts == attempt + 1 {
            outstanding.retry_at = retry_at;
        }
        None
    }

    /// An attempt was not taken for a reason that passes; it is made again later.
    pub(super) fn postponed(&mut self, sequence: u64, attempt: u32, retry_at: u64) {
        if let Some(outstanding) = self.outstanding.get_mut(&sequence)
            && outstanding.attempts == attempt + 1
        {
            // It was not taken, so it does not count among those that may have been.
            outstanding.attempts = attempt;
            outstanding.retry_at = retry_at;
        }
    }

    /// Another leader: all that is under way is sent again.
    pub(super) fn leader_changed(&mut self) {
        self.unsent.extend(self.outstanding.keys());
    }

    /// Time passed: what waited too long for an answer is sent again; those too old are over.
    pub(super) fn tick(&mut self, now: u64) -> Vec<Ended> {
        let mut expired = Vec::new();
        for (sequence, outstanding) in &self.outstanding {
            if outstanding.deadline < now {
                expired.push(*sequence);
            } else if outstanding.retry_at <= now {
                self.unsent.insert(*sequence);
            }
        }
        expired.into_iter().filter_map(|sequence| self.end(sequence)).collect()
    }

    fn end_those(&mut self, sequences: BTreeSet<u64>, are_over: impl Fn(&Outstanding) -> bool) -> Vec<Ended> {
        let over = |sequence: &u64| self.outstanding.get(sequence).is_some_and(&are_over);
        let over: Vec<u64> = sequences.into_iter().filter(over).collect();
        over.into_iter().filter_map(|sequence| self.end(sequence)).collect()
    }

    fn end(&mut self, sequence: u64) -> Option<Ended> {
        let outstanding = self.outstanding.remove(&sequence)?;
        self.unsent.remove(&sequence);
        self.bytes -= outstanding.content.bytes();
        Some(Ended {
            ticket: outstanding.ticket,
            is_change: matches!(outstanding.content, Content::Change(_)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposals(count: u64) -> Proposals {
        let mut proposals = Proposals::new(7);
        for ticket in 1..=count {
            assert!(proposals.add(ticket, Content::Command(vec![1]), None, 100));
        }
        proposals
    }

    fn sequences(sending: &[Sending]) -> Vec<u64> {
        sending.iter().map(|sending| sending.id.sequence).collect()
    }

    #[test]
    fn proposal_without_an_answer_is_sent_again_under_its_id_until_it_is_too_old() {
        let mut proposals = proposals(2);
        assert_eq!(sequences(&proposals.take_unsent(0, false)), [1, 2]);
        assert!(proposals.tick(FORWARD_RETRY_TICKS - 1).is_empty());
        assert!(!proposals.has_unsent());
        proposals.applied(1);
        proposals.tick(FORWARD_RETRY_TICKS);
        let again = proposals.take_unsent(FORWARD_RETRY_TICKS, false);
        assert_eq!((sequences(&again), again[0].attempt), (vec![2], 1));
        assert_eq!(again[0].id.lowest, 2, "nobody waits for the first any more");
        assert_eq!(proposals.tick(101).len(), 1);
        assert!(proposals.take_unsent(102, false).is_empty());
    }

    #[test]
    fn refusal_of_the_only_attempt_ends_a_proposal_and_that_of_a_later_one_does_not() {
        let mut proposals = proposals(1);
        proposals.take_unsent(0, false);
        proposals.leader_changed();
        proposals.take_unsent(1, false);
        assert!(proposals.refused(1, 0, 5).is_none(), "the second attempt may be taken");
        assert!(proposals.refused(1, 1, 5).is_none(), "the first may have been taken");
        proposals.tick(5);
        assert!(proposals.has_unsent());
        let mut proposals = self::proposals(1);
        proposals.take_unsent(0, false);
        assert_eq!(proposals.refused(1, 0, 5).map(|ended| ended.ticket), Some(1));
    }

    #[test]
    fn proposal_postponed_counts_as_never_sent() {
        let mut proposals = proposals(1);
        proposals.take_unsent(0, false);
        proposals.postponed(1, 0, 3);
        proposals.tick(3);
        assert_eq!(proposals.take_unsent(3, false)[0].attempt, 0);
        assert!(proposals.refused(1, 0, 9).is_some());
    }

    #[test]
    fn proposals_over_the_bound_are_not_taken_in() {
        let mut proposals = proposals(MAX_OUTSTANDING_PROPOSALS as u64);
        assert!(!proposals.add(0, Content::Command(vec![1]), None, 100));
        proposals.applied(5);
        assert!(proposals.add(0, Content::Command(vec![1]), None, 100));
        assert!(!Proposals::new(1).add(0, Content::Command(vec![0; MAX_OUTSTANDING_BYTES + 1]), None, 9));
    }

    /// One for any term, and one for term 3.
    fn bound() -> Proposals {
        let mut proposals = proposals(1);
        assert!(proposals.add(2, Content::Command(vec![1]), Some(3), 100));
        proposals
    }

    fn tickets(ended: &[Ended]) -> Vec<Ticket> {
        ended.iter().map(|ended| ended.ticket).collect()
    }

    #[test]
    fn proposal_bound_to_a_term_ends_unsent_where_another_term_is_led_or_none() {
        for led in [None, Some(2), Some(4)] {
            let mut proposals = bound();
            assert_eq!(tickets(&proposals.withhold(led)), [2]);
            assert_eq!(sequences(&proposals.take_unsent(0, false)), [1]);
        }
        let mut proposals = bound();
        assert!(proposals.withhold(Some(3)).is_empty());
        assert_eq!(sequences(&proposals.take_unsent(0, true)), [1, 2]);
    }

    #[test]
    fn proposal_bound_to_a_term_is_not_sent_again_and_is_over_once_a_later_term_is_applied() {
        let mut proposals = bound();
        proposals.take_unsent(0, true);
        proposals.leader_changed();
        assert!(proposals.withhold(None).is_empty(), "its entry may be committed yet");
        assert_eq!(sequences(&proposals.take_unsent(0, false)), [1]);
        assert!(proposals.reached(3).is_empty());
        assert_eq!(tickets(&proposals.reached(4)), [2]);
        assert_eq!(tickets(&[proposals.applied(1).unwrap()]), [1]);
    }
}
