//! Durable key-value storage under the Raft group and the ledgers of agents: the trait, and what implements it.
//!
//! Owns when bytes are safe on the disk, and the errors when they are not. It must not know what the
//! keys and values mean. Shell.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

mod engine;
mod journal;
mod journals;
mod memory;
mod sled_storage;
mod tally;
mod witness;

pub use memory::MemoryStorage;
pub use sled_storage::SledStorage;

/// The largest value that a storage takes; larger ones are stored in parts.
///
/// sled keeps up to 20 values in one page, and a page over 128 KiB leaves its log for a file of its
/// own that is never synced: 20 values of 4 KiB with their keys stay well below that.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;

/// A key with its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Keys with their values, in ascending order of the keys.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<KeyValue, StorageError>> + 'a>;

/// A durable map from byte strings to byte strings.
///
/// An error from any of its methods is final: what the storage holds is unknown until it is opened
/// again, so the caller stops.
pub trait Storage: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StorageError::Io`] or [`StorageError::Engine`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// The keys in a range, in ascending order.
    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_>;

    /// Writes a batch as a whole or not at all; when it returns, the batch survives a power cut. One that changes nothing is no commit.
    ///
    /// # Errors
    /// Any [`StorageError`] but those of opening.
    fn commit(&self, batch: Batch) -> Result<(), StorageError>;

    /// As [`Storage::commit`], for what is large and in no hurry: it leaves to others the room in which they commit without waiting.
    ///
    /// # Errors
    /// As [`Storage::commit`].
    fn commit_unhurried(&self, batch: Batch) -> Result<(), StorageError> {
        self.commit(batch)
    }

    /// The bytes that may still be written before the disk is full.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn free_bytes(&self) -> Result<u64, StorageError>;
}

/// Puts and deletes that take effect together; of several for one key the last counts.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<Operation>,
}

/// One change of a batch.
#[derive(Debug)]
pub enum Operation {
    /// Sets the value of a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Batch {
    /// Sets the value of a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.operations.push(Operation::Put { key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.operations.push(Operation::Delete { key });
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Number of puts and deletes.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The changes in order, for a [`Storage`] to carry out, once no value exceeds [`MAX_VALUE_BYTES`].
    ///
    /// # Errors
    /// [`StorageError::ValueTooLarge`].
    pub fn into_checked_operations(self) -> Result<Vec<Operation>, StorageError> {
        for operation in &self.operations {
            if let Operation::Put { key, value } = operation
                && value.len() > MAX_VALUE_BYTES
            {
                return Err(StorageError::ValueTooLarge {
                    key: hex::encode(key),
                    bytes: value.len(),
                });
            }
        }
        Ok(self.operations)
    }
}

/// Why a storage cannot be used, or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has the store open.
    #[error(
        "the store at {path} is in use by another process: stop the one that runs on this data \
         directory, or give this one another --data-dir"
    )]
    InUse {
        /// Folder of the store.
        path: PathBuf,
    },
    /// The store does not open since there is no space to write to.
    #[error(
        "the store at {path} does not open since its disk is full: nothing was changed and nothing is lost; free some \
         space and start again"
    )]
    DiskFull {
        /// Folder of the store.
        path: PathBuf,
        /// What the engine found.
        #[source]
        source: sled::Error,
    },
    /// The store does not open.
    #[error(
        "the store at {path} does not open: nothing was changed; to start with an empty state, remove the \
         --data-dir that contains it and start again"
    )]
    Open {
        /// Folder of the store.
        path: PathBuf,
        /// What the engine found.
        #[source]
        source: sled::Error,
    },
    /// The store is not what was committed to it.
    #[error(
        "the store at {path} is damaged: {reason}; it is not used, since what it would answer could be wrong. Keep a copy of the \
         --data-dir that contains it if you want to look into it, remove it and start again: a controller of several joins anew \
         and gets its state from the others, a controller alone is restored from a backup"
    )]
    Damaged {
        /// Folder of the store.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// It takes nothing more since an earlier write failed, which was told to whoever it was for.
    #[error(
        "the store at {path} takes nothing more since an earlier write to it failed: {reason}; what was committed is not lost: solve the cause \
         and start again"
    )]
    BrokenOff {
        /// Folder of the store.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// A file or a disk refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The storage engine failed while it was open.
    #[error("the store at {path} failed to {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// Folder of the store.
        path: PathBuf,
        /// What the engine answered.
        #[source]
        source: sled::Error,
    },
    /// A batch contains a value that should have been stored in parts.
    #[error("the value of key {key} has {bytes} bytes, more than the {MAX_VALUE_BYTES} that the store takes")]
    ValueTooLarge {
        /// The key, in hexadecimal.
        key: String,
        /// Length of the value.
        bytes: usize,
    },
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
