//! What becomes of a pass over the member: messages out, states published, those who wait answered. Shell.

use std::sync::Arc;

use berth_proto::v1::{self, peer_message::Content as PeerContent};
use prost_for_raft::Message as _;
use raft::ReadState;
use raft::eraftpb::{Message, MessageType};

use super::Book;
use super::member::{AppliedEntry, Effect, Member, Progress};
use super::outputs::{Answer, Outputs};
use crate::error::ProposeError;
use crate::handle::Published;
use crate::log_storage::Leftovers;
use crate::state_machine::StateMachine;

/// One pass, with what a member knows and where its outputs go.
pub(super) struct Pass<'a, M: StateMachine, O> {
    book: &'a mut Book<M>,
    out: &'a mut O,
}

impl<'a, M: StateMachine, O: Outputs<M>> Pass<'a, M, O> {
    pub(super) fn new(book: &'a mut Book<M>, out: &'a mut O) -> Self {
        Self { book, out }
    }

    fn answer_reads(&mut self, published: &Arc<Published<M::View>>) {
        for reader in self.book.reads.take_answerable(published.index) {
            self.out.answer(reader.ticket, Answer::Read(Ok(Arc::clone(published))));
        }
    }
}

impl<M: StateMachine, O: Outputs<M>> Progress<M> for Pass<'_, M, O> {
    fn send(&mut self, messages: Vec<Message>) {
        let now = self.book.now;
        let mut envelopes: Vec<v1::PeerMessage> = Vec::with_capacity(messages.len());
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.book.serving.announced(now, message.to);
            }
            envelopes.push(
                self.book
                    .envelope(message.to, PeerContent::Raft(message.encode_to_vec())),
            );
        }
        self.out.send(envelopes);
    }

    fn applied(&mut self, member: &Member<M>, applied: Vec<AppliedEntry<M::Outcome>>, replaced: Option<Leftovers>) {
        let published = Arc::new(member.published());
        self.book.published = Arc::clone(&published);
        let mut outcomes = Vec::new();
        let mut commands = Vec::new();
        let mut changes = Vec::new();
        for AppliedEntry { id, effect } in applied {
            if let Some(id) = id {
                self.book.in_flight.remove(&(id.origin, id.sequence));
            }
            let ours = id.filter(|id| id.origin == self.book.proposals.origin());
            let ended = ours.and_then(|id| match effect {
                Effect::Repeated => None,
                _ => self.book.proposals.applied(id.sequence),
            });
            match effect {
                Effect::Command(applied) => {
                    commands.push(ended);
                    outcomes.push(applied);
                }
                Effect::Membership(index) => changes.extend(ended.map(|ended| (ended, index))),
                Effect::Repeated => {}
            }
        }
        self.out.publish(
            Arc::clone(&published),
            replaced.is_none().then_some(outcomes.as_slice()),
        );
        for (ended, applied) in commands.into_iter().zip(outcomes) {
            if let Some(ended) = ended {
                self.out.answer(ended.ticket, Answer::Proposed(Ok(applied)));
            }
        }
        for (ended, index) in changes {
            self.out.answer(ended.ticket, Answer::Changed(Ok(index)));
        }
        if let Some(leftovers) = replaced {
            self.book.jobs.clear(leftovers);
            let origin = self.book.proposals.origin();
            let covered = |sequence| member.proposals().has_applied(origin, sequence);
            for ended in self.book.proposals.covered_by(covered) {
                let answer = Answer::failed(ended.is_change, ProposeError::OutcomeLost);
                self.out.answer(ended.ticket, answer);
            }
        }
        for ended in self.book.proposals.reached(published.term) {
            let error = ProposeError::TermPassed;
            self.out.answer(ended.ticket, Answer::failed(ended.is_change, error));
        }
        self.answer_reads(&published);
    }

    fn confirmed(&mut self, reads: Vec<ReadState>) {
        for read in reads {
            self.book.reads.confirmed(&read.request_ctx, read.index);
        }
        let published = Arc::clone(&self.book.published);
        self.answer_reads(&published);
    }
}
