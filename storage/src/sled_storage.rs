//! The storage on disk: commits are made durable by a journal and kept by sled 0.34. Shell.
//!
//! A commit of sled alone is slow: it writes two parts, each through a pool of threads that all wake up, and its flush does not reach the platter. So each
//! commit is synced in a journal (`journal.rs`) and kept in memory; sled gets the changes of many commits when the journal is full. sled takes
//! for durable what it has flushed, and reuses the space of what that replaces: so it gets them in parts that are each synced before the next.
//! It also leaves out without a word what it finds damaged, so a store is opened only if its content is what was committed last.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use crate::journal::{Journal, Record, Syncing};
use crate::tally::{self, Changes, TALLY_KEY, Tally};
use crate::witness::Witness;
use crate::{Batch, KeyValue, Scan, Storage, StorageError, io_error};

/// Bytes that sled keeps in memory beside its index; the group's state is in memory anyway.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of changes that sled gets at once: less than the segments in which it writes its file.
const PART_BYTES: usize = 128 * 1024;

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
    written: Mutex<Written>,
    witness: Mutex<Witness>,
}

/// All commits so far, durable or not.
#[derive(Debug)]
struct Written {
    /// What the content is with them.
    tally: Tally,
    journal: Journal,
    /// What sled lacks of them.
    ahead: Changes,
}

impl SledStorage {
    /// Opens the store in a folder, or creates both.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::DiskFull`], [`StorageError::Open`], [`StorageError::Damaged`] or [`StorageError::Io`].
    /// Nothing is ever removed.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let created = create_folder(path)?;
        // Before anything else: the store of another process is left alone.
        let database = unless_it_panics(path, || open_database(path))?;
        let (journal, records) = match Journal::open(path)? {
            Some(found) => found,
            None => (Journal::create(path)?, Vec::new()),
        };
        let found = unless_it_panics(path, || Found::in_store(path, &database, records))?;
        let data_path = path.join("db");
        let data_file = File::open(&data_path).map_err(|source| io_error("open", &data_path, source))?;
        let witness = match Witness::open(path)? {
            Some(witness) => witness,
            None if found.stored.is_none() => Witness::create(path)?,
            None => return Err(damaged(path, "its file witness is missing".to_owned())),
        };
        let tally = found.check(path, witness.commits())?;
        let is_behind = found.stored.is_none() || !found.ahead.is_empty();
        let storage = Self {
            path: path.to_owned(),
            database,
            data_file,
            written: Mutex::new(Written {
                tally,
                journal,
                ahead: found.ahead,
            }),
            witness: Mutex::new(witness),
        };
        sync_path(&path.join("conf"))?;
        sync_path(path)?;
        for folder in created {
            sync_path(parent(&folder))?;
        }
        sync_path(parent(path))?;
        if is_behind {
            let done = storage.checkpoint(&mut *storage.written()?);
            done.map_err(unless_the_disk_is_full)?;
            // A sled that recovered from damage may take a batch, and not have it.
            let found = unless_it_panics(path, || Found::in_store(path, &storage.database, Vec::new()))?;
            found.check(path, tally.commits)?;
        }
        Ok(storage)
    }

    /// Writes changes along with the tally of what they leave; returns what makes them durable, and the number of this commit.
    fn write(&self, changes: Changes) -> Result<(Syncing, u64), StorageError> {
        let mut written = self.written()?;
        let mut next = written.tally;
        next.commits += 1;
        for (key, value) in &changes {
            if let Some(old) = self.current(&written, key)? {
                next.remove(key, &old);
            }
            if let Some(value) = value {
                next.add(key, value);
            }
        }
        if !written.journal.prepare(next, &changes) {
            self.checkpoint(&mut written)?;
        }
        written.journal.append()?;
        written.ahead.extend(changes);
        written.tally = next;
        Ok((written.journal.syncing(), next.commits))
    }

    /// Makes all that was written durable in sled, after which the journal has room again.
    fn checkpoint(&self, written: &mut Written) -> Result<(), StorageError> {
        let (mut part, mut bytes) = (sled::Batch::default(), 0);
        for (key, value) in &written.ahead {
            let more = key.len() + value.as_ref().map_or(0, Vec::len);
            if bytes > 0 && bytes + more > PART_BYTES {
                self.make_durable(std::mem::take(&mut part))?;
                bytes = 0;
            }
            bytes += more;
            match value {
                Some(value) => part.insert(key.as_slice(), value.as_slice()),
                None => part.remove(key.as_slice()),
            }
        }
        part.insert(TALLY_KEY, &written.tally.encode());
        self.make_durable(part)?;
        written.ahead.clear();
        written.journal.restart();
        Ok(())
    }

    fn make_durable(&self, part: sled::Batch) -> Result<(), StorageError> {
        self.database
            .apply_batch(part)
            .map_err(|source| self.engine_error("write", source))?;
        self.database
            .flush()
            .map_err(|source| self.engine_error("flush", source))?;
        self.data_file
            .sync_data()
            .map_err(|source| io_error("sync", &self.path.join("db"), source))
    }

    /// The value of a key.
    fn current(&self, written: &Written, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(value) = written.ahead.get(key) {
            return Ok(value.clone());
        }
        let value = self.database.get(key);
        let value = value.map_err(|source| self.engine_error("read", source))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn written(&self) -> Result<MutexGuard<'_, Written>, StorageError> {
        self.written.lock().map_err(|_| self.gave_up())
    }

    fn gave_up(&self) -> StorageError {
        damaged(&self.path, "an earlier write to it broke off".to_owned())
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
        self.current(&*self.written()?, key)
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        let ahead = match self.written() {
            Ok(written) => within(&written.ahead, &range),
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let items = content(ahead, &self.database, range);
        Box::new(items.map(|item| item.map_err(|source| self.engine_error("read", source))))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let changes = tally::changes(batch.into_checked_operations()?);
        let (syncing, commits) = self.write(changes)?;
        syncing.sync()?;
        self.witness.lock().map_err(|_| self.gave_up())?.saw(commits)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let disk =
            statvfs(&self.path).map_err(|errno| io_error("measure the free space of", &self.path, errno.into()))?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }
}

/// So that the next one to open it finds all in sled, and may be a program from before there was a journal.
impl Drop for SledStorage {
    fn drop(&mut self) {
        if let Ok(mut written) = self.written.lock() {
            // If it fails, the journal still has all that this would make durable.
            let done = self.checkpoint(&mut written);
            done.and_then(|()| written.journal.empty()).ok();
        }
    }
}

/// Does what may panic: sled does so here and there on damaged files.
fn unless_it_panics<T>(path: &Path, work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged(path, "reading it failed".to_owned())))
}

/// The tally that the last checkpoint left.
fn stored_tally(path: &Path, database: &sled::Db) -> Result<Option<Tally>, StorageError> {
    let bytes = database.get(TALLY_KEY).map_err(|source| read_error(path, source))?;
    let unreadable = || damaged(path, "its tally cannot be read".to_owned());
    bytes
        .map(|bytes| Tally::decode(&bytes).ok_or_else(unreadable))
        .transpose()
}

fn read_error(path: &Path, source: sled::Error) -> StorageError {
    match source {
        sled::Error::Io(ref error) if error.kind() != io::ErrorKind::UnexpectedEof => StorageError::Engine {
            action: "read",
            path: path.to_owned(),
            source,
        },
        other => damaged(path, format!("reading it failed: {other}")),
    }
}

/// What a store that is being opened contains.
struct Found {
    /// The tally that it says it has.
    stored: Option<Tally>,
    /// The tally of what is there.
    counted: Tally,
    /// What its journal has, and sled may lack.
    ahead: Changes,
}

impl Found {
    fn in_store(path: &Path, database: &sled::Db, records: Vec<Record>) -> Result<Self, StorageError> {
        let mut stored = stored_tally(path, database)?;
        let mut ahead = Changes::new();
        if let (Some(first), Some(last)) = (records.first(), records.last()) {
            let commits = stored.map_or(0, |tally| tally.commits);
            let (first, last) = (first.tally.commits, last.tally);
            if first > commits + 1 {
                let reason = format!("it has {commits} commits, and its journal begins with commit {first}");
                return Err(damaged(path, reason));
            }
            // Also if sled has as many: a checkpoint that was under way may have left its tally, and not all of its changes. If it has more, a
            // program from before there was a journal wrote to it since.
            if last.commits >= commits {
                stored = Some(last);
                ahead = records.into_iter().flat_map(|record| record.changes).collect();
            }
        }
        let commits = stored.map_or(0, |tally| tally.commits);
        let all = Vec::new()..vec![u8::MAX; TALLY_KEY.len()];
        let counted = Tally::of(commits, content(ahead.clone(), database, all));
        Ok(Self {
            stored,
            counted: counted.map_err(|source| read_error(path, source))?,
            ahead,
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

/// The changes to keys in a range.
fn within(changes: &Changes, range: &Range<Vec<u8>>) -> Changes {
    if range.start >= range.end {
        return Changes::new();
    }
    let changes = changes.range(range.clone());
    changes.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The keys of callers in a range: what sled has of them, with the changes that it lacks.
fn content(
    ahead: Changes,
    database: &sled::Db,
    range: Range<Vec<u8>>,
) -> impl Iterator<Item = Result<KeyValue, sled::Error>> {
    let mut ahead = ahead.into_iter().peekable();
    let mut stored = database
        .range(range)
        .filter(|item| !item.as_ref().is_ok_and(|(key, _)| key == TALLY_KEY))
        .peekable();
    std::iter::from_fn(move || {
        loop {
            let is_ahead = match (ahead.peek(), stored.peek()) {
                (Some((changed, _)), Some(Ok((key, _)))) => changed.as_slice() <= key.as_ref(),
                (Some(_), None) => true,
                (_, _) => false,
            };
            if !is_ahead {
                return stored
                    .next()
                    .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            let (key, value) = ahead.next()?;
            stored.next_if(|item| item.as_ref().is_ok_and(|(stored, _)| *stored == key));
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    })
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

/// What is said of a store that cannot be brought up to date.
fn unless_the_disk_is_full(error: StorageError) -> StorageError {
    match error {
        StorageError::Engine { path, source, .. } if is_full(&source) => StorageError::DiskFull { path, source },
        error => error,
    }
}

fn is_full(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull)
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

#[cfg(test)]
#[path = "sled_storage_tests.rs"]
mod tests;
