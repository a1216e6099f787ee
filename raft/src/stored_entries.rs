//! Stored log entries: one record each, in as many parts as the storage needs. Shell.
//!
//! Owns how an entry is cut into parts and put together again; it must not know which entries there are.

use std::ops::Range;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1;
use raft::eraftpb::Entry;

use super::error::RaftFault;
use super::{convert, keys};
use berth_storage::{Batch, MAX_VALUE_BYTES, Storage, StorageError};

/// What is known of a stored entry without reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its term.
    pub(super) term: u64,
    /// Number of the values that it is stored in.
    pub(super) parts: u32,
    /// Length of its record.
    pub(super) bytes: usize,
}

/// Adds an entry to a batch.
pub(super) fn put(batch: &mut Batch, entry: &Entry) -> Slot {
    let bytes = record::encode_message(RecordKind::LogEntry, &convert::entry_to_record(entry));
    let mut parts = 0;
    for part in bytes.chunks(MAX_VALUE_BYTES) {
        batch.put(keys::entry_part(entry.index, parts), part.to_vec());
        parts += 1;
    }
    Slot {
        term: entry.term,
        parts,
        bytes: bytes.len(),
    }
}

/// The keys of a stored entry.
pub(super) fn part_keys(index: u64, slot: Slot) -> impl Iterator<Item = Vec<u8>> {
    (0..slot.parts).map(move |part| keys::entry_part(index, part))
}

/// Takes entries until their size reaches the limit, so that a long log is not read in one go.
pub(super) fn limited(
    entries: impl Iterator<Item = Result<Entry, RaftFault>>,
    max_size: Option<u64>,
) -> Result<Vec<Entry>, RaftFault> {
    let max_size = max_size.unwrap_or(u64::MAX);
    let mut taken = Vec::new();
    let mut size = 0_u64;
    for entry in entries {
        let entry = entry?;
        size = size.saturating_add(size_in_memory(&entry) as u64);
        taken.push(entry);
        if size > max_size {
            break;
        }
    }
    Ok(taken)
}

/// Reads stored entries one by one.
pub(super) fn read(
    store: &dyn Storage,
    indexes: Range<u64>,
) -> impl Iterator<Item = Result<(Entry, Slot), RaftFault>> + '_ {
    let mut parts = store.scan(keys::entries(indexes)).peekable();
    std::iter::from_fn(move || {
        let (index, mut bytes) = match next_part(parts.next()?) {
            Ok((index, 0, bytes)) => (index, bytes),
            Ok((index, part, _)) => {
                return Some(Err(RaftFault::damaged(format!(
                    "entry {index} starts with its part {part}"
                ))));
            }
            Err(fault) => return Some(Err(fault)),
        };
        let mut count = 1;
        while let Some(Ok((key, value))) = parts.peek()
            && keys::parse_entry_part(key) == Some((index, count))
        {
            bytes.extend_from_slice(value);
            count += 1;
            parts.next();
        }
        Some(decode(index, &bytes).map(|entry| {
            let slot = Slot {
                term: entry.term,
                parts: count,
                bytes: bytes.len(),
            };
            (entry, slot)
        }))
    })
}

fn next_part(item: Result<(Vec<u8>, Vec<u8>), StorageError>) -> Result<(u64, u32, Vec<u8>), RaftFault> {
    let (key, value) = item?;
    let (index, part) = keys::parse_entry_part(&key)
        .ok_or_else(|| RaftFault::damaged(format!("key {} in the log is not an entry's", hex::encode(&key))))?;
    Ok((index, part, value))
}

fn decode(index: u64, bytes: &[u8]) -> Result<Entry, RaftFault> {
    let stored: v1::LogEntry =
        record::decode_message(RecordKind::LogEntry, bytes).map_err(RaftFault::record(format!("log entry {index}")))?;
    if stored.index != index {
        return Err(RaftFault::damaged(format!(
            "entry {} stands in the place of entry {index}",
            stored.index
        )));
    }
    Ok(convert::entry_from_record(stored))
}

/// Bytes that an entry takes in memory.
pub(super) fn size_in_memory(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + size_of::<Entry>()
}
