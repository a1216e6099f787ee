//! Stores on disk: what they hold when they are opened again, and what they refuse.

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

/// A commit after which the next one has sled take what there is.
fn fill(storage: &SledStorage, value: u8) {
    let mut batch = Batch::default();
    for number in 0..MAX_AHEAD {
        batch.put(format!("filler-{number:05}").into_bytes(), vec![value]);
    }
    storage.commit(batch).unwrap();
}

#[test]
fn sled_store_read_and_copied_while_sled_is_behind_has_the_newest_values() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copied) = (folder.path().join("store"), folder.path().join("copied"));
    let storage = SledStorage::open(&path).unwrap();
    put(&storage, b"k1", vec![1]);
    put(&storage, b"k2", vec![1]);
    // Before sled has got anything, its turn is taken.
    let turn = storage.engine.turn();
    fill(&storage, 1);
    put(&storage, b"k1", vec![2]);
    assert!(!storage.written().unwrap().sealed.is_empty());
    for (key, value) in [(b"k1", 2), (b"k2", 1)] {
        assert_eq!(storage.get(key).unwrap(), Some(vec![value]));
    }
    let found: Vec<_> = storage.scan(b"k".to_vec()..b"l".to_vec()).map(Result::unwrap).collect();
    assert_eq!(found, [(b"k1".to_vec(), vec![2]), (b"k2".to_vec(), vec![1])]);
    fs::create_dir_all(&copied).unwrap();
    for file in ["conf", "db", "journal", "journal-2", "witness"] {
        fs::copy(path.join(file), copied.join(file)).unwrap();
    }
    drop(turn);
    let copy = SledStorage::open(&copied).unwrap();
    for (key, value) in [(b"k1", 2), (b"k2", 1)] {
        assert_eq!(copy.get(key).unwrap(), Some(vec![value]));
    }
    assert_eq!(copy.scan(b"filler".to_vec()..b"g".to_vec()).count(), MAX_AHEAD);
}

#[test]
fn sled_store_whose_checkpoint_failed_says_why_to_everyone_and_has_all_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = SledStorage::open(folder.path()).unwrap();
    fill(&storage, 1);
    let full = || io_error("write", Path::new("db"), io::Error::from(io::ErrorKind::StorageFull));
    storage.written().unwrap().checkpoint = Some(thread::spawn(move || Err(full())));
    for _ in 0..3 {
        let mut batch = Batch::default();
        batch.put(b"more".to_vec(), vec![1]);
        let error = with_causes(&storage.commit(batch).unwrap_err());
        assert!(error.contains("no storage space"), "{error}");
    }
    assert_eq!(storage.get(b"filler-00000").unwrap(), Some(vec![1]));
    drop(storage);
    let storage = SledStorage::open(folder.path()).unwrap();
    assert_eq!(storage.scan(b"filler".to_vec()..b"g".to_vec()).count(), MAX_AHEAD);
    assert_eq!(storage.get(b"more").unwrap(), None);
}

#[test]
fn sled_store_given_a_batch_without_changes_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let storage = SledStorage::open(folder.path()).unwrap();
    storage.commit(Batch::default()).unwrap();
    drop(storage);
    SledStorage::open(folder.path()).unwrap();
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
