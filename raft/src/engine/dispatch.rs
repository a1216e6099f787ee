//! Where proposals go: into the log of a leader, or to the leader. Shell.

use std::collections::BTreeMap;

use berth_proto::v1::{self, RefusalReason, peer_message::Content as PeerContent, proposal::Content as Proposed};
use raft::ProgressState;
use raft::eraftpb::Entry;

use super::proposals::{Content, Sending};
use super::{Answer, Engine, Forwarded, Outputs};
use crate::error::{MembershipError, ProposeError, RaftFault};
use crate::membership::{MembershipChange, Reachability};
use crate::options::MAX_MESSAGE_BYTES;
use crate::state_machine::StateMachine;

/// Ticks after which a proposal is offered again that was not taken for a reason that passes.
const POSTPONED_TICKS: u64 = 2;

/// A proposal in front of the leader: its own, or that of another member.
struct Offer {
    from: Option<u64>,
    proposal: Sending,
}

/// Entries that will be appended together.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    offers: Vec<Offer>,
    bytes: usize,
}

/// Why an offer is not taken.
enum Refused {
    /// For now; it is to be offered again.
    Postponed,
    /// For this reason.
    Because(MembershipError),
}

/// What is refused of other members, by member.
type Refusals = BTreeMap<u64, Vec<v1::Refusal>>;

impl<M: StateMachine> Engine<M> {
    /// Brings all proposals that wait on their way.
    pub(super) fn dispatch(&mut self, out: &mut impl Outputs<M>) -> Result<(), RaftFault> {
        if self.book.forwarded.is_empty() && !self.book.proposals.has_unsent() {
            return Ok(());
        }
        let led_term = self.member.leads().then(|| self.member.term());
        for ended in self.book.proposals.withhold(led_term) {
            out.answer(ended.ticket, Answer::Proposed(Err(ProposeError::TermPassed)));
        }
        let forwarded = std::mem::take(&mut self.book.forwarded);
        if self.member.leads() && !self.member.hands_over() {
            return self.append(forwarded, out);
        }
        let mut refusals = Refusals::new();
        for Forwarded { from, proposal } in forwarded {
            let refusal = refusal(&proposal, RefusalReason::NotLeader, (0, 0));
            refusals.entry(from).or_default().push(refusal);
        }
        self.post_refusals(refusals);
        if let Some(leader) = self.member.leader()
            && leader != self.member.id()
        {
            self.forward(leader);
        }
        Ok(())
    }

    fn forward(&mut self, leader: u64) {
        let mut group = Vec::new();
        let mut bytes = 0;
        for sending in self.book.proposals.take_unsent(self.book.now, false) {
            let next = sending.content.bytes();
            if !group.is_empty() && bytes + next > MAX_MESSAGE_BYTES {
                let proposals = std::mem::take(&mut group);
                self.book
                    .post(leader, PeerContent::Proposals(v1::Proposals { proposals }));
                bytes = 0;
            }
            bytes += next;
            group.push(v1::Proposal {
                id: sending.id.encode(),
                content: Some(match sending.content {
                    Content::Command(data) => Proposed::Command(data),
                    Content::Change(change) => Proposed::MembershipChange(change.into()),
                }),
                attempt: sending.attempt,
            });
        }
        if !group.is_empty() {
            self.book
                .post(leader, PeerContent::Proposals(v1::Proposals { proposals: group }));
        }
    }

    fn append(&mut self, forwarded: Vec<Forwarded>, out: &mut impl Outputs<M>) -> Result<(), RaftFault> {
        let own = self.book.proposals.take_unsent(self.book.now, true);
        let offers = forwarded
            .into_iter()
            .map(|forwarded| (Some(forwarded.from), forwarded.proposal))
            .chain(own.into_iter().map(|proposal| (None, proposal)))
            .map(|(from, proposal)| Offer { from, proposal });
        let disk_full = self.disk_full()?;
        let mut refusals = Refusals::new();
        let mut group = Group::default();
        for offer in offers {
            let id = offer.proposal.id;
            let known = self.member.proposals().contains(id);
            if known || self.book.in_flight.contains(&(id.origin, id.sequence)) {
                continue;
            }
            if let Some(error) = &disk_full {
                self.refuse(offer, Refused::Because(error.clone().into()), &mut refusals, out);
                continue;
            }
            if let Content::Change(change) = &offer.proposal.content {
                let change = change.clone();
                self.append_group(std::mem::take(&mut group), &mut refusals, out);
                self.append_change(offer, change, &mut refusals, out);
                continue;
            }
            let bytes = offer.proposal.content.bytes();
            if !group.entries.is_empty() && group.bytes + bytes > MAX_MESSAGE_BYTES {
                self.append_group(std::mem::take(&mut group), &mut refusals, out);
            }
            group.add(offer);
        }
        self.append_group(group, &mut refusals, out);
        self.post_refusals(refusals);
        Ok(())
    }

    fn append_group(&mut self, group: Group, refusals: &mut Refusals, out: &mut impl Outputs<M>) {
        if group.entries.is_empty() {
            return;
        }
        let is_awaited = group.offers.iter().any(|offer| offer.from.is_some());
        if self.member.append(group.entries, is_awaited).is_ok() {
            let ids = group.offers.iter().map(|offer| offer.proposal.id);
            self.book.in_flight.extend(ids.map(|id| (id.origin, id.sequence)));
            return;
        }
        for offer in group.offers {
            let refused = Refused::Because(ProposeError::Overloaded.into());
            self.refuse(offer, refused, refusals, out);
        }
    }

    fn append_change(
        &mut self,
        offer: Offer,
        change: MembershipChange,
        refusals: &mut Refusals,
        out: &mut impl Outputs<M>,
    ) {
        if let Err(refused) = self.check_change(&change) {
            self.refuse(offer, refused, refusals, out);
            return;
        }
        let entry = self.member.change_entry(offer.proposal.id.encode(), change);
        let group = Group {
            entries: vec![entry],
            offers: vec![offer],
            bytes: 0,
        };
        self.append_group(group, refusals, out);
    }

    fn check_change(&mut self, change: &MembershipChange) -> Result<(), Refused> {
        let me = self.member.id();
        if !self.member.has_applied_of_its_term() {
            // What its predecessors left in the log may hold a change: a new leader does not know yet.
            return Err(Refused::Postponed);
        }
        if self.member.node().raft.has_pending_conf() {
            return Err(Refused::Because(MembershipError::ChangeUnderWay));
        }
        if matches!(change, MembershipChange::Add(_)) && self.member.log().snapshot_meta().index == 0 {
            // A group founded by an older version writes its first snapshot now. Given the log from its first entry on instead, a new
            // member would know of no voters, and could not go on where the log first changes who is a member.
            return Err(Refused::Postponed);
        }
        let raft = &self.member.node().raft;
        let last = raft.raft_log.last_index();
        let progress = raft.prs().iter();
        let now = Reachability {
            alive: self.alive(),
            lag: progress
                // One that has nothing yet, or is fetching a snapshot, lacks more than entries.
                .filter(|(_, progress)| progress.matched > 0 && progress.state != ProgressState::Snapshot)
                .map(|(id, progress)| (*id, last - progress.matched))
                .collect(),
            log_entries: last,
        };
        if let Err(error) = self.member.configuration().check(change, &now) {
            // One that was not heard yet may be about to answer.
            let unheard = match error {
                MembershipError::WouldLoseQuorum { .. } => true,
                MembershipError::LagsBehind { member, .. } => !now.has_heard(member),
                _ => false,
            };
            return Err(if unheard && !self.has_had_time_to_hear() {
                Refused::Postponed
            } else {
                Refused::Because(error)
            });
        }
        if matches!(change, MembershipChange::Remove { member, .. } if *member == me)
            && let Some(successor) = self.successor()
        {
            // The change is made by whoever leads then.
            self.member.transfer_leadership(successor);
            return Err(Refused::Postponed);
        }
        Ok(())
    }

    fn disk_full(&self) -> Result<Option<ProposeError>, RaftFault> {
        let free_bytes = self.member.log().store().free_bytes()?;
        let required_bytes = self.options.required_free_bytes;
        Ok((free_bytes < required_bytes).then_some(ProposeError::DiskFull {
            free_bytes,
            required_bytes,
        }))
    }

    fn refuse(&mut self, offer: Offer, refused: Refused, refusals: &mut Refusals, out: &mut impl Outputs<M>) {
        let Offer { from, proposal } = offer;
        if let Some(from) = from {
            let refusal = match refused {
                Refused::Postponed => refusal(&proposal, RefusalReason::NotLeader, (0, 0)),
                Refused::Because(error) => {
                    let (reason, numbers) = encode_reason(&error);
                    refusal(&proposal, reason, numbers)
                }
            };
            refusals.entry(from).or_default().push(refusal);
            return;
        }
        let error = match refused {
            Refused::Postponed => None,
            Refused::Because(error) => Some(error),
        };
        self.refused(proposal.id.sequence, proposal.attempt, error, out);
    }

    fn post_refusals(&mut self, refusals: Refusals) {
        for (member, refusals) in refusals {
            self.book.post(member, PeerContent::Refusals(v1::Refusals { refusals }));
        }
    }

    /// A proposal of this member was not taken, here or by the leader.
    pub(super) fn refused(
        &mut self,
        sequence: u64,
        attempt: u32,
        error: Option<MembershipError>,
        out: &mut impl Outputs<M>,
    ) {
        let retry_at = self.book.now + POSTPONED_TICKS;
        let Some(error) = error else {
            self.book.proposals.postponed(sequence, attempt, retry_at);
            return;
        };
        let Some(ended) = self.book.proposals.refused(sequence, attempt, retry_at) else {
            return;
        };
        let answer = match (ended.is_change, error) {
            (true, error) => Answer::Changed(Err(error)),
            (false, MembershipError::Propose(error)) => Answer::Proposed(Err(error)),
            // No leader refuses a command for such a reason; a proposal that it did not take is overload.
            (false, _) => Answer::Proposed(Err(ProposeError::Overloaded)),
        };
        out.answer(ended.ticket, answer);
    }

    /// The leader did not take proposals of this member.
    pub(super) fn take_refusals(&mut self, refusals: v1::Refusals, out: &mut impl Outputs<M>) {
        for refusal in refusals.refusals {
            let id = super::ids::ProposalId::decode(&refusal.id);
            if let Some(id) = id.filter(|id| id.origin == self.book.proposals.origin()) {
                self.refused(id.sequence, refusal.attempt, decode_reason(&refusal), out);
            }
        }
    }
}

impl Group {
    fn add(&mut self, mut offer: Offer) {
        self.bytes += offer.proposal.content.bytes();
        let data = match &mut offer.proposal.content {
            Content::Command(data) => std::mem::take(data),
            Content::Change(_) => return,
        };
        self.entries.push(Entry {
            data,
            context: offer.proposal.id.encode(),
            ..Entry::default()
        });
        self.offers.push(offer);
    }
}

fn refusal(proposal: &Sending, reason: RefusalReason, numbers: (u64, u64)) -> v1::Refusal {
    v1::Refusal {
        id: proposal.id.encode(),
        attempt: proposal.attempt,
        reason: reason.into(),
        first: numbers.0,
        second: numbers.1,
    }
}

fn encode_reason(error: &MembershipError) -> (RefusalReason, (u64, u64)) {
    match *error {
        MembershipError::ChangeUnderWay => (RefusalReason::ChangeUnderWay, (0, 0)),
        MembershipError::NoSuchMember { member } => (RefusalReason::NoSuchMember, (member, 0)),
        MembershipError::IdUsed { member } => (RefusalReason::IdUsed, (member, 0)),
        MembershipError::VotesAlready { member } => (RefusalReason::VotesAlready, (member, 0)),
        MembershipError::LagsBehind { member, entries } => (RefusalReason::LagsBehind, (member, entries)),
        MembershipError::WouldLoseQuorum { alive, needed } => {
            (RefusalReason::WouldLoseQuorum, (alive as u64, needed as u64))
        }
        MembershipError::TooManyMembers { members } => (RefusalReason::TooManyMembers, (members as u64, 0)),
        MembershipError::RecordTooLarge { bytes, max_bytes } => {
            (RefusalReason::RecordTooLarge, (bytes as u64, max_bytes as u64))
        }
        MembershipError::LastVoter { member } => (RefusalReason::LastVoter, (member, 0)),
        MembershipError::Propose(ProposeError::DiskFull {
            free_bytes,
            required_bytes,
        }) => (RefusalReason::DiskFull, (free_bytes, required_bytes)),
        MembershipError::Propose(_) => (RefusalReason::Overloaded, (0, 0)),
    }
}

/// The reason of a refusal; none if the proposal is to be offered again.
fn decode_reason(refusal: &v1::Refusal) -> Option<MembershipError> {
    let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (first, second) = (refusal.first, refusal.second);
    Some(match refusal.reason() {
        RefusalReason::NotLeader => return None,
        RefusalReason::Overloaded | RefusalReason::Unspecified => ProposeError::Overloaded.into(),
        RefusalReason::DiskFull => MembershipError::Propose(ProposeError::DiskFull {
            free_bytes: first,
            required_bytes: second,
        }),
        RefusalReason::ChangeUnderWay => MembershipError::ChangeUnderWay,
        RefusalReason::NoSuchMember => MembershipError::NoSuchMember { member: first },
        RefusalReason::IdUsed => MembershipError::IdUsed { member: first },
        RefusalReason::VotesAlready => MembershipError::VotesAlready { member: first },
        RefusalReason::LagsBehind => MembershipError::LagsBehind {
            member: first,
            entries: second,
        },
        RefusalReason::WouldLoseQuorum => MembershipError::WouldLoseQuorum {
            alive: small(first),
            needed: small(second),
        },
        RefusalReason::TooManyMembers => MembershipError::TooManyMembers { members: small(first) },
        RefusalReason::RecordTooLarge => MembershipError::RecordTooLarge {
            bytes: small(first),
            max_bytes: small(second),
        },
        RefusalReason::LastVoter => MembershipError::LastVoter { member: first },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_sent_to_another_member_keeps_its_reason() {
        let errors = [
            MembershipError::ChangeUnderWay,
            MembershipError::NoSuchMember { member: 3 },
            MembershipError::IdUsed { member: 3 },
            MembershipError::VotesAlready { member: 3 },
            MembershipError::LagsBehind { member: 3, entries: 9 },
            MembershipError::WouldLoseQuorum { alive: 1, needed: 2 },
            MembershipError::TooManyMembers { members: 9 },
            MembershipError::RecordTooLarge { bytes: 9, max_bytes: 3 },
            MembershipError::LastVoter { member: 3 },
            MembershipError::Propose(ProposeError::Overloaded),
            MembershipError::Propose(ProposeError::DiskFull {
                free_bytes: 1,
                required_bytes: 2,
            }),
        ];
        for error in errors {
            let (reason, (first, second)) = encode_reason(&error);
            let refusal = v1::Refusal {
                reason: reason.into(),
                first,
                second,
                ..v1::Refusal::default()
            };
            assert_eq!(decode_reason(&refusal), Some(error));
        }
    }
}
