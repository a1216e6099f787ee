//! The keys under which a member stores its Raft state. Pure.
//!
//! Numbers are big-endian, so that the order of the keys is the order of the log.

use std::ops::Range;

/// Key of the member's identity.
pub(super) const IDENTITY: &[u8] = b"identity";
/// Key of the hard state.
pub(super) const HARD_STATE: &[u8] = b"hard-state";
/// Key of the membership.
pub(super) const MEMBERSHIP: &[u8] = b"membership";
/// Key of the current snapshot's metadata.
pub(super) const SNAPSHOT: &[u8] = b"snapshot";

const ENTRY_PREFIX: &[u8] = b"log/";
const CHUNK_PREFIX: &[u8] = b"snapshot-chunk/";

/// Key of one part of a log entry's record.
pub(super) fn entry_part(index: u64, part: u32) -> Vec<u8> {
    [ENTRY_PREFIX, &index.to_be_bytes(), &part.to_be_bytes()].concat()
}

/// The keys of the entries with the given indexes.
pub(super) fn entries(indexes: Range<u64>) -> Range<Vec<u8>> {
    entry_part(indexes.start, 0)..entry_part(indexes.end, 0)
}

/// The index and part that the key of an entry names.
pub(super) fn parse_entry_part(key: &[u8]) -> Option<(u64, u32)> {
    let (index, part) = key.strip_prefix(ENTRY_PREFIX)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*index), u32::from_be_bytes(part.try_into().ok()?)))
}

/// Key of one chunk of the snapshot taken at an index.
pub(super) fn chunk(snapshot_index: u64, number: u64) -> Vec<u8> {
    [CHUNK_PREFIX, &snapshot_index.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The keys of all chunks of the snapshots taken in a range of indexes.
pub(super) fn chunks(snapshot_indexes: Range<u64>) -> Range<Vec<u8>> {
    chunk(snapshot_indexes.start, 0)..chunk(snapshot_indexes.end, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_keys_in_byte_order_are_in_log_order() {
        let mut sorted = [
            entry_part(256, 0),
            entry_part(255, 1),
            entry_part(255, 0),
            entry_part(3, 7),
        ];
        sorted.sort();
        let parsed: Vec<_> = sorted.iter().filter_map(|key| parse_entry_part(key)).collect();
        assert_eq!(parsed, [(3, 7), (255, 0), (255, 1), (256, 0)]);
    }

    #[test]
    fn other_keys_read_as_entries_are_none() {
        for key in [IDENTITY, HARD_STATE, MEMBERSHIP, SNAPSHOT, &chunk(1, 2), b"log/short"] {
            assert_eq!(parse_entry_part(key), None);
        }
    }
}
