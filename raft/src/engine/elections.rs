//! When a member asks to be elected: timeouts drawn from the seed, and early elections. Pure.
//!
//! A leader whose process dies is noticed by its connections, long before the timeout. Members that lost
//! theirs take turns, so that their votes do not split; whoever still hears the leader does not vote for them.

use std::collections::BTreeSet;

use raft::StateRole;

use super::ids::Draws;
use crate::options::{
    ELECTION_TICKS, MAX_ELECTION_TICKS, SUSPICION_ELECTION_TICKS, SUSPICION_SLOT_TICKS, SUSPICION_TICKS,
};

/// What decides the next election of this member.
#[derive(Debug)]
pub(super) struct Elections {
    draws: Draws,
    timeout: usize,
    /// Term and role that the timeout was drawn for.
    drawn_for: (u64, StateRole),
    suspicion: Option<Suspicion>,
    /// Ticks since this member asks for votes.
    candidate_ticks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    turn: u64,
    next_try: u64,
    interval: u64,
    until: u64,
}

impl Elections {
    pub(super) fn new(draws: Draws) -> Self {
        Self {
            draws,
            timeout: ELECTION_TICKS,
            // No role that a member has before its first tick, so that the first timeout is drawn too.
            drawn_for: (u64::MAX, StateRole::Leader),
            suspicion: None,
            candidate_ticks: 0,
        }
    }

    /// The timeout in this term and role.
    pub(super) fn timeout(&mut self, term: u64, role: StateRole) -> usize {
        if self.drawn_for != (term, role) {
            self.drawn_for = (term, role);
            let range = (MAX_ELECTION_TICKS - ELECTION_TICKS) as u64;
            let drawn = usize::try_from(self.draws.below(range)).unwrap_or_default();
            self.timeout = ELECTION_TICKS + drawn;
        }
        self.timeout
    }

    /// The connection to the leader is gone: this voter will try to be elected, in its turn among the others.
    pub(super) fn suspect(&mut self, now: u64, me: u64, leader: u64, voters: &BTreeSet<u64>) {
        let others: Vec<u64> = voters.iter().copied().filter(|voter| *voter != leader).collect();
        let turn = others.iter().position(|voter| *voter == me).unwrap_or_default() as u64;
        self.suspicion = Some(Suspicion {
            turn,
            // Not at once: the others must have noticed too, or they do not vote.
            next_try: now + 1 + turn * SUSPICION_SLOT_TICKS,
            interval: (others.len() as u64).max(1) * SUSPICION_SLOT_TICKS,
            until: now + SUSPICION_TICKS,
        });
    }

    /// Another member asks to be elected: this one gives it time, and more of it the later its turn is.
    pub(super) fn asked_by_another(&mut self, now: u64) {
        if let Some(suspicion) = &mut self.suspicion {
            let pause = SUSPICION_ELECTION_TICKS + suspicion.turn * SUSPICION_SLOT_TICKS;
            suspicion.next_try = suspicion.next_try.max(now + pause);
        }
    }

    /// Whether this is the time to try.
    pub(super) fn tries_early(&mut self, now: u64, role: StateRole, leader_known: bool) -> bool {
        self.candidate_ticks = match role {
            StateRole::Candidate => self.candidate_ticks + 1,
            _ => 0,
        };
        let Some(suspicion) = &mut self.suspicion else {
            return false;
        };
        if leader_known || now > suspicion.until {
            self.suspicion = None;
            return false;
        }
        // An election of its own that is under way gets time too; if votes split, the next attempt ends that.
        let waits = (1..=SUSPICION_ELECTION_TICKS).contains(&self.candidate_ticks);
        let turn = now >= suspicion.next_try && !waits;
        if turn {
            suspicion.next_try = now + suspicion.interval;
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_timeouts_are_in_range_and_the_same_for_the_same_seed() {
        let (mut first, mut second) = (Elections::new(Draws::new(3)), Elections::new(Draws::new(3)));
        let mut seen = BTreeSet::new();
        for term in 0..200 {
            let timeout = first.timeout(term, StateRole::Follower);
            assert!((ELECTION_TICKS..MAX_ELECTION_TICKS).contains(&timeout));
            assert_eq!(timeout, first.timeout(term, StateRole::Follower), "drawn once");
            assert_eq!(timeout, second.timeout(term, StateRole::Follower));
            seen.insert(timeout);
        }
        assert!(seen.len() > 5, "{seen:?}");
    }

    #[test]
    fn members_that_lost_their_leader_take_turns_until_one_leads() {
        let voters = BTreeSet::from([1, 2, 3]);
        let turns = |me: u64| {
            let mut elections = Elections::new(Draws::new(me));
            elections.suspect(10, me, 1, &voters);
            (10..40)
                .filter(|now| elections.tries_early(*now, StateRole::Follower, false))
                .collect::<Vec<u64>>()
        };
        let (second, third) = (turns(2), turns(3));
        assert_eq!(second[0], 11);
        assert!(second.iter().all(|turn| !third.contains(turn)), "{second:?} {third:?}");
        assert!(second.len() > 1 && second.last() <= Some(&(10 + SUSPICION_TICKS)));
        let mut elections = Elections::new(Draws::new(1));
        elections.suspect(10, 2, 1, &voters);
        assert!(!elections.tries_early(11, StateRole::Follower, true));
        assert!(
            !elections.tries_early(12, StateRole::Follower, false),
            "once a leader is known it is over"
        );
    }

    #[test]
    fn member_waits_for_the_election_of_another_and_for_its_own() {
        let mut elections = Elections::new(Draws::new(1));
        elections.suspect(10, 3, 1, &BTreeSet::from([1, 2, 3]));
        elections.asked_by_another(11);
        let mut turns = (11..40).filter(|now| elections.tries_early(*now, StateRole::PreCandidate, false));
        assert_eq!(turns.next(), Some(11 + SUSPICION_ELECTION_TICKS + SUSPICION_SLOT_TICKS));
        drop(turns);
        elections.suspect(50, 2, 1, &BTreeSet::from([1, 2, 3]));
        let mut turns = (51..90).filter(|now| elections.tries_early(*now, StateRole::Candidate, false));
        assert_eq!(turns.next(), Some(51 + SUSPICION_ELECTION_TICKS), "votes were split");
    }
}
