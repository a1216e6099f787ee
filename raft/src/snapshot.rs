//! Snapshots in storage: a stream of items, or of blocks that items are packed in, cut into chunks. Shell.
//!
//! Owns the format of the stream; it must not know what the items mean. A snapshot counts only once
//! its metadata is the current one, so an unfinished one is nothing but leftovers.

use std::cell::Cell;
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
use berth_storage::{Batch, MAX_VALUE_BYTES, Storage};

/// Bytes of the stream in one chunk: what a value may hold, less the envelope.
const CHUNK_BYTES: usize = MAX_VALUE_BYTES - 64;

/// Chunks written in one batch: small enough not to hold up proposals, also where the store's journal has to be emptied first.
const WRITE_BATCH_CHUNKS: usize = 16;

/// Length of the number in front of each item and each block.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Bytes of items that are packed together: more would hardly become smaller.
const BLOCK_BYTES: usize = 64 * 1024;

/// Length of the items of a snapshot.
pub(super) fn content_bytes(meta: &v1::SnapshotMeta) -> u64 {
    if meta.content_bytes == 0 {
        meta.stream_bytes
    } else {
        meta.content_bytes
    }
}

/// Writes the items of a snapshot and returns its metadata with the counts filled in, or nothing if told to stop.
pub(super) fn write<M: StateMachine>(
    store: &dyn Storage,
    view: &M::View,
    proposals: &AppliedProposals,
    mut meta: v1::SnapshotMeta,
    stop: &AtomicBool,
) -> Result<Option<v1::SnapshotMeta>, RaftFault> {
    meta.proposal_origins = proposals.len();
    meta.packed = M::packs(view);
    let mut writer = Writer {
        store,
        meta,
        content: Vec::new(),
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

struct Writer<'a> {
    store: &'a dyn Storage,
    meta: v1::SnapshotMeta,
    /// Items that are not in the stream yet.
    content: Vec<u8>,
    /// What is not in chunks yet.
    stream: Vec<u8>,
    batch: Batch,
}

impl Writer<'_> {
    fn item<T: Serialize>(&mut self, item: &T) -> Result<(), RaftFault> {
        let bytes = record::encode(RecordKind::SnapshotItem, item).map_err(RaftFault::record("snapshot item"))?;
        self.record(&bytes)
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), RaftFault> {
        put_framed(&mut self.content, bytes);
        if self.content.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.block();
        let full = self.stream.len() / CHUNK_BYTES * CHUNK_BYTES;
        let rest = self.stream.split_off(full);
        let ready = std::mem::replace(&mut self.stream, rest);
        ready.chunks(CHUNK_BYTES).try_for_each(|chunk| self.chunk(chunk))
    }

    /// Puts the items into the stream.
    fn block(&mut self) {
        if self.meta.packed {
            self.meta.content_bytes += self.content.len() as u64;
            let content = std::mem::take(&mut self.content);
            put_framed(
                &mut self.stream,
                &record::seal_packed(RecordKind::SnapshotBlock, content),
            );
        } else {
            self.stream.append(&mut self.content);
        }
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), RaftFault> {
        let key = keys::chunk(self.meta.slot, self.meta.chunk_count);
        self.batch
            .put(key, record::seal(RecordKind::SnapshotChunk, bytes.to_vec()));
        self.meta.chunk_count += 1;
        self.meta.stream_bytes += bytes.len() as u64;
        if self.batch.len() >= WRITE_BATCH_CHUNKS {
            self.store.commit_unhurried(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<v1::SnapshotMeta, RaftFault> {
        if !self.content.is_empty() {
            self.block();
        }
        let rest = std::mem::take(&mut self.stream);
        rest.chunks(CHUNK_BYTES).try_for_each(|chunk| self.chunk(chunk))?;
        if !self.batch.is_empty() {
            self.store.commit_unhurried(self.batch)?;
        }
        Ok(self.meta)
    }
}

fn put_framed(stream: &mut Vec<u8>, bytes: &[u8]) {
    stream.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    stream.extend_from_slice(bytes);
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
    let read = Cell::new((0, 0));
    let chunks = store.scan(keys::chunks(slot..slot + 1)).map(|item| {
        let (count, bytes) = read.get();
        let chunk = record::open(RecordKind::SnapshotChunk, &item?.1)
            .map_err(RaftFault::record(format!("snapshot chunk {count}")))?;
        read.set((count + 1, bytes + chunk.len() as u64));
        Ok(chunk)
    });
    let content: Pieces<'_> = if meta.packed {
        let unpacked = |frame: Result<Vec<u8>, RaftFault>| {
            record::open(RecordKind::SnapshotBlock, &frame?).map_err(RaftFault::record("snapshot block"))
        };
        Box::new(Frames::of(Box::new(chunks)).map(unpacked))
    } else {
        Box::new(chunks)
    };
    let mut records = Frames::of(content);
    for _ in 0..meta.proposal_origins {
        let bytes = records.next().ok_or_else(cut_short)??;
        let origin = record::decode_message(RecordKind::ProposalOrigin, &bytes)
            .map_err(RaftFault::record("proposals of a snapshot"))?;
        proposals.restore(origin);
    }
    let mut items = Items::<M::SnapshotItem> {
        records,
        fault: None,
        items: PhantomData,
    };
    let restored = machine.restore(&mut items);
    // A machine that stops early must not hide that the rest is damaged.
    items.by_ref().for_each(drop);
    if let Some(fault) = items.fault {
        return Err(fault);
    }
    restored.map_err(|source| RaftFault::Restore {
        index: meta.index,
        source,
    })?;
    if read.get() != (meta.chunk_count, meta.stream_bytes) {
        let (count, bytes) = read.get();
        return Err(RaftFault::damaged(format!(
            "the snapshot at index {} has {count} chunks with {bytes} bytes instead of {} with {}",
            meta.index, meta.chunk_count, meta.stream_bytes
        )));
    }
    Ok(proposals)
}

/// A stream of bytes, piece by piece.
type Pieces<'a> = Box<dyn Iterator<Item = Result<Vec<u8>, RaftFault>> + 'a>;

/// Cuts a stream into what was put into it, each behind its length.
struct Frames<'a> {
    pieces: Pieces<'a>,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    start: usize,
}

impl<'a> Frames<'a> {
    fn of(pieces: Pieces<'a>) -> Self {
        Self {
            pieces,
            buffer: Vec::new(),
            start: 0,
        }
    }

    fn frame(&mut self) -> Result<Option<Vec<u8>>, RaftFault> {
        if !self.fill(LENGTH_BYTES)? {
            return if self.rest().is_empty() {
                Ok(None)
            } else {
                Err(cut_short())
            };
        }
        let length = self.rest().first_chunk::<LENGTH_BYTES>().ok_or_else(cut_short)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| cut_short())?;
        let end = LENGTH_BYTES.checked_add(length).ok_or_else(cut_short)?;
        if !self.fill(end)? {
            return Err(cut_short());
        }
        let frame = self.rest()[LENGTH_BYTES..end].to_vec();
        self.start += end;
        Ok(Some(frame))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Takes pieces until so many bytes are there; whether they are.
    fn fill(&mut self, bytes: usize) -> Result<bool, RaftFault> {
        while self.rest().len() < bytes {
            let Some(piece) = self.pieces.next() else {
                return Ok(false);
            };
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.extend(piece?);
        }
        Ok(true)
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Vec<u8>, RaftFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frame().transpose()
    }
}

/// Reads items one by one; a fault ends the items and is kept.
struct Items<'a, T> {
    records: Frames<'a>,
    fault: Option<RaftFault>,
    items: PhantomData<T>,
}

impl<T: DeserializeOwned> Iterator for Items<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.fault.is_some() {
            return None;
        }
        let item = self.records.next()?.and_then(|bytes| {
            record::decode(RecordKind::SnapshotItem, &bytes).map_err(RaftFault::record("snapshot item"))
        });
        item.map_err(|fault| self.fault = Some(fault)).ok()
    }
}

fn cut_short() -> RaftFault {
    RaftFault::damaged("the snapshot ends in the middle of an item")
}
