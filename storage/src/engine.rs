//! sled 0.34, which keeps what was committed: how it is opened, and how it is given changes so that it loses none. Shell.
//!
//! sled takes for durable what it has flushed, and reuses the space of what that replaces. But its flush does not reach the platter: so it gets changes
//! in parts that are each synced before the next.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::tally::{Changes, TALLY_KEY, Tally};
use crate::{StorageError, io_error};

/// Bytes that sled keeps in memory beside its index; the group's state is in memory anyway.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of changes that sled gets at once: less than the segments in which it writes its file.
const PART_BYTES: usize = 128 * 1024;

/// Changes that sled gets at once: nobody reads from it meanwhile, and each takes it some 20 us, also if it is small.
const PART_CHANGES: usize = 256;

/// How long a store may still be held by whoever closed it: sled's threads let go of it a little later.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two attempts to get hold of a store.
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// An open sled.
#[derive(Debug)]
pub(crate) struct Engine {
    path: PathBuf,
    database: sled::Db,
    data_path: PathBuf,
    data_file: File,
    /// Held by whoever gives it changes.
    turn: Mutex<()>,
}

impl Engine {
    /// Opens the engine in the folder of a store, or creates it.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::DiskFull`], [`StorageError::Open`], [`StorageError::Damaged`] or [`StorageError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let database = open_database(path)?;
        let data_path = path.join("db");
        let data_file = File::open(&data_path).map_err(|source| io_error("open", &data_path, source))?;
        Ok(Self {
            path: path.to_owned(),
            database,
            data_path,
            data_file,
            turn: Mutex::new(()),
        })
    }

    /// What it has, to be read.
    pub(crate) fn database(&self) -> &sled::Db {
        &self.database
    }

    /// Makes changes durable, and the tally of what they leave; not as a whole: if it breaks off, it may have some of them.
    ///
    /// # Errors
    /// [`StorageError::Engine`] or [`StorageError::Io`].
    pub(crate) fn take(&self, changes: &Changes, tally: Tally) -> Result<(), StorageError> {
        let _turn = self.turn();
        let (mut part, mut bytes, mut count) = (sled::Batch::default(), 0, 0);
        for (key, value) in changes {
            let more = key.len() + value.as_ref().map_or(0, Vec::len);
            if count == PART_CHANGES || (count > 0 && bytes + more > PART_BYTES) {
                self.make_durable(std::mem::take(&mut part))?;
                (bytes, count) = (0, 0);
            }
            bytes += more;
            count += 1;
            match value {
                Some(value) => part.insert(key.as_slice(), value.as_slice()),
                None => part.remove(key.as_slice()),
            }
        }
        part.insert(TALLY_KEY, &tally.encode());
        self.make_durable(part)
    }

    /// What a failure of sled means for the store.
    pub(crate) fn error(&self, action: &'static str, source: sled::Error) -> StorageError {
        StorageError::Engine {
            action,
            path: self.path.clone(),
            source,
        }
    }

    /// Waits until nobody gives it changes, and has nobody do so meanwhile.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        // Nothing is behind the lock that a panic could leave half done.
        self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn make_durable(&self, part: sled::Batch) -> Result<(), StorageError> {
        self.database
            .apply_batch(part)
            .map_err(|source| self.error("write", source))?;
        self.database.flush().map_err(|source| self.error("flush", source))?;
        self.data_file
            .sync_data()
            .map_err(|source| io_error("sync", &self.data_path, source))
    }
}

fn open_database(path: &Path) -> Result<sled::Db, StorageError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let started = Instant::now();
    loop {
        match config.open().map_err(|source| open_error(path, source)) {
            Err(StorageError::InUse { .. }) if started.elapsed() < RELEASE_PATIENCE => thread::sleep(RELEASE_PAUSE),
            opened => return opened,
        }
    }
}

fn open_error(path: &Path, source: sled::Error) -> StorageError {
    match &source {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            StorageError::InUse { path: path.to_owned() }
        }
        error if is_full(error) => StorageError::DiskFull {
            path: path.to_owned(),
            source,
        },
        _ => StorageError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

/// Whether there was no space for it.
pub(crate) fn is_full(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull)
}
