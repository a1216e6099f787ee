//! Snapshots on their way between members: chunks that this member fetches, and chunks that others fetch here. Shell.
//!
//! The leader's message says which snapshot; the receiver asks for its chunks in order, a bounded number at a
//! time, and stores them beside its own. Only when all are there and sound, the library hears of the message.

use std::collections::BTreeMap;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use prost::Message as _;
use raft::eraftpb::Message;

use crate::error::RaftFault;
use crate::keys;
use crate::log_storage::{Leftovers, LogStorage, slot_of};
use crate::options::{
    SNAPSHOT_HOLD_TICKS, SNAPSHOT_IDLE_TICKS, SNAPSHOT_PULL_ATTEMPTS, SNAPSHOT_PULL_CHUNKS, SNAPSHOT_PULL_TICKS,
    SNAPSHOT_SILENCE_TICKS,
};
use berth_storage::{Batch, Storage};

/// A snapshot that this member is fetching.
#[derive(Debug)]
pub(super) struct Fetch {
    /// Who has it: the leader.
    pub(super) from: u64,
    /// The library's message, held back.
    message: Message,
    /// Its metadata, as the leader has it.
    theirs: v1::SnapshotMeta,
    /// Where the chunks go here.
    slot: u64,
    next_chunk: u64,
    stream_bytes: u64,
    asked_at: u64,
    attempts: u32,
}

/// What became of chunks that came in.
#[derive(Debug)]
pub(super) enum Fetched {
    /// More are needed.
    More,
    /// All are there: the message may go to the library, with the metadata as it is to be stored.
    Complete(Box<(Message, v1::SnapshotMeta)>),
    /// They do not fit, or are not for this transfer.
    Ignored,
    /// The snapshot is damaged, so the transfer is given up.
    Damaged(String),
}

impl Fetch {
    /// A transfer of the snapshot that a message announces; none if the message says nothing useful.
    pub(super) fn begin(message: Message, slot: u64) -> Option<Self> {
        let theirs = v1::SnapshotMeta::decode(message.get_snapshot().data.as_slice()).ok()?;
        Some(Self {
            from: message.from,
            message,
            theirs,
            slot,
            next_chunk: 0,
            stream_bytes: 0,
            asked_at: 0,
            attempts: 0,
        })
    }

    /// Whether the message announces the snapshot that is being fetched.
    pub(super) fn is_of(&self, message: &Message) -> bool {
        message.get_snapshot().data == self.message.get_snapshot().data
            && (message.from, message.term) == (self.from, self.message.term)
    }

    pub(super) fn index(&self) -> u64 {
        self.theirs.index
    }

    pub(super) fn term(&self) -> u64 {
        self.message.term
    }

    pub(super) fn is_complete(&self) -> bool {
        self.next_chunk >= self.theirs.chunk_count
    }

    /// Asks for the next chunks.
    pub(super) fn ask(&mut self, now: u64) -> v1::SnapshotPull {
        self.asked_at = now;
        self.attempts += 1;
        v1::SnapshotPull {
            index: self.theirs.index,
            slot: slot_of(&self.theirs),
            first_chunk: self.next_chunk,
        }
    }

    /// Whether the last question was lost.
    pub(super) fn is_late(&self, now: u64) -> bool {
        now >= self.asked_at + SNAPSHOT_PULL_TICKS
    }

    /// Whether it was asked often enough in vain.
    pub(super) fn is_hopeless(&self) -> bool {
        self.attempts >= SNAPSHOT_PULL_ATTEMPTS
    }

    /// Stores chunks that came in, each with its checksum checked.
    pub(super) fn take(&mut self, chunks: v1::SnapshotChunks, store: &dyn Storage) -> Result<Fetched, RaftFault> {
        let ours = (self.theirs.index, slot_of(&self.theirs), self.next_chunk);
        if (chunks.index, chunks.slot, chunks.first_chunk) != ours || chunks.chunks.is_empty() {
            return Ok(Fetched::Ignored);
        }
        let mut batch = Batch::default();
        for sealed in chunks.chunks {
            match record::open(RecordKind::SnapshotChunk, &sealed) {
                Ok(chunk) => self.stream_bytes += chunk.len() as u64,
                Err(error) => return Ok(Fetched::Damaged(format!("chunk {}: {error}", self.next_chunk))),
            }
            batch.put(keys::chunk(self.slot, self.next_chunk), sealed);
            self.next_chunk += 1;
        }
        store.commit(batch)?;
        self.attempts = 0;
        if !self.is_complete() {
            return Ok(Fetched::More);
        }
        if (self.next_chunk, self.stream_bytes) != (self.theirs.chunk_count, self.theirs.stream_bytes) {
            return Ok(Fetched::Damaged(format!(
                "it has {} chunks with {} bytes instead of {} with {}",
                self.next_chunk, self.stream_bytes, self.theirs.chunk_count, self.theirs.stream_bytes
            )));
        }
        Ok(Fetched::Complete(Box::new(self.announcement())))
    }

    /// The message, and the metadata as this member stores it.
    pub(super) fn announcement(&self) -> (Message, v1::SnapshotMeta) {
        let meta = v1::SnapshotMeta {
            slot: self.slot,
            retained_entries: 0,
            log_start_term: 0,
            ..self.theirs.clone()
        };
        (self.message.clone(), meta)
    }

    /// What is stored of it.
    pub(super) fn leftovers(&self) -> Leftovers {
        Leftovers::of_chunks(self.slot, self.next_chunk)
    }
}

/// Who fetches the current snapshot of this member.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// Tick of the newest question of each member.
    asked: BTreeMap<u64, u64>,
    /// Tick since which a new snapshot is put off.
    held_since: Option<u64>,
}

impl Serving {
    /// Answers a question for chunks; none if the snapshot is not there any more.
    pub(super) fn answer(
        &mut self,
        now: u64,
        member: u64,
        pull: &v1::SnapshotPull,
        log: &LogStorage,
    ) -> Result<Option<v1::SnapshotChunks>, RaftFault> {
        let meta = log.snapshot_meta();
        if (pull.index, pull.slot) != (meta.index, slot_of(meta)) {
            return Ok(None);
        }
        self.asked.insert(member, now);
        let end = pull
            .first_chunk
            .saturating_add(SNAPSHOT_PULL_CHUNKS)
            .min(meta.chunk_count);
        let mut chunks = Vec::new();
        for number in pull.first_chunk..end {
            let chunk = log.store().get(&keys::chunk(pull.slot, number))?;
            chunks.push(chunk.ok_or_else(|| {
                RaftFault::damaged(format!("chunk {number} of the snapshot at {} is missing", meta.index))
            })?);
        }
        Ok(Some(v1::SnapshotChunks {
            index: pull.index,
            slot: pull.slot,
            first_chunk: pull.first_chunk,
            chunks,
        }))
    }

    /// A message that announces a snapshot went to a member.
    pub(super) fn announced(&mut self, now: u64, member: u64) {
        self.asked.insert(member, now);
    }

    /// Whether a member has been silent for so long that the announcement may have been lost.
    pub(super) fn is_silent(&mut self, now: u64, member: u64) -> bool {
        let asked = *self.asked.entry(member).or_insert(now);
        let silent = now >= asked + SNAPSHOT_SILENCE_TICKS;
        if silent {
            self.asked.insert(member, now);
        }
        silent
    }

    /// Whether the current snapshot must stay since someone fetches it; not forever.
    pub(super) fn holds(&mut self, now: u64) -> bool {
        if !self.asked.values().any(|asked| now < *asked + SNAPSHOT_IDLE_TICKS) {
            self.held_since = None;
            return false;
        }
        now < *self.held_since.get_or_insert(now) + SNAPSHOT_HOLD_TICKS
    }

    /// A member got what it needed.
    pub(super) fn ended(&mut self, member: u64) {
        self.asked.remove(&member);
    }
}
