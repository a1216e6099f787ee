//! One member of the group, stepped by hand: consensus, its durable state, and the machine. Shell.
//!
//! Owns the order in which what the library gives is sent, persisted and applied; it must not know of
//! clocks, of who waits, or of what other members are told beside the library's messages.

use std::sync::Arc;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use prost_for_raft::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType, Message, MessageType};
use raft::{Config, INVALID_ID, RawNode, ReadOnlyOption, ReadState, Ready, SnapshotStatus, StateRole};

use super::applied_proposals::AppliedProposals;
use super::ids::ProposalId;
use crate::error::RaftFault;
use crate::handle::{Applied, Published};
use crate::log_storage::{Leftovers, LogStorage};
use crate::membership::{Configuration, MembershipChange, change_from_record};
use crate::options::{
    ELECTION_TICKS, HEARTBEAT_TICKS, MAX_APPLY_BYTES, MAX_ELECTION_TICKS, MAX_INFLIGHT_MESSAGES, MAX_MESSAGE_BYTES,
    MAX_UNCOMMITTED_BYTES,
};
use crate::state_machine::StateMachine;
use crate::{slog_drain, snapshot};
use berth_storage::Storage;

/// A member with its machine.
pub(super) struct Member<M: StateMachine> {
    node: RawNode<LogStorage>,
    machine: M,
    proposals: AppliedProposals,
    applied_index: u64,
    applied_term: u64,
    /// The snapshot of another member whose chunks are stored, until the library asks for its installation.
    arrived: Option<v1::SnapshotMeta>,
    /// What others wait for to be committed: the newest entry that one of them proposed.
    awaited_index: u64,
    /// What a leader told the others to be committed when one of them asked last.
    told_index: u64,
}

/// What becomes of a pass over the member, while it is under way.
pub(super) trait Progress<M: StateMachine> {
    /// Messages are to go out now.
    fn send(&mut self, messages: Vec<Message>);
    /// Entries were applied, or with `replaced` a snapshot took the place of the state.
    fn applied(&mut self, member: &Member<M>, applied: Vec<AppliedEntry<M::Outcome>>, replaced: Option<Leftovers>);
    /// The leader confirmed reads.
    fn confirmed(&mut self, reads: Vec<ReadState>);
}

/// What one entry was.
pub(super) struct AppliedEntry<O> {
    /// The proposal that it carried.
    pub(super) id: Option<ProposalId>,
    /// What came of it.
    pub(super) effect: Effect<O>,
}

/// What applying an entry did.
pub(super) enum Effect<O> {
    /// The machine applied a command.
    Command(Applied<O>),
    /// The membership changed, at this index.
    Membership(u64),
    /// Nothing: it was applied before.
    Repeated,
}

impl<M: StateMachine> Member<M> {
    /// Opens a member on its storage, its machine as the newest snapshot left it.
    pub(super) fn open(store: Arc<dyn Storage>, mut machine: M, member_id: u64) -> Result<Self, RaftFault> {
        let log = LogStorage::open(store)?;
        let meta = log.snapshot_meta().clone();
        let mut proposals = AppliedProposals::default();
        if meta.index > 0 {
            proposals = snapshot::restore(&**log.store(), &meta, &mut machine)?;
        }
        let config = Config {
            id: member_id,
            election_tick: ELECTION_TICKS,
            min_election_tick: ELECTION_TICKS,
            max_election_tick: MAX_ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: meta.index,
            max_size_per_msg: MAX_MESSAGE_BYTES as u64,
            max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_APPLY_BYTES,
            // That entries are committed the others learn with the next ones, or a heartbeat, unless somebody there waits.
            skip_bcast_commit: true,
            ..Config::default()
        };
        let node = RawNode::new(&config, log, &slog_drain::logger(member_id))
            .map_err(library_fault("start from the stored state"))?;
        Ok(Self {
            node,
            machine,
            proposals,
            applied_index: meta.index,
            applied_term: meta.term,
            arrived: None,
            awaited_index: 0,
            told_index: 0,
        })
    }

    pub(super) fn node(&self) -> &RawNode<LogStorage> {
        &self.node
    }

    pub(super) fn id(&self) -> u64 {
        self.node.raft.id
    }

    pub(super) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(super) fn state(&self) -> StateRole {
        self.node.raft.state
    }

    pub(super) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(super) fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|leader| *leader != INVALID_ID)
    }

    /// Whether the newest entry that is applied was written by the leader of the current term.
    pub(super) fn has_applied_of_its_term(&self) -> bool {
        self.applied_term == self.term()
    }

    /// Whether leadership is on its way to another member.
    pub(super) fn hands_over(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    pub(super) fn configuration(&self) -> &Configuration {
        self.node.store().configuration()
    }

    pub(super) fn applied_index(&self) -> u64 {
        self.applied_index
    }

    pub(super) fn proposals(&self) -> &AppliedProposals {
        &self.proposals
    }

    pub(super) fn log(&self) -> &LogStorage {
        self.node.store()
    }

    pub(super) fn log_mut(&mut self) -> &mut LogStorage {
        self.node.mut_store()
    }

    /// A member that is alone leads at once, instead of waiting for an election.
    pub(super) fn campaign_if_alone(&mut self) -> Result<(), RaftFault> {
        if self.is_alone() {
            self.node.campaign().map_err(library_fault("campaign"))?;
        }
        Ok(())
    }

    /// Asks to be elected, if those asked know of no leader.
    pub(super) fn campaign(&mut self) {
        // A member that must apply a change of the membership first is told so, and waits for its next turn.
        self.node.campaign().ok();
    }

    /// Forgets who leads, so that another can be elected before the timeout.
    pub(super) fn forget_leader(&mut self) {
        let term = self.node.raft.term;
        self.node.raft.become_follower(term, INVALID_ID);
    }

    /// Moves Raft's logical clock; the timeout is that of the next election.
    pub(super) fn tick(&mut self, election_timeout: usize) {
        self.node.raft.set_randomized_election_timeout(election_timeout);
        self.node.tick();
    }

    /// Takes in a message of the library. What it does not accept is dropped, as if it had been lost.
    pub(super) fn step(&mut self, message: Message) {
        if message.get_msg_type() == MessageType::MsgReadIndex {
            self.tell_commit();
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft message dropped");
        }
    }

    /// Tells the others what is committed, since one of them is about to read it: it may have the entries, and not know that they are.
    fn tell_commit(&mut self) {
        let commit = self.node.raft.raft_log.committed;
        if self.leads() && commit > self.told_index {
            self.told_index = commit;
            self.node.raft.bcast_append();
        }
    }

    /// Appends entries to the log of a leader, all or none. If another member proposed any, it is told at once when they are committed.
    pub(super) fn append(&mut self, entries: Vec<Entry>, is_awaited: bool) -> Result<(), raft::Error> {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id();
        message.set_entries(entries);
        self.node.step(message)?;
        if is_awaited {
            self.awaited_index = self.node.raft.raft_log.last_index();
            self.node.skip_bcast_commit(false);
        }
        Ok(())
    }

    /// The entry that makes a change of the membership.
    pub(super) fn change_entry(&self, id: Vec<u8>, change: MembershipChange) -> Entry {
        let mut step = ConfChangeV2::default();
        step.set_changes(vec![self.configuration().step(&change)]);
        step.context = record::encode_message(RecordKind::MembershipChange, &v1::MembershipChange::from(change));
        let mut entry = Entry {
            data: step.encode_to_vec(),
            context: id,
            ..Entry::default()
        };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry
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

    pub(super) fn transfer_leadership(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    pub(super) fn report_unreachable(&mut self, member: u64) {
        self.node.report_unreachable(member);
    }

    pub(super) fn report_snapshot(&mut self, member: u64, status: SnapshotStatus) {
        self.node.report_snapshot(member, status);
    }

    /// Takes in the library's message about a snapshot whose chunks are stored. Whether it will be installed.
    pub(super) fn step_snapshot(&mut self, message: Message, meta: v1::SnapshotMeta) -> bool {
        let index = meta.index;
        self.step(message);
        let taken = self
            .node
            .snap()
            .is_some_and(|snapshot| snapshot.get_metadata().index == index);
        if taken {
            self.arrived = Some(meta);
        }
        taken
    }

    /// The machine's state with its place in the log.
    pub(super) fn published(&self) -> Published<M::View> {
        Published {
            index: self.applied_index,
            term: self.applied_term,
            view: self.machine.view(),
        }
    }

    /// The metadata of a snapshot of the state as it is now.
    pub(super) fn new_snapshot_meta(&mut self) -> v1::SnapshotMeta {
        v1::SnapshotMeta {
            index: self.applied_index,
            term: self.applied_term,
            membership: Some(self.configuration().to_record()),
            slot: self.log_mut().new_snapshot_slot(),
            ..v1::SnapshotMeta::default()
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.configuration().is_only_voter(self.id())
    }

    pub(super) fn has_work(&self) -> bool {
        self.node.has_ready()
    }

    /// One pass in the order that keeps every promise: a leader's messages, which promise nothing, go out
    /// first, so that others write at the same time; what is committed and on the disk already is applied;
    /// then a snapshot, entries and hard state become durable; then messages that promise durability go out;
    /// then what that committed is applied.
    pub(super) fn pass(&mut self, progress: &mut impl Progress<M>) -> Result<(), RaftFault> {
        let mut ready = self.node.ready();
        send(progress, ready.take_messages());
        if !ready.snapshot().is_empty() {
            let leftovers = self.install(&ready)?;
            progress.applied(self, Vec::new(), Some(leftovers));
        }
        self.apply(ready.take_committed_entries(), progress)?;
        self.persist(&ready)?;
        send(progress, ready.take_persisted_messages());
        let reads = ready.take_read_states();
        if !reads.is_empty() {
            progress.confirmed(reads);
        }

        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.log_mut().note_commit(commit);
        }
        send(progress, light.take_messages());
        self.apply(light.take_committed_entries(), progress)?;
        self.node.advance_apply();
        if self.awaited_index <= self.node.raft.raft_log.committed {
            self.node.skip_bcast_commit(true);
        }
        Ok(())
    }

    fn persist(&mut self, ready: &Ready) -> Result<(), RaftFault> {
        let mut hard_state = ready.hs().cloned();
        if let Some(last) = ready.entries().last()
            && self.leads()
            && self.is_alone()
        {
            // What the only voter has on disk is committed by that alone, so a restart need not wait for it.
            let state = hard_state.get_or_insert_with(|| self.node.store().hard_state());
            state.commit = state.commit.max(last.index);
        }
        self.log_mut().persist(ready.entries(), hard_state)
    }

    fn install(&mut self, ready: &Ready) -> Result<Leftovers, RaftFault> {
        let index = ready.snapshot().get_metadata().index;
        let meta = self.arrived.take().filter(|meta| meta.index == index);
        let meta = meta.ok_or_else(|| RaftFault::damaged(format!("no snapshot at {index} has arrived")))?;
        let configuration = Configuration::from_record(meta.membership.clone().unwrap_or_default());
        let leftovers = self
            .log_mut()
            .install_foreign_snapshot(meta.clone(), configuration, ready.hs().cloned())?;
        let store = Arc::clone(self.log().store());
        self.proposals = snapshot::restore(&*store, &meta, &mut self.machine)?;
        (self.applied_index, self.applied_term) = (meta.index, meta.term);
        Ok(leftovers)
    }

    fn apply(&mut self, entries: Vec<Entry>, progress: &mut impl Progress<M>) -> Result<(), RaftFault> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut applied = Vec::with_capacity(entries.len());
        for entry in entries {
            let (index, term) = (entry.index, entry.term);
            if let Some(entry) = self.apply_entry(entry)? {
                applied.push(entry);
            }
            (self.applied_index, self.applied_term) = (index, term);
        }
        progress.applied(self, applied, None);
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<Option<AppliedEntry<M::Outcome>>, RaftFault> {
        let kind = entry.get_entry_type();
        // The entry that opens a leader's term carries no command.
        if entry.data.is_empty() && kind == EntryType::EntryNormal {
            return Ok(None);
        }
        let Entry {
            index,
            term,
            data,
            context,
            ..
        } = entry;
        let id = ProposalId::decode(&context);
        let effect = if id.is_some_and(|id| !self.proposals.record(id, index)) {
            Effect::Repeated
        } else if kind == EntryType::EntryNormal {
            let command = record::decode(RecordKind::Command, &data)
                .map_err(RaftFault::record(format!("command of log entry {index}")))?;
            let outcome = self.machine.apply(index, term, command);
            Effect::Command(Applied { index, term, outcome })
        } else {
            self.apply_change(index, &data)?;
            Effect::Membership(index)
        };
        Ok(Some(AppliedEntry { id, effect }))
    }

    /// The new membership becomes durable before it counts, and before anything that follows from it is sent:
    /// a member that forgot it could elect itself with a majority of the old one.
    fn apply_change(&mut self, index: u64, data: &[u8]) -> Result<(), RaftFault> {
        if index <= self.configuration().index {
            // Applied before a restart; the stored membership contains it.
            return Ok(());
        }
        let step = ConfChangeV2::decode(data)
            .map_err(|error| RaftFault::damaged(format!("the membership change at {index} cannot be read: {error}")))?;
        let change = if step.context.is_empty() {
            None
        } else {
            let what = format!("membership change of log entry {index}");
            let stored: v1::MembershipChange =
                record::decode_message(RecordKind::MembershipChange, &step.context).map_err(RaftFault::record(what))?;
            change_from_record(stored)
        };
        let conf = self
            .node
            .apply_conf_change(&step)
            .map_err(library_fault("change the membership"))?;
        let mut configuration = self.configuration().clone();
        configuration.changed(change, conf, index);
        if self.leads() && !configuration.contains(self.id()) {
            // The library does not survive a leader that is no member, once that commits something.
            self.forget_leader();
        }
        self.log_mut().change_membership(configuration)
    }
}

fn send<M: StateMachine>(progress: &mut impl Progress<M>, messages: Vec<Message>) {
    if !messages.is_empty() {
        progress.send(messages);
    }
}

fn library_fault(action: &'static str) -> impl FnOnce(raft::Error) -> RaftFault {
    move |source| RaftFault::Library { action, source }
}
