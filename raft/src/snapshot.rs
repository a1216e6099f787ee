//! Snapshots in storage: a stream of items, cut into chunks. Shell.
//!
//! Owns the format of the stream; it must not know what the items mean. A snapshot counts only once
//! its metadata is the current one, so an unfinished one is nothing but leftovers.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::AppliedProposals;
use super::error::RaftFault;
use super::founding::FOUNDING_INDEX;
use super::keys;
use super::log_storage::slot_of;
use super::state_machine::StateMachine;
use berth_storage::{Batch, MAX_VALUE_BYTES, Scan, Storage};

/// Bytes of the stream in one chunk: what a value may hold, less the envelope.
const CHUNK_BYTES: usize = MAX_VALUE_BYTES - 64;

/// Chunks written in one batch: small enough not to hold up proposals, also where the store's journal has to be emptied first.
const WRITE_BATCH_CHUNKS: usize = 16;

/// Length of the number in front of each item.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Writes the items of a snapshot and returns its metadata with the counts filled in, or nothing if told to stop.
pub(super) fn write<M: StateMachine>(
    store: &dyn Storage,
    view: &M::View,
    proposals: &AppliedProposals,
    mut meta: v1::SnapshotMeta,
    stop: &AtomicBool,
) -> Result<Option<v1::SnapshotMeta>, RaftFault> {
    meta.proposal_origins = proposals.len();
    let mut writer = ChunkWriter {
        store,
        meta,
        stream: Vec::new(),
        batch: Batch::default(),
    };
    for origin in proposals.records() {
        writer.record(&record::encode_message(RecordKind::ProposalOrigin, &origin))?;
    }
    for item in M::snapshot_items(view) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        writer.item(&item)?;
    }
    writer.finish().map(Some)
}

struct ChunkWriter<'a> {
    store: &'a dyn Storage,
    meta: v1::SnapshotMeta,
    stream: Vec<u8>,
    batch: Batch,
}

impl ChunkWriter<'_> {
    fn item<T: Serialize>(&mut self, item: &T) -> Result<(), RaftFault> {
        let bytes = record::encode(RecordKind::SnapshotItem, item).map_err(RaftFault::record("snapshot item"))?;
        self.record(&bytes)
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), RaftFault> {
        self.stream.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.stream.extend_from_slice(bytes);
        let full = self.stream.len() / CHUNK_BYTES * CHUNK_BYTES;
        let rest = self.stream.split_off(full);
        let ready = std::mem::replace(&mut self.stream, rest);
        ready.chunks(CHUNK_BYTES).try_for_each(|chunk| self.chunk(chunk))
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), RaftFault> {
        let key = keys::chunk(self.meta.slot, self.meta.chunk_count);
        self.batch
            .put(key, record::seal(RecordKind::SnapshotChunk, bytes.to_vec()));
        self.meta.chunk_count += 1;
        self.meta.stream_bytes += bytes.len() as u64;
        if self.batch.len() >= WRITE_BATCH_CHUNKS {
            self.store.commit(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<v1::SnapshotMeta, RaftFault> {
        let rest = std::mem::take(&mut self.stream);
        if !rest.is_empty() {
            self.chunk(&rest)?;
        }
        if !self.batch.is_empty() {
            self.store.commit(self.batch)?;
        }
        Ok(self.meta)
    }
}

/// Gives a machine the state of a stored snapshot, and returns which proposals that contains. A group begins
/// with a snapshot without chunks, which stands for a new machine.
pub(super) fn restore<M: StateMachine>(
    store: &dyn Storage,
    meta: &v1::SnapshotMeta,
    machine: &mut M,
) -> Result<AppliedProposals, RaftFault> {
    let mut proposals = AppliedProposals::default();
    if meta.chunk_count == 0 && meta.index <= FOUNDING_INDEX {
        return Ok(proposals);
    }
    let slot = slot_of(meta);
    let mut reader = ItemReader::<M::SnapshotItem> {
        chunks: store.scan(keys::chunks(slot..slot + 1)),
        buffer: Vec::new(),
        chunk_count: 0,
        stream_bytes: 0,
        fault: None,
        items: PhantomData,
    };
    for _ in 0..meta.proposal_origins {
        let bytes = reader.record()?.ok_or_else(cut_short)?;
        let origin = record::decode_message(RecordKind::ProposalOrigin, &bytes)
            .map_err(RaftFault::record("proposals of a snapshot"))?;
        proposals.restore(origin);
    }
    let restored = machine.restore(&mut reader);
    // A machine that stops early must not hide that the rest is damaged.
    reader.by_ref().for_each(drop);
    if let Some(fault) = reader.fault {
        return Err(fault);
    }
    restored.map_err(|source| RaftFault::Restore {
        index: meta.index,
        source,
    })?;
    if (reader.chunk_count, reader.stream_bytes) != (meta.chunk_count, meta.stream_bytes) {
        return Err(RaftFault::damaged(format!(
            "the snapshot at index {} has {} chunks with {} bytes instead of {} with {}",
            meta.index, reader.chunk_count, reader.stream_bytes, meta.chunk_count, meta.stream_bytes
        )));
    }
    Ok(proposals)
}

/// Reads items one by one; a fault ends the items and is kept.
struct ItemReader<'a, T> {
    chunks: Scan<'a>,
    buffer: Vec<u8>,
    chunk_count: u64,
    stream_bytes: u64,
    fault: Option<RaftFault>,
    items: PhantomData<T>,
}

impl<T: DeserializeOwned> ItemReader<'_, T> {
    fn read(&mut self) -> Result<Option<T>, RaftFault> {
        let Some(bytes) = self.record()? else { return Ok(None) };
        record::decode(RecordKind::SnapshotItem, &bytes)
            .map(Some)
            .map_err(RaftFault::record("snapshot item"))
    }

    fn record(&mut self) -> Result<Option<Vec<u8>>, RaftFault> {
        if !self.fill(LENGTH_BYTES)? {
            return if self.buffer.is_empty() {
                Ok(None)
            } else {
                Err(cut_short())
            };
        }
        let Some((length, _)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(cut_short());
        };
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| cut_short())?;
        let end = LENGTH_BYTES.checked_add(length).ok_or_else(cut_short)?;
        if !self.fill(end)? {
            return Err(cut_short());
        }
        let bytes = self.buffer[LENGTH_BYTES..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(bytes))
    }

    /// Reads chunks until the buffer holds the given bytes; whether it does.
    fn fill(&mut self, bytes: usize) -> Result<bool, RaftFault> {
        while self.buffer.len() < bytes {
            let Some(item) = self.chunks.next() else {
                return Ok(false);
            };
            let (_, sealed) = item?;
            let number = self.chunk_count;
            let chunk = record::open(RecordKind::SnapshotChunk, &sealed)
                .map_err(RaftFault::record(format!("snapshot chunk {number}")))?;
            self.chunk_count += 1;
            self.stream_bytes += chunk.len() as u64;
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(true)
    }
}

impl<T: DeserializeOwned> Iterator for ItemReader<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.fault.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|fault| {
            self.fault = Some(fault);
            None
        })
    }
}

fn cut_short() -> RaftFault {
    RaftFault::damaged("the snapshot ends in the middle of an item")
}
