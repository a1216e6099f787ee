//! A storage that says how long its commits take. Shell.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use berth_storage::{Batch, Scan, Storage, StorageError};
use prometheus_client::metrics::histogram::Histogram;

/// The storage below, timed.
pub struct MeasuredStorage {
    storage: Arc<dyn Storage>,
    commits: Histogram,
}

impl MeasuredStorage {
    /// Times the commits of `storage` into `commits`, in seconds.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, commits: Histogram) -> Self {
        Self { storage, commits }
    }
}

impl std::fmt::Debug for MeasuredStorage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MeasuredStorage").finish_non_exhaustive()
    }
}

impl Storage for MeasuredStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.storage.get(key)
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        self.storage.scan(range)
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let began = Instant::now();
        let outcome = self.storage.commit(batch);
        self.commits.observe(began.elapsed().as_secs_f64());
        outcome
    }

    fn commit_unhurried(&self, batch: Batch) -> Result<(), StorageError> {
        // How long it waits says nothing of the disk.
        self.storage.commit_unhurried(batch)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.storage.free_bytes()
    }
}
