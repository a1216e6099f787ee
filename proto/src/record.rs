//! The versioned, checksummed envelope in which everything is written to disk or put into the log.
//!
//! Owns the format version and the checksum; it must not know what a payload means. Pure.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1::Record;
pub use crate::v1::RecordKind;

/// The format of a payload that is what its kind says.
const PLAIN: u32 = 1;

/// The format of a payload that is packed, which makes large documents several times smaller.
const PACKED: u32 = 2;

/// The newest format that this program reads.
pub const FORMAT_VERSION: u32 = PACKED;

/// Shorter payloads are not packed: it would save little.
const MIN_PACKED_BYTES: usize = 2048;

/// Longer payloads are not packed: a reader has to know what a length can be.
const MAX_PACKED_BYTES: usize = 64 * 1024 * 1024;

/// Length of the length in front of a packed payload.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record was written by a newer program.
    #[error(
        "a {kind} record has format version {found}, and this program reads up to version {supported}: \
         run a newer version of berth on this data"
    )]
    NewerFormat {
        /// Kind of the record, as its name in the proto file.
        kind: String,
        /// Version that the record carries.
        found: u32,
        /// Newest version that this program reads.
        supported: u32,
    },
    /// The bytes are not a record, or were changed after it was written.
    #[error("a record is damaged: {reason}")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// The record is sound, but is not what the reader looked for.
    #[error("a {found} record stands where a {expected} record should be")]
    WrongKind {
        /// Kind that the reader looked for.
        expected: String,
        /// Kind that it found.
        found: String,
    },
    /// The payload is sound, but does not have the shape of the type asked for.
    #[error("the payload of a {kind} record does not have the expected shape")]
    Payload {
        /// Kind of the record.
        kind: String,
        /// What the decoder found.
        #[source]
        source: PayloadError,
    },
}

/// What the decoder of a payload found.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The JSON document does not fit.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The proto message does not fit.
    #[error(transparent)]
    Proto(#[from] prost::DecodeError),
}

/// Writes a document as a record with a JSON payload.
///
/// # Errors
/// [`RecordError::Payload`] when the document cannot be expressed in JSON.
pub fn encode<T: Serialize + ?Sized>(kind: RecordKind, document: &T) -> Result<Vec<u8>, RecordError> {
    Ok(seal(kind, payload(kind, document)?))
}

/// The JSON payload of a document, to be sealed.
///
/// # Errors
/// As [`encode`].
pub fn payload<T: Serialize + ?Sized>(kind: RecordKind, document: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(document).map_err(|source| payload_error(kind, source))
}

/// Reads the document from a record with a JSON payload.
///
/// # Errors
/// Any [`RecordError`].
pub fn decode<T: DeserializeOwned>(kind: RecordKind, bytes: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(&open(kind, bytes)?).map_err(|source| payload_error(kind, source))
}

/// Writes a proto message as a record.
pub fn encode_message<M: Message>(kind: RecordKind, message: &M) -> Vec<u8> {
    seal(kind, message.encode_to_vec())
}

/// Reads the proto message from a record.
///
/// # Errors
/// Any [`RecordError`].
pub fn decode_message<M: Message + Default>(kind: RecordKind, bytes: &[u8]) -> Result<M, RecordError> {
    M::decode(open(kind, bytes)?.as_slice()).map_err(|source| payload_error(kind, source))
}

/// Puts a payload into an envelope, as it is.
pub fn seal(kind: RecordKind, payload: Vec<u8>) -> Vec<u8> {
    seal_as(PLAIN, kind, payload)
}

/// Puts a payload into an envelope, packed if that makes it smaller: for readers of whom it is known that they read format version 2.
pub fn seal_packed(kind: RecordKind, payload: Vec<u8>) -> Vec<u8> {
    if !(MIN_PACKED_BYTES..=MAX_PACKED_BYTES).contains(&payload.len()) {
        return seal(kind, payload);
    }
    let packed = lz4_flex::block::compress_prepend_size(&payload);
    if packed.len() < payload.len() {
        seal_as(PACKED, kind, packed)
    } else {
        seal(kind, payload)
    }
}

/// Checks an envelope and takes the payload out of it.
///
/// # Errors
/// [`RecordError::Damaged`], [`RecordError::NewerFormat`] or [`RecordError::WrongKind`].
pub fn open(kind: RecordKind, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
    let record = Record::decode(bytes).map_err(|error| RecordError::Damaged {
        reason: error.to_string(),
    })?;
    let computed = checksum(record.format_version, record.kind, &record.payload);
    if computed != record.crc32 {
        let reason = format!("its checksum is {:08x}, its content has {computed:08x}", record.crc32);
        return Err(RecordError::Damaged { reason });
    }
    if record.format_version > FORMAT_VERSION {
        return Err(RecordError::NewerFormat {
            kind: kind_name(record.kind),
            found: record.format_version,
            supported: FORMAT_VERSION,
        });
    }
    if record.format_version == 0 {
        return Err(RecordError::Damaged {
            reason: "it carries no format version".to_owned(),
        });
    }
    if record.kind != kind as i32 {
        return Err(RecordError::WrongKind {
            expected: kind_name(kind as i32),
            found: kind_name(record.kind),
        });
    }
    if record.format_version == PACKED {
        return unpack(&record.payload).map_err(|reason| RecordError::Damaged { reason });
    }
    Ok(record.payload)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let (length, block) = packed
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or("it is too short for a packed one")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_PACKED_BYTES {
        return Err(format!("{length} bytes are said to be packed in it"));
    }
    let payload = lz4_flex::block::decompress(block, length).map_err(|error| error.to_string())?;
    if payload.len() != length {
        return Err(format!("{} bytes are packed in it instead of {length}", payload.len()));
    }
    Ok(payload)
}

/// Puts a payload into an envelope of a format version, in whose form it is.
pub fn seal_as(format_version: u32, kind: RecordKind, payload: Vec<u8>) -> Vec<u8> {
    let crc32 = checksum(format_version, kind as i32, &payload);
    Record {
        format_version,
        kind: kind as i32,
        payload,
        crc32,
    }
    .encode_to_vec()
}

fn checksum(format_version: u32, kind: i32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&format_version.to_le_bytes());
    hasher.update(&kind.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The kind as people read it: `LOG_ENTRY`, or its number if this program does not know it.
fn kind_name(kind: i32) -> String {
    match RecordKind::try_from(kind) {
        Ok(known) => known.as_str_name().trim_start_matches("RECORD_KIND_").to_owned(),
        Err(_) => format!("unknown ({kind})"),
    }
}

fn payload_error(kind: RecordKind, source: impl Into<PayloadError>) -> RecordError {
    RecordError::Payload {
        kind: kind_name(kind as i32),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Document {
        name: String,
        count: u32,
    }

    fn document() -> Document {
        Document {
            name: "web".to_owned(),
            count: 3,
        }
    }

    #[test]
    fn record_written_and_read_gives_the_same_document() {
        let bytes = encode(RecordKind::Command, &document()).unwrap();
        let read: Document = decode(RecordKind::Command, &bytes).unwrap();
        assert_eq!(read, document());
    }

    fn documents() -> Vec<Document> {
        (0..100).map(|count| Document { count, ..document() }).collect()
    }

    #[test]
    fn record_packed_gives_the_same_document_and_is_smaller_if_it_is_large() {
        let packed = |document| seal_packed(RecordKind::Command, document);
        let bytes = packed(payload(RecordKind::Command, &documents()).unwrap());
        assert!(bytes.len() * 3 < encode(RecordKind::Command, &documents()).unwrap().len());
        let read: Vec<Document> = decode(RecordKind::Command, &bytes).unwrap();
        assert_eq!(read, documents());
        let small = packed(payload(RecordKind::Command, &document()).unwrap());
        assert_eq!(small, encode(RecordKind::Command, &document()).unwrap());
    }

    #[test]
    fn record_of_what_cannot_be_packed_is_plain() {
        let mut noise = 1_u64;
        let mut next = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        };
        let payload: Vec<u8> = (0..4 * MIN_PACKED_BYTES).map(|_| next()).collect();
        let bytes = seal_packed(RecordKind::SnapshotBlock, payload.clone());
        assert_eq!(bytes, seal(RecordKind::SnapshotBlock, payload));
    }

    #[test]
    fn record_packed_wrongly_is_refused() {
        let packed = lz4_flex::block::compress_prepend_size(&[7; 5000]);
        let lengths =
            [4999_u32, 5001, u32::MAX].map(|length| [&length.to_le_bytes(), &packed[LENGTH_BYTES..]].concat());
        for payload in lengths.into_iter().chain([vec![], packed[..20].to_vec()]) {
            let bytes = seal_as(PACKED, RecordKind::SnapshotBlock, payload);
            let read = open(RecordKind::SnapshotBlock, &bytes);
            assert!(matches!(read, Err(RecordError::Damaged { .. })), "{read:?}");
        }
    }

    #[test]
    fn record_with_any_bit_flipped_is_refused() {
        let bytes = encode(RecordKind::Command, &document()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = decode::<Document>(RecordKind::Command, &damaged);
            assert!(matches!(read, Err(RecordError::Damaged { .. })), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn record_cut_short_is_refused() {
        let bytes = encode(RecordKind::Command, &document()).unwrap();
        for length in 0..bytes.len() {
            assert!(
                decode::<Document>(RecordKind::Command, &bytes[..length]).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn record_of_a_newer_format_is_refused_naming_both_versions() {
        let bytes = seal_as(FORMAT_VERSION + 6, RecordKind::LogEntry, b"whatever comes".to_vec());
        let error = open(RecordKind::LogEntry, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a LOG_ENTRY record has format version 8, and this program reads up to version 2: \
             run a newer version of berth on this data"
        );
    }

    #[test]
    fn record_of_another_kind_is_refused_naming_both_kinds() {
        let bytes = encode(RecordKind::Command, &document()).unwrap();
        let error = decode::<Document>(RecordKind::SnapshotItem, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a COMMAND record stands where a SNAPSHOT_ITEM record should be"
        );
    }

    #[test]
    fn record_with_another_shape_is_refused_as_payload() {
        let bytes = encode(RecordKind::Command, &["web"]).unwrap();
        let read = decode::<Document>(RecordKind::Command, &bytes);
        assert!(matches!(read, Err(RecordError::Payload { .. })), "{read:?}");
    }
}
