//! The storage on disk, kept by sled 0.34. Shell.
//!
//! sled's own flush does not reach the platter, so every commit ends with an `fdatasync` of its one
//! data file, and opening ends with a sync of everything that opening created. sled also leaves out without a word what
//! it finds damaged, so a store is opened only if its content is what was committed last.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use crate::tally::{self, Changes, TALLY_KEY, Tally};
use crate::witness::Witness;
use crate::{Batch, KeyValue, Scan, Storage, StorageError, io_error};

/// Bytes that sled keeps in memory beside its index; the group's state is in memory anyway.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// How long a store may still be held by whoever closed it: sled's threads let go of it a little later.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two attempts to get hold of a store.
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// The state contains secrets: nobody but its owner reads it.
const DIRECTORY_MODE: u32 = 0o700;

/// A [`Storage`] in a folder of its own.
#[derive(Debug)]
pub struct SledStorage {
    path: PathBuf,
    database: sled::Db,
    data_file: File,
    /// What the content is with all that is written, synced or not.
    tally: Mutex<Tally>,
    witness: Mutex<Witness>,
}

impl SledStorage {
    /// Opens the store in a folder, or creates both.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::DiskFull`], [`StorageError::Open`], [`StorageError::Damaged`] or [`StorageError::Io`].
    /// Nothing is ever removed.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let created = create_folder(path)?;
        // On damaged files sled panics here and there.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open_database(path)?;
            let found = Found::in_database(path, &database)?;
            Ok((database, found))
        }));
        let (database, found) = opened.unwrap_or_else(|_| Err(damaged(path, "reading it failed".to_owned())))?;
        let data_path = path.join("db");
        let data_file = File::open(&data_path).map_err(|source| io_error("open", &data_path, source))?;
        let witness = match Witness::open(path)? {
            Some(witness) => witness,
            None if found.stored.is_none() => Witness::create(path)?,
            None => return Err(damaged(path, "its file witness is missing".to_owned())),
        };
        let storage = Self {
            path: path.to_owned(),
            database,
            data_file,
            tally: Mutex::new(found.check(path, witness.commits())?),
            witness: Mutex::new(witness),
        };
        storage.sync()?;
        sync_path(&path.join("conf"))?;
        sync_path(path)?;
        for folder in created {
            sync_path(parent(&folder))?;
        }
        sync_path(parent(path))?;
        if found.stored.is_none() && !found.is_empty {
            // A store from before there were tallies: from now on it has one.
            storage.commit(Batch::default())?;
        }
        Ok(storage)
    }

    /// Writes changes along with the tally of what they leave, not synced yet; returns the number of this commit.
    fn apply(&self, changes: Changes) -> Result<u64, StorageError> {
        let write_error = |source| self.engine_error("write", source);
        let mut current = self.tally.lock().map_err(|_| self.gave_up())?;
        let mut next = *current;
        next.commits += 1;
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            if let Some(old) = self.database.get(&key).map_err(write_error)? {
                next.remove(&key, &old);
            }
            match value {
                Some(value) => {
                    next.add(&key, &value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch.insert(TALLY_KEY, &next.encode());
        self.database.apply_batch(batch).map_err(write_error)?;
        *current = next;
        Ok(next.commits)
    }

    fn gave_up(&self) -> StorageError {
        damaged(&self.path, "an earlier write to it broke off".to_owned())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.database
            .flush()
            .map_err(|source| self.engine_error("flush", source))?;
        self.data_file
            .sync_data()
            .map_err(|source| io_error("sync", &self.path.join("db"), source))
    }

    fn engine_error(&self, action: &'static str, source: sled::Error) -> StorageError {
        StorageError::Engine {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

impl Storage for SledStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self
            .database
            .get(key)
            .map_err(|source| self.engine_error("read", source))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        Box::new(content(&self.database, range).map(|item| item.map_err(|source| self.engine_error("read", source))))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let changes = tally::changes(batch.into_checked_operations()?);
        let commits = self.apply(changes)?;
        self.sync()?;
        self.witness.lock().map_err(|_| self.gave_up())?.saw(commits)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let disk =
            statvfs(&self.path).map_err(|errno| io_error("measure the free space of", &self.path, errno.into()))?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }
}

/// What a store that was opened contains.
struct Found {
    /// The tally that the last commit left.
    stored: Option<Tally>,
    /// The tally of what is there.
    counted: Tally,
    is_empty: bool,
}

impl Found {
    fn in_database(path: &Path, database: &sled::Db) -> Result<Self, StorageError> {
        let read_error = |source| match source {
            sled::Error::Io(ref error) if error.kind() != io::ErrorKind::UnexpectedEof => StorageError::Engine {
                action: "read",
                path: path.to_owned(),
                source,
            },
            other => damaged(path, format!("reading it failed: {other}")),
        };
        let stored = match database.get(TALLY_KEY).map_err(read_error)? {
            None => None,
            Some(bytes) => {
                let tally = Tally::decode(&bytes);
                Some(tally.ok_or_else(|| damaged(path, "its tally cannot be read".to_owned()))?)
            }
        };
        let commits = stored.map_or(0, |tally| tally.commits);
        let mut keys = 0_u64;
        let content = content(database, Vec::new()..vec![u8::MAX; TALLY_KEY.len()]).inspect(|_| keys += 1);
        Ok(Self {
            stored,
            counted: Tally::of(commits, content).map_err(read_error)?,
            is_empty: keys == 0,
        })
    }

    /// The tally of the store, if it has what was committed, at least up to the commit that its witness knows.
    fn check(&self, path: &Path, witnessed: u64) -> Result<Tally, StorageError> {
        let commits = self.counted.commits;
        if commits < witnessed {
            let reason = format!("it ends with commit {commits}, and commit {witnessed} was made durable");
            return Err(damaged(path, reason));
        }
        if self.stored.is_some_and(|stored| stored != self.counted) {
            let reason = format!("its content is not what commit {commits} left");
            return Err(damaged(path, reason));
        }
        Ok(self.counted)
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

/// The keys of callers in a range.
fn content(database: &sled::Db, range: Range<Vec<u8>>) -> impl Iterator<Item = Result<KeyValue, sled::Error>> {
    let items = database.range(range);
    items
        .filter(|item| !item.as_ref().is_ok_and(|(key, _)| key == TALLY_KEY))
        .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())))
}

fn damaged(path: &Path, reason: String) -> StorageError {
    StorageError::Damaged {
        path: path.to_owned(),
        reason,
    }
}

/// Creates a folder with its ancestors and returns those that did not exist.
fn create_folder(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .map(Path::to_owned)
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|source| io_error("create", path, source))?;
    Ok(missing)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn sync_path(path: &Path) -> Result<(), StorageError> {
    fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| io_error("sync", path, source))
}

fn open_error(path: &Path, source: sled::Error) -> StorageError {
    match &source {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            StorageError::InUse { path: path.to_owned() }
        }
        sled::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => StorageError::DiskFull {
            path: path.to_owned(),
            source,
        },
        _ => StorageError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_VALUE_BYTES;

    fn put(storage: &SledStorage, key: &[u8], value: Vec<u8>) {
        let mut batch = Batch::default();
        batch.put(key.to_vec(), value);
        storage.commit(batch).unwrap();
    }

    #[test]
    fn sled_store_reopened_has_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/store");
        let storage = SledStorage::open(&path).unwrap();
        put(&storage, b"k1", b"v1".to_vec());
        let mut batch = Batch::default();
        batch.put(b"k2".to_vec(), b"v2".to_vec());
        batch.delete(b"k1".to_vec());
        storage.commit(batch).unwrap();
        drop(storage);

        let storage = SledStorage::open(&path).unwrap();
        assert_eq!(storage.get(b"k1").unwrap(), None);
        let found: Vec<_> = storage.scan(b"k".to_vec()..b"l".to_vec()).map(Result::unwrap).collect();
        assert_eq!(found, [(b"k2".to_vec(), b"v2".to_vec())]);
    }

    #[test]
    fn sled_store_opened_twice_names_the_path_and_the_other_process() {
        let folder = tempfile::tempdir().unwrap();
        let _first = SledStorage::open(folder.path()).unwrap();
        let error = SledStorage::open(folder.path()).unwrap_err();
        assert!(matches!(error, StorageError::InUse { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&folder.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn sled_store_with_damaged_files_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(SledStorage::open(folder.path()).unwrap());
        let conf = folder.path().join("conf");
        fs::write(&conf, b"not a configuration").unwrap();
        let error = SledStorage::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(fs::read(&conf).unwrap(), b"not a configuration");
    }

    #[test]
    fn sled_store_given_a_value_over_the_bound_refuses_the_batch() {
        let folder = tempfile::tempdir().unwrap();
        let storage = SledStorage::open(folder.path()).unwrap();
        let mut batch = Batch::default();
        batch.put(b"small".to_vec(), vec![0]);
        batch.put(b"large".to_vec(), vec![0; MAX_VALUE_BYTES + 1]);
        let error = storage.commit(batch).unwrap_err();
        assert!(matches!(error, StorageError::ValueTooLarge { .. }), "{error:?}");
        assert_eq!(storage.get(b"small").unwrap(), None);
    }

    #[test]
    fn sled_store_full_of_largest_values_keeps_all_in_the_file_that_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let storage = SledStorage::open(folder.path()).unwrap();
        for round in 0..20_u8 {
            let mut batch = Batch::default();
            for number in 0..100_u64 {
                let key = (number * 7919 % 1000 + u64::from(round % 4) * 1000)
                    .to_be_bytes()
                    .to_vec();
                batch.put(key, vec![round; MAX_VALUE_BYTES]);
            }
            for number in 0..30_u64 {
                batch.delete((number * 31 % 4000).to_be_bytes().to_vec());
            }
            storage.commit(batch).unwrap();
        }
        let blobs = fs::read_dir(folder.path().join("blobs")).unwrap().count();
        assert_eq!(blobs, 0, "values left the synced file");
    }
}
