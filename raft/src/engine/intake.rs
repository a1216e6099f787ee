//! What other members say: taken in, each kind of message where it belongs. Shell.

use berth_proto::v1::{self, peer_message::Content as PeerContent, proposal::Content as Proposed};
use prost_for_raft::Message as _;
use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, SnapshotStatus};

use super::ids::ProposalId;
use super::proposals::{Content, Sending};
use super::transfers::{Fetch, Fetched};
use super::{Engine, Forwarded, Outputs};
use crate::error::{RaftFault, ReceiveError};
use crate::founding::Identity;
use crate::log_storage::Leftovers;
use crate::membership::change_from_record;
use crate::state_machine::StateMachine;

/// Whether a message is for a member: from its group, and to it.
pub(crate) fn check_address(identity: Identity, message: &v1::PeerMessage) -> Result<(), ReceiveError> {
    if message.cluster_id != identity.cluster.0 {
        return Err(ReceiveError::WrongCluster {
            ours: identity.cluster,
            theirs: hex::encode(&message.cluster_id),
        });
    }
    if message.to != identity.member_id {
        return Err(ReceiveError::WrongMember {
            ours: identity.member_id,
            theirs: message.to,
        });
    }
    Ok(())
}

impl<M: StateMachine> Engine<M> {
    /// Takes in a message of another member. One of another group, or for another member, is dropped.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage fails.
    pub fn receive(&mut self, message: v1::PeerMessage, out: &mut impl Outputs<M>) -> Result<(), RaftFault> {
        if let Err(error) = check_address(self.book.identity, &message) {
            tracing::warn!(from = message.from, %error, "raft message refused");
            return Ok(());
        }
        let from = message.from;
        if self.member.configuration().was_removed(from) {
            self.dismiss(from);
            return Ok(());
        }
        self.book.heard.insert(from, self.book.now);
        match message.content {
            Some(PeerContent::Raft(bytes)) => self.receive_raft(from, &bytes),
            Some(PeerContent::Proposals(proposals)) => {
                self.take_proposals(from, proposals);
                Ok(())
            }
            Some(PeerContent::Refusals(refusals)) => {
                self.take_refusals(refusals, out);
                Ok(())
            }
            Some(PeerContent::SnapshotPull(pull)) => self.serve_chunks(from, &pull),
            Some(PeerContent::SnapshotChunks(chunks)) => self.take_chunks(from, chunks),
            Some(PeerContent::SnapshotFailed(failed)) => {
                self.snapshot_failed(from, failed.index);
                Ok(())
            }
            Some(PeerContent::MemberRemoved(_)) => {
                tracing::warn!(from, "this member was removed from its group");
                self.book.removed = true;
                Ok(())
            }
            // To a member that has not heard of the removal yet it says nothing; what a newer version says neither.
            Some(PeerContent::MemberLeaving(_)) | None => Ok(()),
        }
    }

    fn receive_raft(&mut self, from: u64, bytes: &[u8]) -> Result<(), RaftFault> {
        // A question to hand over is in the name of who is to lead, whoever asks.
        let is_from =
            |message: &Message| message.from == from || message.get_msg_type() == MessageType::MsgTransferLeader;
        let message = match Message::decode(bytes) {
            Ok(message) if is_from(&message) && message.to == self.member.id() => message,
            Ok(_) | Err(_) => {
                tracing::warn!(from, "raft message that cannot be read, or is not from its sender");
                return Ok(());
            }
        };
        match message.get_msg_type() {
            MessageType::MsgSnapshot => return self.begin_fetch(message),
            MessageType::MsgRequestPreVote | MessageType::MsgRequestVote => {
                self.book.elections.asked_by_another(self.book.now);
                self.member.step(message);
            }
            // Proposals have a message of their own, which carries refusals back.
            MessageType::MsgPropose => {}
            _ => self.member.step(message),
        }
        Ok(())
    }

    fn take_proposals(&mut self, from: u64, proposals: v1::Proposals) {
        for proposal in proposals.proposals {
            let content = match proposal.content {
                Some(Proposed::Command(data)) => Some(Content::Command(data)),
                Some(Proposed::MembershipChange(change)) => change_from_record(change).map(Content::Change),
                None => None,
            };
            if let (Some(id), Some(content)) = (ProposalId::decode(&proposal.id), content) {
                let attempt = proposal.attempt;
                let proposal = Sending { id, content, attempt };
                self.book.forwarded.push(Forwarded { from, proposal });
            }
        }
    }

    fn begin_fetch(&mut self, message: Message) -> Result<(), RaftFault> {
        let (term, index) = (message.term, message.get_snapshot().get_metadata().index);
        if term < self.member.term() || index <= self.member.node().raft.raft_log.committed {
            // The library says what it thinks of it.
            self.member.step(message);
            return Ok(());
        }
        if let Some(fetch) = &self.book.fetch {
            if fetch.is_of(&message) || fetch.term() > term {
                return Ok(());
            }
            let leftovers = fetch.leftovers();
            self.book.jobs.clear(leftovers);
            self.book.fetch = None;
        }
        let slot = self.member.log_mut().new_snapshot_slot();
        let Some(fetch) = Fetch::begin(message, slot) else {
            return Ok(());
        };
        tracing::info!(raft_index = index, from = fetch.from, "fetching a snapshot");
        if fetch.is_complete() {
            let (message, meta) = fetch.announcement();
            self.member.step_snapshot(message, meta);
            return Ok(());
        }
        self.book.fetch = Some(fetch);
        self.pull();
        Ok(())
    }

    fn pull(&mut self) {
        let now = self.book.now;
        if let Some(fetch) = &mut self.book.fetch {
            let (from, pull) = (fetch.from, fetch.ask(now));
            self.book.post(from, PeerContent::SnapshotPull(pull));
        }
    }

    fn take_chunks(&mut self, from: u64, chunks: v1::SnapshotChunks) -> Result<(), RaftFault> {
        let Some(fetch) = self.book.fetch.as_mut().filter(|fetch| fetch.from == from) else {
            return Ok(());
        };
        match fetch.take(chunks, &**self.member.log().store())? {
            Fetched::More => self.pull(),
            Fetched::Ignored => {}
            Fetched::Damaged(reason) => {
                tracing::warn!(from, %reason, "a snapshot arrived damaged");
                self.give_up_fetch();
            }
            Fetched::Complete(complete) => {
                let (message, meta) = *complete;
                let leftovers: Leftovers = fetch.leftovers();
                self.book.fetch = None;
                if !self.member.step_snapshot(message, meta) {
                    self.book.jobs.clear(leftovers);
                }
            }
        }
        Ok(())
    }

    /// The leader is told, so that it begins again with the snapshot that it has by then.
    fn give_up_fetch(&mut self) {
        if let Some(fetch) = self.book.fetch.take() {
            self.book.jobs.clear(fetch.leftovers());
            let failed = v1::SnapshotFailed { index: fetch.index() };
            self.book.post(fetch.from, PeerContent::SnapshotFailed(failed));
        }
    }

    fn serve_chunks(&mut self, from: u64, pull: &v1::SnapshotPull) -> Result<(), RaftFault> {
        let now = self.book.now;
        let answer = self.book.serving.answer(now, from, pull, self.member.log())?;
        let content = match answer {
            Some(chunks) => PeerContent::SnapshotChunks(chunks),
            None => PeerContent::SnapshotFailed(v1::SnapshotFailed { index: pull.index }),
        };
        self.book.post(from, content);
        Ok(())
    }

    /// Said by a receiver, the transfer failed there; said by a sender, it has the snapshot no more.
    fn snapshot_failed(&mut self, from: u64, index: u64) {
        if self.member.leads() {
            self.member.report_snapshot(from, SnapshotStatus::Failure);
        }
        let ours = |fetch: &Fetch| fetch.from == from && fetch.index() == index;
        if self.book.fetch.as_ref().is_some_and(ours) {
            self.give_up_fetch();
        }
    }

    /// Time passed: what was lost of a transfer is asked for again, or the transfer is begun again.
    pub(super) fn tick_transfers(&mut self) {
        let now = self.book.now;
        let term = self.member.term();
        if let Some(fetch) = &self.book.fetch {
            if fetch.term() < term || (fetch.is_late(now) && fetch.is_hopeless()) {
                self.give_up_fetch();
            } else if fetch.is_late(now) {
                self.pull();
            }
        }
        if !self.member.leads() {
            return;
        }
        let progress = self.member.node().raft.prs().iter();
        // One that knows as much to be committed has installed it, whether or not its answer arrived.
        let standing: Vec<_> = progress
            .map(|(id, progress)| {
                let installed = progress.committed_index >= progress.pending_snapshot;
                (*id, progress.state == ProgressState::Snapshot, installed)
            })
            .collect();
        for (member, fetches, installed) in standing {
            if !fetches {
                self.book.serving.ended(member);
            } else if installed {
                self.member.report_snapshot(member, SnapshotStatus::Finish);
            } else if self.book.serving.is_silent(now, member) {
                self.member.report_snapshot(member, SnapshotStatus::Failure);
            }
        }
    }
}
