//! A storage without a disk, for tests: counts its commits and can be told to fail. Shell.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Batch, Operation, Scan, Storage, StorageError};

/// A [`Storage`] in memory; its content lives as long as the value.
#[derive(Debug)]
pub struct MemoryStorage {
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    commits: AtomicU64,
    free_bytes: AtomicU64,
    failing: AtomicBool,
    commit_delay: Duration,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::with_commit_delay(Duration::ZERO)
    }
}

impl MemoryStorage {
    /// An empty storage on which every commit takes as long as a slow disk would.
    pub fn with_commit_delay(commit_delay: Duration) -> Self {
        Self {
            map: Mutex::default(),
            commits: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            failing: AtomicBool::new(false),
            commit_delay,
        }
    }

    /// Number of commits so far: what would have been syncs of a disk.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Sets what [`Storage::free_bytes`] answers.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::SeqCst);
    }

    /// Makes every later commit fail as a broken disk would.
    pub fn fail_commits(&self) {
        self.failing.store(true, Ordering::SeqCst);
    }

    /// A storage of its own with the same content: what a crash at this moment would leave.
    pub fn duplicate(&self) -> Self {
        let copy = Self::default();
        copy.lock().clone_from(&self.lock());
        copy
    }

    /// Sets a value behind the back of whoever uses the storage, as a damaged disk would.
    pub fn overwrite(&self, key: Vec<u8>, value: Vec<u8>) {
        self.lock().insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.lock().get(key).cloned())
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        let found: Vec<_> = self
            .lock()
            .range(range)
            .map(|(key, value)| Ok((key.clone(), value.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let operations = batch.into_checked_operations()?;
        if !self.commit_delay.is_zero() {
            std::thread::sleep(self.commit_delay);
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(StorageError::Io {
                action: "sync",
                path: PathBuf::from("(memory)"),
                source: io::Error::other("told to fail"),
            });
        }
        let mut map = self.lock();
        for operation in operations {
            match operation {
                Operation::Put { key, value } => map.insert(key, value),
                Operation::Delete { key } => map.remove(&key),
            };
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(self.free_bytes.load(Ordering::SeqCst))
    }
}
