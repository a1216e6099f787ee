//! A small file beside a store that remembers how many commits are durable in it. Shell.
//!
//! A store that lost its newest commits looks like one that never had them; the witness tells the two apart. It is written
//! after the commit is synced and needs no sync of its own: after a power cut it may know too little, never too much.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{StorageError, io_error};

/// Its name in the folder of the store.
const FILE_NAME: &str = "witness";

/// Nobody but the owner of the store writes it.
const FILE_MODE: u32 = 0o600;

/// Distance of the two places that are written in turn, so that a write which a power cut tears leaves the other.
const SLOT_BYTES: u64 = 4096;

/// Length of the file: both places.
const FILE_BYTES: usize = 2 * 4096;

/// A number of commits, and a hash of it.
const RECORD_BYTES: usize = 8 + 32;

/// The witness of an open store.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    file: File,
    commits: u64,
}

impl Witness {
    /// Opens the witness in the folder of a store; none if the folder has none.
    ///
    /// # Errors
    /// [`StorageError::Io`], and [`StorageError::Damaged`] if nothing in it can be read.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>, StorageError> {
        let path = folder.join(FILE_NAME);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("open", &path, source)),
        };
        let commits = [0, SLOT_BYTES].into_iter().filter_map(|slot| read(&file, slot)).max();
        match commits {
            Some(commits) => Ok(Some(Self { path, file, commits })),
            None => Err(StorageError::Damaged {
                path: folder.to_owned(),
                reason: format!("its file {FILE_NAME} cannot be read"),
            }),
        }
    }

    /// Makes the witness of a store without commits, durable when this returns, apart from its folder.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn create(folder: &Path) -> Result<Self, StorageError> {
        let path = folder.join(FILE_NAME);
        let unfinished = folder.join("witness.new");
        let mut options = OpenOptions::new();
        options
            .write(true)
            .read(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE);
        let file = options
            .open(&unfinished)
            .map_err(|source| io_error("create", &unfinished, source))?;
        let write = || {
            // All space that it will ever need, so that no full disk can stop it.
            file.write_all_at(&[0; FILE_BYTES], 0)?;
            file.write_all_at(&record(0), 0)?;
            file.write_all_at(&record(0), SLOT_BYTES)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(|source| io_error("write", &path, source))?;
        Ok(Self { path, file, commits: 0 })
    }

    /// How many commits the store had, at least.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Remembers that so many commits are durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn saw(&mut self, commits: u64) -> Result<(), StorageError> {
        if commits <= self.commits {
            return Ok(());
        }
        self.file
            .write_all_at(&record(commits), commits % 2 * SLOT_BYTES)
            .map_err(|source| io_error("write", &self.path, source))?;
        self.commits = commits;
        Ok(())
    }
}

fn record(commits: u64) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let (number, hash) = bytes.split_at_mut(8);
    number.copy_from_slice(&commits.to_be_bytes());
    hash.copy_from_slice(&Sha256::digest(commits.to_be_bytes()));
    bytes
}

fn read(file: &File, slot: u64) -> Option<u64> {
    let mut bytes = [0; RECORD_BYTES];
    file.read_exact_at(&mut bytes, slot).ok()?;
    let commits = u64::from_be_bytes(*bytes.first_chunk()?);
    (record(commits) == bytes).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witness_opened_again_knows_the_highest_number() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Witness::open(folder.path()).unwrap().is_none());
        let mut witness = Witness::create(folder.path()).unwrap();
        for commits in [1, 2, 4, 3] {
            witness.saw(commits).unwrap();
        }
        assert_eq!(Witness::open(folder.path()).unwrap().unwrap().commits(), 4);
    }

    #[test]
    fn witness_torn_in_one_place_knows_the_number_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::create(folder.path()).unwrap();
        witness.saw(7).unwrap();
        witness.saw(8).unwrap();
        witness.file.write_all_at(&[9; 16], 0).unwrap();
        assert_eq!(Witness::open(folder.path()).unwrap().unwrap().commits(), 7);
        witness.file.write_all_at(&[9; 16], SLOT_BYTES).unwrap();
        let error = Witness::open(folder.path()).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
    }
}
