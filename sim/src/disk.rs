//! The disk of a controller: what is written and not synced is lost when the power is cut. A model of a shell.
//!
//! Owns what survives. Whole batches survive, in the order in which they were written, as the store under the Raft
//! group promises; a batch that was being written when the power went may be there or not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_storage::{Batch, Operation, Scan, Storage, StorageError};

use crate::bug::{Bug, Bugs};
use crate::draws::Draws;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, and its new value if it is to have one.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// A disk with the store of a controller on it.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    content: Mutex<Content>,
    bugs: Bugs,
}

/// Key under which the Raft engine keeps term and vote.
const HARD_STATE: &[u8] = b"hard-state";

#[derive(Debug, Default)]
struct Content {
    /// What a running controller sees.
    written: Map,
    /// What is there after a power cut.
    synced: Map,
    /// Batches that are written and not synced, the oldest first.
    unsynced: Vec<Vec<Change>>,
    /// Commits until one fails.
    commits_left: Option<u64>,
}

impl Disk {
    pub(crate) fn new(bugs: Bugs) -> Self {
        Self {
            bugs,
            ..Self::default()
        }
    }

    /// Has the power go, or the disk fail, during the commit after so many others.
    pub(crate) fn fail_after(&self, commits: u64) {
        self.content().commits_left = Some(commits);
    }

    /// The power is cut: of what was not synced, some of the oldest batches may have made it.
    pub(crate) fn cut_power(&self, draws: &mut Draws) {
        let mut content = self.content();
        let unsynced = std::mem::take(&mut content.unsynced);
        let made_it = usize::try_from(draws.below(unsynced.len() as u64 + 1)).unwrap_or_default();
        for mut batch in unsynced.into_iter().take(made_it) {
            if self.bugs.has(Bug::TornBatch) {
                let whole = batch.len() as u64;
                batch.truncate(usize::try_from(draws.below(whole + 1)).unwrap_or_default());
            }
            carry_out(&mut content.synced, batch);
        }
        content.written = content.synced.clone();
        content.commits_left = None;
    }

    /// The disk works again, or goes on working.
    pub(crate) fn repair(&self) {
        self.content().commits_left = None;
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn sync(&mut self, bugs: Bugs) {
        if bugs.has(Bug::SkippedSync) && self.unsynced.len() < 4 {
            return;
        }
        let only_hard_state = |batch: &Vec<Change>| batch.iter().all(|(key, _)| key == HARD_STATE);
        for batch in std::mem::take(&mut self.unsynced) {
            if bugs.has(Bug::LostVote) && only_hard_state(&batch) {
                continue;
            }
            carry_out(&mut self.synced, batch);
        }
    }

    /// Whether the commit that begins now is to fail.
    fn fails_now(&mut self) -> bool {
        match &mut self.commits_left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl Storage for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.content().written.get(key).cloned())
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        let content = self.content();
        let found: Vec<_> = content
            .written
            .range(range)
            .map(|(key, value)| Ok((key.clone(), value.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let changes: Vec<Change> = batch.into_checked_operations()?.into_iter().map(change).collect();
        let mut content = self.content();
        carry_out(&mut content.written, changes.clone());
        content.unsynced.push(changes);
        if content.fails_now() {
            return Err(StorageError::Io {
                action: "sync",
                path: "(simulated disk)".into(),
                source: std::io::Error::other("the disk failed, or the power did"),
            });
        }
        content.sync(self.bugs);
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(u64::MAX)
    }
}

fn change(operation: Operation) -> Change {
    match operation {
        Operation::Put { key, value } => (key, Some(value)),
        Operation::Delete { key } => (key, None),
    }
}

fn carry_out(map: &mut Map, changes: Vec<Change>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &Disk, key: &str) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.put(key.into(), vec![1]);
        disk.commit(batch)
    }

    #[test]
    fn commit_that_returned_survives_a_power_cut_and_the_one_under_way_may() {
        let (mut there, mut gone) = (0, 0);
        for seed in 0..20 {
            let disk = Disk::default();
            put(&disk, "a").expect("the disk works");
            disk.fail_after(0);
            put(&disk, "b").expect_err("the power goes");
            disk.cut_power(&mut Draws::new(seed));
            assert!(disk.get(b"a").expect("it reads").is_some());
            match disk.get(b"b").expect("it reads") {
                Some(_) => there += 1,
                None => gone += 1,
            }
            put(&disk, "c").expect("the power is back");
        }
        assert!(there > 0 && gone > 0, "{there} {gone}");
    }
}
