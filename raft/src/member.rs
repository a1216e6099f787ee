//! One member of the group, stepped by hand: consensus, its durable state, and the machine. Shell.
//!
//! Owns the order in which what the library gives is sent, persisted and applied; it must not know of
//! threads, channels or who waits.

use std::sync::Arc;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use raft::eraftpb::{Entry, EntryType};
use raft::{Config, INVALID_ID, RawNode, ReadOnlyOption, ReadState, Ready, StateRole};

use super::error::{ProposeError, RaftFault};
use super::handle::{Applied, Published, Role, RunState, Status};
use super::log_storage::{Leftovers, LogStorage};
use super::options::{
    ELECTION_TICKS, HEARTBEAT_TICKS, MAX_APPLY_BYTES, MAX_INFLIGHT_MESSAGES, MAX_MESSAGE_BYTES, MAX_UNCOMMITTED_BYTES,
};
use super::state_machine::StateMachine;
use super::transport::Transport;
use super::{convert, slog_drain, snapshot};
use berth_storage::Storage;

/// A member with its machine.
pub(super) struct Member<M: StateMachine> {
    node: RawNode<LogStorage>,
    machine: M,
    transport: Box<dyn Transport>,
    applied_index: u64,
    applied_term: u64,
}

/// What one pass over the member gave.
pub(super) struct Progress<O> {
    /// The commands applied, in order, each with the id of its proposal.
    pub(super) applied: Vec<(Vec<u8>, Applied<O>)>,
    /// The reads that a leader confirmed.
    pub(super) reads: Vec<ReadState>,
}

impl<M: StateMachine> Member<M> {
    /// Opens a member on its storage, its machine as the newest snapshot left it.
    pub(super) fn open(
        store: Arc<dyn Storage>,
        mut machine: M,
        member_id: u64,
        transport: Box<dyn Transport>,
    ) -> Result<Self, RaftFault> {
        let log = LogStorage::open(store, member_id)?;
        let meta = log.snapshot_meta().clone();
        if meta.index > 0 {
            snapshot::restore(&**log.store(), &meta, &mut machine)?;
        }
        let config = Config {
            id: member_id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: meta.index,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_APPLY_BYTES,
            ..Config::default()
        };
        let node = RawNode::new(&config, log, &slog_drain::logger(member_id))
            .map_err(library_fault("start from the stored state"))?;
        Ok(Self {
            node,
            machine,
            transport,
            applied_index: meta.index,
            applied_term: meta.term,
        })
    }

    /// A member that is alone leads at once, instead of waiting for an election.
    pub(super) fn campaign_if_alone(&mut self) -> Result<(), RaftFault> {
        if self.is_alone() {
            self.node.campaign().map_err(library_fault("campaign"))?;
        }
        Ok(())
    }

    /// Moves Raft's logical clock.
    pub(super) fn tick(&mut self) {
        self.node.tick();
    }

    /// Appends a command to the log of a leader; it is durable and committed only after [`Member::process`].
    pub(super) fn propose(&mut self, id: Vec<u8>, data: Vec<u8>) -> Result<(), ProposeError> {
        // The library would pass it on to the leader; refusing lets the caller do so, and know whom it asked.
        if self.node.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        self.node.propose(id, data).map_err(|_| ProposeError::Overloaded)
    }

    /// Whether a question for a read index would be answered rather than dropped.
    pub(super) fn can_read(&self) -> bool {
        match self.node.raft.state {
            StateRole::Leader => self.node.raft.commit_to_current_term(),
            _ => self.leader().is_some(),
        }
    }

    /// Asks the group for a read index; the answer carries the context.
    pub(super) fn ask_read(&mut self, context: Vec<u8>) {
        self.node.read_index(context);
    }

    /// Works off all that the library has ready.
    pub(super) fn process(&mut self) -> Result<Progress<M::Outcome>, RaftFault> {
        let mut progress = Progress {
            applied: Vec::new(),
            reads: Vec::new(),
        };
        while self.node.has_ready() {
            self.process_ready(&mut progress)?;
        }
        Ok(progress)
    }

    /// The machine's state with its place in the log.
    pub(super) fn published(&self) -> Published<M::View> {
        Published {
            index: self.applied_index,
            term: self.applied_term,
            view: self.machine.view(),
        }
    }

    /// How the member stands.
    pub(super) fn status(&self) -> Status {
        let raft = &self.node.raft;
        Status {
            member_id: raft.id,
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            leader: self.leader(),
            term: raft.term,
            commit: raft.raft_log.committed,
            applied: self.applied_index,
            snapshot: self.snapshot_index(),
            run: RunState::Running,
        }
    }

    /// The storage that the member keeps its state in.
    pub(super) fn store(&self) -> &Arc<dyn Storage> {
        self.node.store().store()
    }

    /// Applied entries that no snapshot contains yet.
    pub(super) fn entries_since_snapshot(&self) -> u64 {
        self.applied_index - self.snapshot_index()
    }

    /// Bytes of the log since the snapshot.
    pub(super) fn log_bytes(&self) -> u64 {
        self.node.store().log_bytes()
    }

    /// The metadata of a snapshot of the state as it is now.
    pub(super) fn new_snapshot_meta(&self) -> v1::SnapshotMeta {
        v1::SnapshotMeta {
            index: self.applied_index,
            term: self.applied_term,
            membership: Some(convert::membership_to_record(self.node.store().membership())),
            chunk_count: 0,
            stream_bytes: 0,
        }
    }

    /// Makes a written snapshot the current one and cuts the log.
    pub(super) fn install_snapshot(&mut self, meta: v1::SnapshotMeta) -> Result<Leftovers, RaftFault> {
        self.node.mut_store().install_snapshot(meta)
    }

    fn snapshot_index(&self) -> u64 {
        self.node.store().snapshot_meta().index
    }

    fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|leader| *leader != INVALID_ID)
    }

    fn is_alone(&self) -> bool {
        let membership = self.node.store().membership();
        membership.voters == [self.node.raft.id] && membership.voters_outgoing.is_empty()
    }

    /// One pass in the order that keeps every promise: a leader's messages, which promise nothing, go out
    /// first; then entries and hard state become durable together; then messages that promise durability;
    /// then committed entries are applied, none before its commit index is durable.
    fn process_ready(&mut self, progress: &mut Progress<M::Outcome>) -> Result<(), RaftFault> {
        let mut ready = self.node.ready();
        self.send(ready.take_messages());
        if !ready.snapshot().is_empty() {
            return Err(RaftFault::Unsupported {
                what: "a snapshot from another member",
            });
        }
        self.persist(&ready)?;
        self.send(ready.take_persisted_messages());
        progress.reads.extend(ready.take_read_states());
        self.apply(ready.take_committed_entries(), progress)?;

        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index()
            && commit > self.node.store().durable_commit()
        {
            self.node.mut_store().persist_commit(commit)?;
        }
        self.send(light.take_messages());
        self.apply(light.take_committed_entries(), progress)?;
        self.node.advance_apply();
        Ok(())
    }

    fn persist(&mut self, ready: &Ready) -> Result<(), RaftFault> {
        let mut hard_state = ready.hs().cloned();
        if let Some(last) = ready.entries().last()
            && self.node.raft.state == StateRole::Leader
            && self.is_alone()
        {
            // What the only voter has on disk is committed by that alone, so the commit index goes into the
            // same batch and a proposal costs one sync instead of two.
            let state = hard_state.get_or_insert_with(|| self.node.store().hard_state().clone());
            state.commit = state.commit.max(last.index);
        }
        self.node.mut_store().persist(ready.entries(), hard_state)
    }

    fn send(&mut self, messages: Vec<raft::eraftpb::Message>) {
        if !messages.is_empty() {
            self.transport.send(messages);
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, progress: &mut Progress<M::Outcome>) -> Result<(), RaftFault> {
        for entry in entries {
            if entry.get_entry_type() != EntryType::EntryNormal {
                return Err(RaftFault::Unsupported {
                    what: "a change of the membership",
                });
            }
            let Entry {
                index,
                term,
                data,
                context,
                ..
            } = entry;
            // The entry that opens a leader's term carries no command.
            if !data.is_empty() {
                let command = record::decode(RecordKind::Command, &data)
                    .map_err(RaftFault::record(format!("command of log entry {index}")))?;
                let outcome = self.machine.apply(index, term, command);
                progress.applied.push((context, Applied { index, term, outcome }));
            }
            (self.applied_index, self.applied_term) = (index, term);
        }
        Ok(())
    }
}

fn library_fault(action: &'static str) -> impl FnOnce(raft::Error) -> RaftFault {
    move |source| RaftFault::Library { action, source }
}
