//! The storage on disk, kept by sled 0.34. Shell.
//!
//! sled's own flush does not reach the platter, so every commit ends with an `fdatasync` of its one
//! data file, and opening ends with a sync of everything that opening created.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::{Batch, Operation, Scan, Storage, StorageError};

/// Bytes that sled keeps in memory beside its index; the group's state is in memory anyway.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// The state contains secrets: nobody but its owner reads it.
const DIRECTORY_MODE: u32 = 0o700;

/// A [`Storage`] in a folder of its own.
#[derive(Debug)]
pub struct SledStorage {
    path: PathBuf,
    database: sled::Db,
    data_file: File,
}

impl SledStorage {
    /// Opens the store in a folder, or creates both.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::DiskFull`], [`StorageError::Open`] or [`StorageError::Io`]. Nothing is ever removed.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let created = create_folder(path)?;
        let database = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|source| open_error(path, source))?;
        let data_path = path.join("db");
        let data_file = File::open(&data_path).map_err(|source| io_error("open", &data_path, source))?;
        let storage = Self {
            path: path.to_owned(),
            database,
            data_file,
        };
        storage.sync()?;
        sync_path(&path.join("conf"))?;
        sync_path(path)?;
        for folder in created {
            sync_path(parent(&folder))?;
        }
        sync_path(parent(path))?;
        Ok(storage)
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
        Box::new(self.database.range(range).map(|item| match item {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(source) => Err(self.engine_error("read", source)),
        }))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut changes = sled::Batch::default();
        for operation in batch.into_checked_operations()? {
            match operation {
                Operation::Put { key, value } => changes.insert(key, value),
                Operation::Delete { key } => changes.remove(key),
            }
        }
        self.database
            .apply_batch(changes)
            .map_err(|source| self.engine_error("write", source))?;
        self.sync()
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let disk =
            statvfs(&self.path).map_err(|errno| io_error("measure the free space of", &self.path, errno.into()))?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
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

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        action,
        path: path.to_owned(),
        source,
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
