//! The file that makes commits durable: a file of a fixed length in front of the engine's own, to which each commit is appended and synced. Shell.
//!
//! The engine gets the changes when the journal is full: a checkpoint, after which the journal begins anew at its front. There are two that are
//! used in turn (`journals.rs`). Whoever opens a store takes from them what the engine may lack. That it has some of it already does no
//! harm, since a record says which value a key has afterwards.
//!
//! Its space is written when it is made, so that a commit changes no length and takes no space: the sync of a commit is one write to the disk,
//! and no full disk stops it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::tally::{Changes, TALLY_BYTES, Tally};
use crate::{StorageError, io_error};

/// Nobody but the owner of the store reads it.
const FILE_MODE: u32 = 0o600;

/// Length of the file; a commit that is larger makes it longer. What many clients commit while sled gets what a full one has must fit.
const FILE_BYTES: usize = 1024 * 1024;

/// Where the first record is. In front of it is the header, alone in what a disk writes as one.
const FIRST: usize = 4096;

/// What the header begins with; the number is that of the format.
const MAGIC: &[u8; 16] = b"berth journal 2\n";

/// What sets apart the records of this journal from bytes that look like some.
const SALT_BYTES: usize = 16;

/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 16;

/// Bytes of a length.
const LENGTH_BYTES: usize = 8;

/// Length and tally, in front of the changes of a record.
const FRONT_BYTES: usize = LENGTH_BYTES + TALLY_BYTES;

/// The length of a value that says that there is none.
const NO_VALUE: u64 = u64::MAX;

/// A journal of an open store.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<JournalFile>,
    salt: [u8; SALT_BYTES],
    /// Where the next record goes.
    end: usize,
    /// What it has to follow.
    previous: Hash,
    buffer: Vec<u8>,
}

/// The hash of a record: of all in it, of the salt, and of the hash of the one before, since a record that follows another one than it was
/// written behind is left over from before a power cut.
type Hash = [u8; HASH_BYTES];

/// What the first record follows.
const NO_RECORD: Hash = [0; HASH_BYTES];

/// One commit.
#[derive(Debug)]
pub(crate) struct Record {
    /// The tally of the content that it left.
    pub(crate) tally: Tally,
    /// What it changed.
    pub(crate) changes: Changes,
}

impl Journal {
    /// Opens a journal in the folder of a store, and reads what it holds; none if the folder has none of that name.
    ///
    /// # Errors
    /// [`StorageError::Io`], and [`StorageError::Damaged`] if its header cannot be read. Behind a record that cannot be read there are none.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Option<(Self, Vec<Record>)>, StorageError> {
        let path = folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let salt = salt_of(&bytes).ok_or_else(|| StorageError::Damaged {
            path: folder.to_owned(),
            reason: format!("its file {name} cannot be read"),
        })?;
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|source| io_error("open", &path, source))?;
        let mut previous = NO_RECORD;
        let mut rest = bytes.get(FIRST..).unwrap_or_default();
        let mut records: Vec<Record> = Vec::new();
        while let Some((record, hash, behind)) = Record::decode(rest, &salt, previous) {
            records.push(record);
            (previous, rest) = (hash, behind);
        }
        let journal = Self {
            file: Arc::new(JournalFile::new(path, file)),
            salt,
            previous,
            end: bytes.len() - rest.len(),
            buffer: Vec::new(),
        };
        Ok(Some((journal, records)))
    }

    /// Makes an empty journal, durable when this returns, apart from its folder.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn create(folder: &Path, name: &str) -> Result<Self, StorageError> {
        let path = folder.join(name);
        let unfinished = path.with_extension("new");
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| {
            let source = io::Error::other(error.to_string());
            io_error("draw a random number for", &path, source)
        })?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&unfinished)
            .map_err(|source| io_error("create", &unfinished, source))?;
        let write = || {
            let mut bytes = vec![0; FILE_BYTES];
            let header = header(&salt);
            bytes[..header.len()].copy_from_slice(&header);
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|source| io_error("write", &path, source))?;
        Ok(Self {
            file: Arc::new(JournalFile::new(path, file)),
            salt,
            previous: NO_RECORD,
            end: FIRST,
            buffer: Vec::new(),
        })
    }

    /// Puts a commit together, for [`Journal::append`]. Whether there is room for it.
    pub(crate) fn prepare(&mut self, tally: Tally, changes: &Changes) -> bool {
        encode(&mut self.buffer, tally, changes, &self.salt, self.previous);
        // At the front there is always room: the file grows.
        self.end == FIRST || self.end + self.buffer.len() <= FILE_BYTES
    }

    /// Writes the commit that was put together, not synced yet.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn append(&mut self) -> Result<(), StorageError> {
        self.file.write(&self.buffer, self.end)?;
        self.end += self.buffer.len();
        self.previous = self.buffer.last_chunk().copied().unwrap_or(NO_RECORD);
        Ok(())
    }

    /// Begins anew, once all that was appended is durable elsewhere.
    pub(crate) fn restart(&mut self) {
        (self.end, self.previous) = (FIRST, NO_RECORD);
    }

    /// Forgets what it has, once all of it is durable elsewhere.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn empty(&mut self) -> Result<(), StorageError> {
        self.restart();
        self.file.write(&[0; FRONT_BYTES], FIRST)
    }

    /// Its file, which makes appended commits durable.
    pub(crate) fn file(&self) -> &Arc<JournalFile> {
        &self.file
    }
}

/// The file of a journal, which makes durable what was appended.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    file: File,
    /// The system tells of a write that failed once, and takes the next sync for a success: of two that sync, one would not know.
    failed: AtomicBool,
}

impl JournalFile {
    fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file,
            failed: AtomicBool::new(false),
        }
    }

    fn write(&self, bytes: &[u8], place: usize) -> Result<(), StorageError> {
        self.file
            .write_all_at(bytes, place as u64)
            .map_err(|source| io_error("write", &self.path, source))
    }

    /// Returns once all that was appended before is durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        // After the sync, which may have been told nothing since another one was.
        let synced = synced.and_then(|()| match self.failed.load(Ordering::SeqCst) {
            true => Err(io::Error::other("an earlier sync of it failed")),
            false => Ok(()),
        });
        synced.map_err(|source| io_error("sync", &self.path, source))
    }
}

fn header(salt: &[u8; SALT_BYTES]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), salt].concat();
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    bytes.extend(hash);
    bytes
}

fn salt_of(file: &[u8]) -> Option<[u8; SALT_BYTES]> {
    let salt: [u8; SALT_BYTES] = *file.get(MAGIC.len()..)?.first_chunk()?;
    file.starts_with(&header(&salt)).then_some(salt)
}

fn encode(buffer: &mut Vec<u8>, tally: Tally, changes: &Changes, salt: &[u8], previous: Hash) {
    buffer.clear();
    buffer.extend([0; LENGTH_BYTES]);
    buffer.extend(tally.encode());
    for (key, value) in changes {
        put_part(buffer, key);
        match value {
            Some(value) => put_part(buffer, value),
            None => buffer.extend(NO_VALUE.to_be_bytes()),
        }
    }
    let length = (buffer.len() - FRONT_BYTES) as u64;
    buffer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    let hash = hash(salt, previous, buffer);
    buffer.extend(hash);
}

fn put_part(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.extend((part.len() as u64).to_be_bytes());
    buffer.extend(part);
}

fn hash(salt: &[u8], previous: Hash, bytes: &[u8]) -> Hash {
    let hasher = Sha256::new().chain_update(salt).chain_update(previous);
    let whole: [u8; 32] = hasher.chain_update(bytes).finalize().into();
    let mut half = [0; HASH_BYTES];
    half.copy_from_slice(&whole[..HASH_BYTES]);
    half
}

impl Record {
    /// The record at the front of some bytes if it was written behind that one, its hash, and what is behind it.
    fn decode<'a>(bytes: &'a [u8], salt: &[u8], previous: Hash) -> Option<(Self, Hash, &'a [u8])> {
        let length = usize::try_from(u64::from_be_bytes(*bytes.first_chunk()?)).ok()?;
        let (hashed, behind) = bytes.split_at_checked(FRONT_BYTES.checked_add(length)?)?;
        let (found, behind) = behind.split_first_chunk::<HASH_BYTES>()?;
        if *found != hash(salt, previous, hashed) {
            return None;
        }
        let tally = Tally::decode(hashed.get(LENGTH_BYTES..FRONT_BYTES)?)?;
        let mut rest = hashed.get(FRONT_BYTES..)?;
        let mut changes = Changes::new();
        while !rest.is_empty() {
            let key = take_part(&mut rest)??;
            let value = take_part(&mut rest)?;
            changes.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
        Some((Self { tally, changes }, *found, behind))
    }
}

/// The next part of a record, which may say that there is no value; nothing if the record ends before it does.
fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = u64::from_be_bytes(*length);
    if length == NO_VALUE {
        *bytes = rest;
        return Some(None);
    }
    let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "journal";

    fn tally(commits: u64) -> Tally {
        let mut tally = Tally::default();
        tally.commits = commits;
        tally
    }

    fn changes(key: &[u8], value: Option<Vec<u8>>) -> Changes {
        Changes::from([(key.to_vec(), value), (b"always".to_vec(), Some(vec![7]))])
    }

    fn append(journal: &mut Journal, commits: u64, value: Option<Vec<u8>>) {
        journal.prepare(tally(commits), &changes(b"key", value));
        journal.append().unwrap();
    }

    fn found(folder: &Path) -> Vec<u64> {
        let (_, records) = Journal::open(folder, NAME).unwrap().unwrap();
        records.iter().map(|record| record.tally.commits).collect()
    }

    #[test]
    fn journal_opened_again_has_its_records_and_goes_on_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::open(folder.path(), NAME).unwrap().is_none());
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        append(&mut journal, 5, Some(vec![1, 2, 3]));
        append(&mut journal, 6, None);
        let (mut journal, records) = Journal::open(folder.path(), NAME).unwrap().unwrap();
        assert_eq!(records[0].changes, changes(b"key", Some(vec![1, 2, 3])));
        assert_eq!(records[1].changes, changes(b"key", None));
        append(&mut journal, 7, Some(vec![]));
        assert_eq!(found(folder.path()), [5, 6, 7]);
    }

    #[test]
    fn journal_begun_anew_has_only_what_came_since() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        for commits in 1..=9 {
            append(&mut journal, commits, Some(vec![1]));
        }
        journal.restart();
        append(&mut journal, 10, Some(vec![1]));
        append(&mut journal, 11, Some(vec![1]));
        assert_eq!(found(folder.path()), [10, 11]);
        journal.empty().unwrap();
        assert_eq!(found(folder.path()), [0_u64; 0]);
    }

    #[test]
    fn journal_ends_in_front_of_a_record_that_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        append(&mut journal, 1, Some(vec![1; 100]));
        let second = journal.end;
        append(&mut journal, 2, Some(vec![2; 100]));
        append(&mut journal, 3, Some(vec![3; 100]));
        journal.file.write(&[9], second + 70).unwrap();
        assert_eq!(found(folder.path()), [1]);
    }

    #[test]
    fn journal_with_a_record_from_before_a_power_cut_ends_in_front_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        append(&mut journal, 1, Some(vec![1]));
        append(&mut journal, 2, Some(vec![1]));
        journal.restart();
        // Not the first that was lost, but of the same length.
        append(&mut journal, 1, Some(vec![2]));
        assert_eq!(found(folder.path()), [1]);
    }

    #[test]
    fn journal_that_is_full_takes_a_larger_commit_at_its_front() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        append(&mut journal, 1, Some(vec![1]));
        let large = changes(b"large", Some(vec![1; 2 * FILE_BYTES]));
        assert!(!journal.prepare(tally(2), &large));
        journal.restart();
        assert!(journal.prepare(tally(2), &large));
        journal.append().unwrap();
        assert!(!journal.prepare(tally(3), &changes(b"key", None)));
        assert_eq!(found(folder.path()), [2]);
    }

    #[test]
    fn journal_with_a_damaged_header_says_so_and_the_records_of_another_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), NAME).unwrap();
        append(&mut journal, 1, Some(vec![1]));
        let bytes = fs::read(folder.path().join(NAME)).unwrap();
        let other = Journal::create(folder.path(), NAME).unwrap();
        other.file.write(&bytes[FIRST..], FIRST).unwrap();
        assert_eq!(found(folder.path()), [0_u64; 0]);
        other.file.write(&[1], 20).unwrap();
        let error = Journal::open(folder.path(), NAME).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
    }
}
