//! The two journals of a store, used in turn: while the engine gets what the full one has, commits go to the other. Shell.

use std::path::Path;
use std::sync::Arc;

use crate::StorageError;
use crate::journal::{Journal, JournalFile, Record};
use crate::tally::{Changes, Tally};

/// Their names in the folder of the store.
const FILE_NAMES: [&str; 2] = ["journal", "journal-2"];

/// The journals of an open store.
#[derive(Debug)]
pub(crate) struct Journals {
    current: Journal,
    other: Journal,
}

impl Journals {
    /// Opens the journals in the folder of a store, or makes them, and reads the commits that they hold, in order and without a gap.
    ///
    /// # Errors
    /// [`StorageError::Io`], and [`StorageError::Damaged`] if the header of one cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Record>), StorageError> {
        let [(current, records), (other, more)] = [open(folder, FILE_NAMES[0])?, open(folder, FILE_NAMES[1])?];
        let (mut older, newer) = if first(&records) > first(&more) {
            (more, records)
        } else {
            (records, more)
        };
        let continues = older.last().map(|record| record.tally.commits + 1) == first(&newer);
        if !newer.is_empty() && !continues {
            // The engine has what the older one held: otherwise the newer one would begin right behind it.
            older.clear();
        }
        older.extend(newer);
        Ok((Self { current, other }, older))
    }

    /// Puts a commit together, for [`Journals::append`]. Whether there is room for it.
    pub(crate) fn prepare(&mut self, tally: Tally, changes: &Changes) -> bool {
        self.current.prepare(tally, changes)
    }

    /// Writes the commit that was put together, not synced yet.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn append(&mut self) -> Result<(), StorageError> {
        self.current.append()
    }

    /// Goes on at the front of the other journal, once all that it had is durable in the engine. What is in this one is durable then.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn turn_over(&mut self) -> Result<(), StorageError> {
        // A commit that is durable in the other one must not have a gap in front of it.
        self.current.file().sync()?;
        std::mem::swap(&mut self.current, &mut self.other);
        self.current.restart();
        Ok(())
    }

    /// Begins anew, once all that they have is durable in the engine.
    pub(crate) fn restart(&mut self) {
        self.current.restart();
    }

    /// Forgets what they have, once all of it is durable in the engine.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn empty(&mut self) -> Result<(), StorageError> {
        self.current.empty()?;
        self.other.empty()
    }

    /// What makes durable what was appended.
    pub(crate) fn file(&self) -> Arc<JournalFile> {
        Arc::clone(self.current.file())
    }
}

fn open(folder: &Path, name: &str) -> Result<(Journal, Vec<Record>), StorageError> {
    match Journal::open(folder, name)? {
        Some(found) => Ok(found),
        None => Ok((Journal::create(folder, name)?, Vec::new())),
    }
}

/// The number of the first commit.
fn first(records: &[Record]) -> Option<u64> {
    records.first().map(|record| record.tally.commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(journals: &mut Journals, commits: u64) {
        let mut tally = Tally::default();
        tally.commits = commits;
        journals.prepare(tally, &Changes::new());
        journals.append().unwrap();
    }

    fn found(folder: &Path) -> Vec<u64> {
        let (_, records) = Journals::open(folder).unwrap();
        records.iter().map(|record| record.tally.commits).collect()
    }

    #[test]
    fn journals_opened_again_have_what_both_hold_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journals, records) = Journals::open(folder.path()).unwrap();
        assert!(records.is_empty());
        append(&mut journals, 1);
        append(&mut journals, 2);
        assert_eq!(found(folder.path()), [1, 2]);
        journals.turn_over().unwrap();
        append(&mut journals, 3);
        assert_eq!(found(folder.path()), [1, 2, 3]);
        journals.turn_over().unwrap();
        append(&mut journals, 4);
        assert_eq!(found(folder.path()), [3, 4]);
        journals.empty().unwrap();
        assert_eq!(found(folder.path()), [0_u64; 0]);
    }

    #[test]
    fn journals_with_a_gap_between_them_have_only_what_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journals, _) = Journals::open(folder.path()).unwrap();
        append(&mut journals, 1);
        journals.turn_over().unwrap();
        append(&mut journals, 3);
        assert_eq!(found(folder.path()), [3]);
    }
}
