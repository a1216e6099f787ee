//! How a removed member leaves. Shell.
//!
//! A member that applied its removal may be needed still: others that have not may be unable to elect a leader without
//! its vote, since they count it among the voters. So it goes on, asking whether it may stop; and it is told so only
//! by those who know that a majority of those who stay has heard of the removal.

use berth_proto::v1::{MemberLeaving, MemberRemoved, peer_message::Content as PeerContent};

use super::Engine;
use crate::options::{ALIVE_TICKS, LEAVING_TICKS};
use crate::state_machine::StateMachine;

impl<M: StateMachine> Engine<M> {
    fn is_leaving(&self) -> bool {
        self.member.configuration().was_removed(self.member.id())
    }

    /// Asks again whether this member may stop.
    pub(super) fn tick_leaving(&mut self) {
        if !self.book.now.is_multiple_of(LEAVING_TICKS) || !self.is_leaving() {
            return;
        }
        for member in self.member.configuration().ids() {
            self.book.post(member, PeerContent::MemberLeaving(MemberLeaving {}));
        }
    }

    /// A member that was removed said something: it is told, once it is not needed.
    pub(super) fn dismiss(&mut self, member: u64) {
        let dispensable = if self.member.leads() {
            self.majority_knows_membership()
        } else {
            // A leader has led for so long since that its heartbeats have told a majority.
            self.member.leader().is_some() && self.book.now >= self.book.membership_since + ALIVE_TICKS
        };
        if dispensable {
            self.book.post(member, PeerContent::MemberRemoved(MemberRemoved {}));
        }
    }

    /// Whether a majority of the voters has said to this leader that it knows the newest membership to be committed.
    fn majority_knows_membership(&self) -> bool {
        let configuration = self.member.configuration();
        let (me, voters) = (self.member.id(), configuration.voters());
        let progress = self.member.node().raft.prs();
        let knows = |voter: &&u64| {
            let told = progress.get(**voter).map_or(0, |progress| progress.committed_index);
            **voter == me || told >= configuration.index
        };
        voters.iter().filter(knows).count() > voters.len() / 2
    }
}
