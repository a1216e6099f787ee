//! The format of a backup, as `proto/berth/v1/record.proto` says: written and read record by record, never whole in memory.
//!
//! The checksum over everything is what makes a backup good: a file is refused if it is cut off, changed, or goes on after its end. Shell,
//! over any reader or writer.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use berth_core::state::{ClusterState, NEWEST_FEATURE_LEVEL, SnapshotRecord};
use berth_proto::record::{self, RecordError, RecordKind};
use berth_proto::v1::{BackupHeader, BackupTrailer};
use berth_raft::Published;
use sha2::{Digest, Sha256};

/// What every backup begins with.
const MAGIC: &[u8] = b"berth-backup\n";

/// Bytes of one record: far above the largest, a service with its events; a length beyond it is damage.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// Clusters that the header names.
const MAX_NAMED_CLUSTERS: usize = 100;

/// Why a backup cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file could not be read or written.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("this is not a backup of berth: it does not begin as one")]
    NotABackup,
    /// The file ends too early.
    #[error("the backup is cut off: it ends within {0}; use another backup")]
    CutOff(&'static str),
    /// The file has more than its end.
    #[error("the backup is damaged: it goes on after its end; use another backup")]
    GoesOn,
    /// A record cannot be read: it is damaged, or newer than this program.
    #[error("{what} cannot be read; if it is damaged, use another backup")]
    Record {
        /// Which record.
        what: String,
        /// Why not.
        #[source]
        source: RecordError,
    },
    /// The records are sound, and not those that were written.
    #[error("the backup is damaged: {0}; use another backup")]
    Damaged(String),
    /// A newer program made it.
    #[error(
        "the backup has feature level {found}, and this program knows levels up to {NEWEST_FEATURE_LEVEL}: use berth {version} or newer, \
         which made it"
    )]
    NewerFeatures {
        /// Level of the backup.
        found: u32,
        /// Version that made it.
        version: String,
    },
    /// The folder of scheduled backups cannot be made.
    #[error(
        "{parent} is not there, and the folder {directory} for backups would be in it: if it is on a disk of its own, mount that; otherwise \
         make it, or name another folder with --backup-dir"
    )]
    NoParent {
        /// The folder.
        directory: PathBuf,
        /// What it would be in.
        parent: PathBuf,
    },
    /// The folder of scheduled backups was there once.
    #[error("{0} is not there any more: if it is on a disk of its own, mount that; otherwise make it again")]
    FolderGone(PathBuf),
    /// The place to restore into is in use.
    #[error("{0}")]
    Target(String),
    /// The new store could not be written.
    #[error("the new store could not be written")]
    Store(#[from] berth_raft::RaftFault),
}

impl BackupError {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action: action.into(),
            source,
        }
    }

    /// The error with all its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

/// What a whole and sound backup is of.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupSummary {
    /// Its header.
    pub header: BackupHeader,
    /// Records of the state in it.
    pub items: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// The header of a backup of `published`.
#[must_use]
pub(super) fn header_of(published: &Published<Arc<ClusterState>>, created_at_ms: i64) -> BackupHeader {
    let state = &published.view;
    let clusters = state.all_clusters().take(MAX_NAMED_CLUSTERS);
    BackupHeader {
        index: published.index,
        term: published.term,
        created_at_ms,
        berth_version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: state.feature_level(),
        clusters: clusters.map(|cluster| cluster.key.arn()).collect(),
    }
}

/// Writes a backup.
pub struct BackupWriter<W> {
    out: W,
    digest: Sha256,
    bytes: u64,
    items: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn begin(out: W, header: &BackupHeader) -> Result<Self, BackupError> {
        let mut writer = Self {
            out,
            digest: Sha256::new(),
            bytes: 0,
            items: 0,
        };
        writer.put(MAGIC)?;
        writer.record(&record::encode_message(RecordKind::BackupHeader, header))?;
        Ok(writer)
    }

    /// Adds a record of the state.
    ///
    /// # Errors
    /// [`BackupError::Io`] or [`BackupError::Record`].
    pub fn item(&mut self, item: &SnapshotRecord) -> Result<(), BackupError> {
        let bytes = record::encode(RecordKind::SnapshotItem, item).map_err(|source| BackupError::Record {
            what: "a record of the state".to_owned(),
            source,
        })?;
        self.items += 1;
        self.record(&bytes)
    }

    /// Ends it, and gives back what was written to.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn end(mut self) -> Result<W, BackupError> {
        let trailer = BackupTrailer {
            item_count: self.items,
            byte_count: self.bytes,
            sha256: self.digest.clone().finalize().to_vec(),
        };
        self.record(&record::encode_message(RecordKind::BackupTrailer, &trailer))?;
        self.out.flush().map_err(BackupError::io("write the backup"))?;
        Ok(self.out)
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= MAX_RECORD_BYTES)
            .ok_or_else(|| BackupError::Damaged(format!("a record would have {} bytes", bytes.len())))?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.out.write_all(bytes).map_err(BackupError::io("write the backup"))?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Reads a backup.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    header: BackupHeader,
    digest: Sha256,
    bytes: u64,
    items: u64,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Begins to read one.
    ///
    /// # Errors
    /// Any [`BackupError`] but that of a target.
    pub fn begin(input: R) -> Result<Self, BackupError> {
        let mut reader = Self {
            input,
            header: BackupHeader::default(),
            digest: Sha256::new(),
            bytes: 0,
            items: 0,
            ended: false,
        };
        let mut magic = [0; MAGIC.len()];
        match reader.input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) => return Err(BackupError::NotABackup),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BackupError::NotABackup),
            Err(source) => return Err(BackupError::io("read the backup")(source)),
        }
        reader.account(&magic);
        let (length, bytes) = reader.frame("its header")?;
        reader.header =
            record::decode_message(RecordKind::BackupHeader, &bytes).map_err(|source| BackupError::Record {
                what: "the header of the backup".to_owned(),
                source,
            })?;
        reader.account(&length);
        reader.account(&bytes);
        if reader.header.feature_level > NEWEST_FEATURE_LEVEL {
            return Err(BackupError::NewerFeatures {
                found: reader.header.feature_level,
                version: reader.header.berth_version,
            });
        }
        Ok(reader)
    }

    /// What it says that it is of; true only once all has been read.
    #[must_use]
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next record of the state; none once the end has been read and everything adds up.
    ///
    /// # Errors
    /// Any [`BackupError`] but that of a target.
    pub fn next_item(&mut self) -> Result<Option<SnapshotRecord>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let (length, bytes) = self.frame("the records of the state")?;
        match record::decode(RecordKind::SnapshotItem, &bytes) {
            Ok(item) => {
                self.account(&length);
                self.account(&bytes);
                self.items += 1;
                Ok(Some(item))
            }
            Err(RecordError::WrongKind { .. }) => {
                self.check_trailer(&bytes)?;
                self.ended = true;
                Ok(None)
            }
            Err(source) => Err(BackupError::Record {
                what: format!("record {} of the backup", self.items + 1),
                source,
            }),
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// Any [`BackupError`] but that of a target.
    pub fn summary(mut self) -> Result<BackupSummary, BackupError> {
        while self.next_item()?.is_some() {}
        Ok(BackupSummary {
            header: self.header,
            items: self.items,
            bytes: self.bytes,
        })
    }

    fn check_trailer(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let trailer: BackupTrailer =
            record::decode_message(RecordKind::BackupTrailer, bytes).map_err(|source| BackupError::Record {
                what: format!("record {} of the backup", self.items + 1),
                source,
            })?;
        if (trailer.item_count, trailer.byte_count) != (self.items, self.bytes) {
            return Err(BackupError::Damaged(format!(
                "it has {} records in {} bytes, and should have {} in {}",
                self.items, self.bytes, trailer.item_count, trailer.byte_count
            )));
        }
        if trailer.sha256 != self.digest.clone().finalize().as_slice() {
            return Err(BackupError::Damaged(
                "its SHA-256 is not the one that it should have".to_owned(),
            ));
        }
        self.bytes += (size_of::<u32>() + bytes.len()) as u64;
        let mut more = [0];
        match self.input.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(BackupError::GoesOn),
            Err(source) => Err(BackupError::io("read the backup")(source)),
        }
    }

    fn frame(&mut self, within: &'static str) -> Result<([u8; 4], Vec<u8>), BackupError> {
        let mut length = [0; size_of::<u32>()];
        self.fill(&mut length, within)?;
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > MAX_RECORD_BYTES {
            return Err(BackupError::Damaged(format!("it has a record of {bytes} bytes")));
        }
        let mut record = vec![0; bytes];
        self.fill(&mut record, within)?;
        Ok((length, record))
    }

    fn fill(&mut self, bytes: &mut [u8], within: &'static str) -> Result<(), BackupError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::CutOff(within),
            _ => BackupError::io("read the backup")(error),
        })
    }

    fn account(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

/// Writes all of a state.
///
/// # Errors
/// [`BackupError::Io`] or [`BackupError::Record`].
pub(super) fn write_state<W: Write>(out: W, header: &BackupHeader, state: &ClusterState) -> Result<W, BackupError> {
    let mut writer = BackupWriter::begin(out, header)?;
    for item in state.snapshot() {
        writer.item(&item)?;
    }
    writer.end()
}

/// Reads the state out of a backup, once all of it is known to be sound.
///
/// # Errors
/// Any [`BackupError`] but that of a target.
pub(super) fn read_state<R: Read>(input: R) -> Result<(BackupSummary, ClusterState), BackupError> {
    let mut reader = BackupReader::begin(input)?;
    let mut failure = None;
    let items = std::iter::from_fn(|| {
        reader.next_item().unwrap_or_else(|error| {
            failure = Some(error);
            None
        })
    });
    let state = ClusterState::from_snapshot(items);
    if let Some(error) = failure {
        return Err(error);
    }
    let state = state.map_err(|error| BackupError::Damaged(error.to_string()))?;
    Ok((reader.summary()?, state))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
