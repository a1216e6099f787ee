//! The storage on disk: commits are made durable by a journal and kept by sled 0.34. Shell.
//!
//! A commit of sled alone is slow: it writes two parts, each through a pool of threads that all wake up, and its flush does not reach the platter. So each
//! commit is synced in a journal (`journals.rs`) and kept in memory; sled gets the changes of many commits when the journal is full
//! (`engine.rs`), on a thread of its own, while commits go to another journal. sled also leaves out without a word what it finds damaged, so a
//! store is opened only if its content is what was committed last.

use std::error::Error;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use nix::sys::statvfs::statvfs;

use crate::engine::{Engine, is_full};
use crate::journal::{JournalFile, Record};
use crate::journals::Journals;
use crate::tally::{self, Changes, TALLY_KEY, Tally};
use crate::witness::Witness;
use crate::{Batch, KeyValue, Scan, Storage, StorageError, io_error};

/// The state contains secrets: nobody but its owner reads it.
const DIRECTORY_MODE: u32 = 0o700;

/// Keys that were changed since sled got some, after which it gets them also if the journal is not full: it takes long for many small
/// changes, and commits must not fill the other journal meanwhile.
const MAX_AHEAD: usize = 2048;

/// A [`Storage`] in a folder of its own.
#[derive(Debug)]
pub struct SledStorage {
    path: PathBuf,
    engine: Arc<Engine>,
    written: Mutex<Written>,
    witness: Mutex<Witness>,
}

/// All commits so far, durable or not.
#[derive(Debug)]
struct Written {
    /// What the content is with them.
    tally: Tally,
    journals: Journals,
    /// What the current journal has.
    ahead: Changes,
    /// What the full journal has, until the engine has it as well.
    sealed: Arc<Changes>,
    checkpoint: Option<JoinHandle<Result<(), StorageError>>>,
    /// Why the engine did not get what the full journal has, which has all of it and keeps it.
    failure: Option<String>,
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
        let engine = unless_it_panics(path, || Engine::open(path))?;
        let (mut journals, records) = Journals::open(path)?;
        let found = unless_it_panics(path, || Found::in_store(path, engine.database(), records))?;
        let witness = match Witness::open(path)? {
            Some(witness) => witness,
            None if found.stored.is_none() => Witness::create(path)?,
            None => return Err(damaged(path, "its file witness is missing".to_owned())),
        };
        let tally = found.check(path, witness.commits())?;
        sync_path(&path.join("conf"))?;
        sync_path(path)?;
        for folder in created {
            sync_path(parent(&folder))?;
        }
        sync_path(parent(path))?;
        if found.stored.is_none() || !found.ahead.is_empty() {
            engine.take(&found.ahead, tally).map_err(unless_the_disk_is_full)?;
            // A sled that recovered from damage may take a batch, and not have it.
            let found = unless_it_panics(path, || Found::in_store(path, engine.database(), Vec::new()))?;
            found.check(path, tally.commits)?;
        }
        journals.restart();
        Ok(Self {
            path: path.to_owned(),
            engine: Arc::new(engine),
            written: Mutex::new(Written {
                tally,
                journals,
                ahead: Changes::new(),
                sealed: Arc::default(),
                checkpoint: None,
                failure: None,
            }),
            witness: Mutex::new(witness),
        })
    }

    /// Writes changes along with the tally of what they leave; returns what makes them durable, and the number of this commit.
    fn write(&self, changes: Changes) -> Result<(Arc<JournalFile>, u64), StorageError> {
        let mut written = self.written()?;
        self.check_whole(&written)?;
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
        if written.ahead.len() >= MAX_AHEAD || !written.journals.prepare(next, &changes) {
            self.begin_checkpoint(&mut written)?;
            // At the front of a journal there is room for anything.
            written.journals.prepare(next, &changes);
        }
        written.journals.append()?;
        written.ahead.extend(changes);
        written.tally = next;
        Ok((written.journals.file(), next.commits))
    }

    /// Has the engine take what the current journal has, while commits go to the other one, which is free once the checkpoint before has ended.
    fn begin_checkpoint(&self, written: &mut Written) -> Result<(), StorageError> {
        self.end_checkpoint(written)?;
        written.journals.turn_over()?;
        written.sealed = Arc::new(std::mem::take(&mut written.ahead));
        let (engine, sealed, tally) = (Arc::clone(&self.engine), Arc::clone(&written.sealed), written.tally);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        match thread.spawn(move || engine.take(&sealed, tally)) {
            Ok(checkpoint) => {
                written.checkpoint = Some(checkpoint);
                Ok(())
            }
            Err(source) => {
                written.failure = Some("no thread could be started".to_owned());
                Err(io_error("start a thread for a checkpoint of", &self.path, source))
            }
        }
    }

    /// Waits until the engine has what the full journal has.
    fn end_checkpoint(&self, written: &mut Written) -> Result<(), StorageError> {
        if let Some(checkpoint) = written.checkpoint.take() {
            let panicked = |_| Err(self.broken_off("the engine panicked"));
            checkpoint
                .join()
                .unwrap_or_else(panicked)
                .inspect_err(|error| written.failure = Some(with_causes(error)))?;
        }
        self.check_whole(written)?;
        written.sealed = Arc::default();
        Ok(())
    }

    fn check_whole(&self, written: &Written) -> Result<(), StorageError> {
        written
            .failure
            .as_ref()
            .map_or(Ok(()), |reason| Err(self.broken_off(reason)))
    }

    /// Has the engine take all that was written, and empties the journals.
    fn close(&self, written: &mut Written) -> Result<(), StorageError> {
        self.end_checkpoint(written)?;
        if !written.ahead.is_empty() {
            self.engine.take(&written.ahead, written.tally)?;
        }
        written.journals.empty()
    }

    /// The value of a key.
    fn current(&self, written: &Written, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(value) = written.ahead.get(key).or_else(|| written.sealed.get(key)) {
            return Ok(value.clone());
        }
        let value = self.engine.database().get(key);
        let value = value.map_err(|source| self.engine.error("read", source))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn written(&self) -> Result<MutexGuard<'_, Written>, StorageError> {
        self.written.lock().map_err(|_| self.broken_off("it panicked"))
    }

    fn broken_off(&self, reason: &str) -> StorageError {
        StorageError::BrokenOff {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl Storage for SledStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.current(&*self.written()?, key)
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        let ahead = match self.written() {
            Ok(written) => {
                let mut ahead = within(&written.sealed, &range);
                ahead.extend(within(&written.ahead, &range));
                ahead
            }
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let items = content(ahead, self.engine.database(), range);
        Box::new(items.map(|item| item.map_err(|source| self.engine.error("read", source))))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let changes = tally::changes(batch.into_checked_operations()?);
        if changes.is_empty() {
            return Ok(());
        }
        let (journal, commits) = self.write(changes)?;
        journal.sync()?;
        let witness = self.witness.lock();
        witness.map_err(|_| self.broken_off("it panicked"))?.saw(commits)
    }

    fn commit_unhurried(&self, batch: Batch) -> Result<(), StorageError> {
        drop(self.engine.turn());
        self.commit(batch)
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
            // If it fails, the journals still have all that this would make durable.
            self.close(&mut written).ok();
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

fn with_causes(error: &StorageError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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

#[cfg(test)]
#[path = "sled_storage_tests.rs"]
mod tests;
