//! Stores whose files were damaged: what opens again holds exactly what was committed, and the rest says that it is damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damages;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use berth_storage::{Batch, SledStorage, Storage, StorageError};
use damages::{Draws, copy, damage, wait_until_released};

/// Damages tried; each has a seed of its own.
const DAMAGES: u64 = 200;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store as a log leaves it, still open: appended to, cut at the front, one value set again and again.
fn store(folder: &Path, commits: std::ops::Range<u64>, content: &mut Content) -> SledStorage {
    let storage = SledStorage::open(folder).unwrap();
    for commit in commits {
        let mut batch = Batch::default();
        let mut draws = Draws(commit);
        for part in 0..=draws.below(4) {
            let key = [b"log/".as_slice(), &commit.to_be_bytes(), &part.to_be_bytes()].concat();
            let length = usize::try_from(draws.below(1500)).unwrap();
            let value: Vec<u8> = (0..length).map(|_| draws.next().to_le_bytes()[0]).collect();
            content.insert(key.clone(), value.clone());
            batch.put(key, value);
        }
        let state = commit.to_be_bytes().to_vec();
        content.insert(b"hard-state".to_vec(), state.clone());
        batch.put(b"hard-state".to_vec(), state);
        if commit % 50 == 0 && commit > 100 {
            let end = [b"log/".as_slice(), &(commit - 60).to_be_bytes()].concat();
            let old: Vec<Vec<u8>> = content
                .range(b"log/".to_vec()..end)
                .map(|(key, _)| key.clone())
                .collect();
            for key in old {
                content.remove(&key);
                batch.delete(key);
            }
        }
        storage.commit(batch).unwrap();
    }
    storage
}

fn read(storage: &SledStorage) -> Result<Content, StorageError> {
    storage.scan(Vec::new()..vec![u8::MAX]).collect()
}

#[test]
fn sled_store_damaged_holds_what_was_committed_or_says_that_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let [work, closed, killed, older] = ["work", "closed", "killed", "older"].map(|name| folder.path().join(name));
    let mut content = Content::new();
    drop(store(&work, 0..900, &mut content));
    wait_until_released(&work);
    // For writes that never arrived.
    copy(&work, &older);
    // So many that both journals are in use when it is killed.
    let storage = store(&work, 900..2000, &mut content);
    copy(&work, &killed);
    drop(storage);
    wait_until_released(&work);
    copy(&work, &closed);
    let mut wrong = Vec::new();
    let mut detected = 0;
    for seed in 0..DAMAGES {
        let damaged = folder.path().join("damaged");
        copy(if seed % 2 == 0 { &closed } else { &killed }, &damaged);
        let what = damage(&damaged, &older, seed);
        match SledStorage::open(&damaged) {
            Err(StorageError::Damaged { .. } | StorageError::Open { .. }) => detected += 1,
            Err(other) => wrong.push(format!("seed {seed}: {what}: {other}")),
            Ok(storage) => {
                wrong.extend(fault_of(storage, &damaged, &content).map(|fault| format!("seed {seed}: {what}: {fault}")))
            }
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(
        wrong.is_empty(),
        "{} of {DAMAGES} ({detected} were detected):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        (20..DAMAGES - 20).contains(&detected),
        "{detected} of {DAMAGES} were detected: damage that never or always shows tests little"
    );
}

/// What is wrong with a store that opened: it has not the content that it should, or cannot go on from there.
fn fault_of(storage: SledStorage, folder: &Path, content: &Content) -> Option<String> {
    let found = match read(&storage) {
        Ok(found) => found,
        Err(error) => return Some(format!("opens, and does not read: {error}")),
    };
    if found != *content {
        return Some(format!("{} keys instead of {}", found.len(), content.len()));
    }
    let mut batch = Batch::default();
    batch.put(b"more".to_vec(), vec![1; 3000]);
    if let Err(error) = storage.commit(batch) {
        return Some(format!("takes no more: {error}"));
    }
    drop(storage);
    match SledStorage::open(folder).and_then(|storage| read(&storage)) {
        Ok(found) if found.len() == content.len() + 1 => None,
        Ok(found) => Some(format!("{} keys after one more commit", found.len())),
        Err(error) => Some(format!("does not open a second time: {error}")),
    }
}

#[test]
fn sled_store_read_at_any_time_has_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = Content::new();
    for commits in [0..40, 40..300, 300..301, 301..900] {
        let storage = store(folder.path(), commits, &mut content);
        assert_eq!(read(&storage).unwrap(), content);
        let range = b"hard".to_vec()..[b"log/".as_slice(), &200_u64.to_be_bytes()].concat();
        let found: Result<Content, StorageError> = storage.scan(range.clone()).collect();
        let expected: Content = content
            .range(range)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(found.unwrap(), expected);
        assert_eq!(
            storage.get(b"hard-state").unwrap().as_ref(),
            content.get(b"hard-state".as_slice())
        );
        assert_eq!(storage.get(b"log/").unwrap(), None);
    }
}

#[test]
fn sled_store_that_lost_its_newest_commits_or_its_witness_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store_folder, older) = (folder.path().join("store"), folder.path().join("older"));
    let mut content = Content::new();
    drop(store(&store_folder, 0..10, &mut content));
    wait_until_released(&store_folder);
    copy(&store_folder, &older);
    drop(store(&store_folder, 10..12, &mut content));
    wait_until_released(&store_folder);
    fs::copy(store_folder.join("witness"), older.join("witness")).unwrap();
    let error = SledStorage::open(&older).unwrap_err().to_string();
    assert!(error.contains("ends with commit 10, and commit 12"), "{error}");
    fs::remove_file(store_folder.join("witness")).unwrap();
    let error = SledStorage::open(&store_folder).unwrap_err().to_string();
    assert!(error.contains("witness is missing"), "{error}");
}

#[test]
fn sled_store_from_before_there_were_tallies_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let old = sled::open(folder.path()).unwrap();
    old.insert(b"key", b"value").unwrap();
    drop(old);
    for _ in 0..2 {
        let storage = SledStorage::open(folder.path()).unwrap();
        assert_eq!(storage.get(b"key").unwrap(), Some(b"value".to_vec()));
    }
}
