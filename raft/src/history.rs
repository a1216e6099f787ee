//! What a store holds of the past: the state of its snapshot, and the entries after it. Shell.
//!
//! Owns how it is read beside a member that goes on meanwhile, or from a store that nobody has open. It changes nothing.

use std::vec;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use berth_storage::Storage;
use raft::eraftpb::{Entry, EntryType};

use super::engine::{AppliedProposals, ProposalId};
use super::error::RaftFault;
use super::founding::{read_message, require};
use super::state_machine::StateMachine;
use super::{keys, snapshot, stored_entries};

/// How often it is tried to read what is there, while a member puts a newer snapshot in its place: each took seconds to write.
const ATTEMPTS: u32 = 5;

/// A state, and the entries that came after it.
pub struct History<M: StateMachine> {
    machine: M,
    index: u64,
    proposals: AppliedProposals,
    entries: vec::IntoIter<Entry>,
}

/// A command that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCommand<C> {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// The command.
    pub command: C,
}

impl<M: StateMachine> std::fmt::Debug for History<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = formatter.debug_struct("History");
        told.field("index", &self.index).finish_non_exhaustive()
    }
}

impl<M: StateMachine + Default> History<M> {
    /// Reads what a store holds, up to the entry `until`, which is committed; without it, up to the last that is known to be. Entries
    /// are held in memory as they are stored: no more than a log has before its next snapshot.
    ///
    /// # Errors
    /// [`RaftFault`] if the store holds no sound state.
    pub fn read(store: &dyn Storage, until: Option<u64>) -> Result<Self, RaftFault> {
        let mut attempts = 1;
        loop {
            let meta = snapshot_meta(store)?;
            let read = Self::read_after(store, &meta, until);
            // What is missing may have been deleted since a newer snapshot took its place.
            if read.is_ok() || attempts == ATTEMPTS || snapshot_meta(store)? == meta {
                return read;
            }
            attempts += 1;
        }
    }

    fn read_after(store: &dyn Storage, meta: &v1::SnapshotMeta, until: Option<u64>) -> Result<Self, RaftFault> {
        let until = match until {
            Some(until) => until.max(meta.index),
            None => {
                let state: v1::HardState = require(store, keys::HARD_STATE, RecordKind::HardState)?;
                state.commit.max(meta.index)
            }
        };
        // Entries first: they are read in no time, and deleted as soon as a snapshot contains them.
        let mut entries = vec![];
        for item in stored_entries::read(store, meta.index + 1..until + 1) {
            let (entry, _) = item?;
            let expected = meta.index + 1 + entries.len() as u64;
            if entry.index != expected {
                let found = entry.index;
                return Err(RaftFault::damaged(format!(
                    "entry {found} stands where entry {expected} should"
                )));
            }
            entries.push(entry);
        }
        let last = meta.index + entries.len() as u64;
        if last != until {
            return Err(RaftFault::damaged(format!(
                "entries up to {until} are committed, the log ends at {last}"
            )));
        }
        let mut machine = M::default();
        let proposals = match meta.index {
            0 => AppliedProposals::default(),
            _ => snapshot::restore(store, meta, &mut machine)?,
        };
        Ok(Self {
            machine,
            index: meta.index,
            proposals,
            entries: entries.into_iter(),
        })
    }
}

impl<M: StateMachine> History<M> {
    /// The index of the state that it begins with.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The last index that it has.
    pub fn last(&self) -> u64 {
        self.entries.as_slice().last().map_or(self.index, |entry| entry.index)
    }

    /// The machine in the state that it begins with; and the commands after it that took effect, in order.
    pub fn into_parts(self) -> (M, impl Iterator<Item = Result<PastCommand<M::Command>, RaftFault>>) {
        let mut proposals = self.proposals;
        let commands = self
            .entries
            .filter_map(move |entry| command::<M>(&mut proposals, &entry).transpose());
        (self.machine, commands)
    }
}

/// The command of an entry; none if it carries none, or one that was applied before.
fn command<M: StateMachine>(
    proposals: &mut AppliedProposals,
    entry: &Entry,
) -> Result<Option<PastCommand<M::Command>>, RaftFault> {
    let (index, term) = (entry.index, entry.term);
    let is_new = ProposalId::decode(&entry.context).is_none_or(|id| proposals.record(id, index));
    if !is_new || entry.data.is_empty() || entry.get_entry_type() != EntryType::EntryNormal {
        return Ok(None);
    }
    let command = record::decode(RecordKind::Command, &entry.data)
        .map_err(RaftFault::record(format!("command of log entry {index}")))?;
    Ok(Some(PastCommand { index, term, command }))
}

/// The index of the state from which a store's log goes on; entries up to it are not needed any more, and need not be there.
///
/// # Errors
/// [`RaftFault`] if the store holds no sound state.
pub fn snapshot_index(store: &dyn Storage) -> Result<u64, RaftFault> {
    snapshot_meta(store).map(|meta| meta.index)
}

fn snapshot_meta(store: &dyn Storage) -> Result<v1::SnapshotMeta, RaftFault> {
    // A store that is none of a member is told apart from one without a snapshot.
    require::<v1::MemberIdentity>(store, keys::IDENTITY, RecordKind::MemberIdentity)?;
    Ok(read_message(store, keys::SNAPSHOT, RecordKind::SnapshotMeta)?.unwrap_or_default())
}
