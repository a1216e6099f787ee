//! A new cluster from a backup. Shell, blocking.
//!
//! The new cluster is another history of the same state: it may lack what happened after the backup. Agents take the older index from
//! it, since its terms are higher than any that they can have seen: terms begin with the second in which the backup was restored. By the
//! same token agents refuse what a forgotten controller of the old cluster still has to say, and so do the controllers of the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{LogIndex, Timestamp};
use berth_core::state::{ClusterState, Command, MAX_DOCUMENT_CHANGES, apply};
use berth_raft::{Published, RaftFault, RaftOptions, seed};
use berth_storage::{SledStorage, StorageError};
use berth_trust::UnixTime;

use super::files;
use super::format::{BackupError, BackupSummary, read_state};
use crate::node::STORE_FOLDER;
use crate::registrar::removal_of_controllers;
use crate::replica::ReplicatedState;

/// Bits of a term that count elections since a restore: one a second for twelve days. Above them are the seconds, so that a term is an
/// integer that a floating-point number holds exactly.
const ELECTION_BITS: u32 = 20;

/// What may be in the data directory already: the root key of the old cluster, so that clients keep their credentials.
const MAY_BE_THERE: &str = "root-key.json";

/// A cluster that was restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The backup that it is from.
    pub backup: BackupSummary,
    /// The term that it begins after.
    pub term: u64,
    /// Whether its hosts speak TLS, so that its first controller has to be started as a member.
    pub has_authority: bool,
}

/// Writes the store of a new cluster's first controller into `data_dir`, with the state of the backup `file`.
///
/// # Errors
/// [`BackupError`]; `data_dir` is then as it was before.
pub fn restore(file: &Path, data_dir: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    refuse_used(data_dir)?;
    let (backup, state) = read_state(files::open(file)?)?;
    let state = without_its_controllers(state, backup.header.index, now)?;
    let term = term_of_restore(backup.header.term, now);
    let has_authority = matches!(crate::registrar::authorities(&state), Ok(Some(_)));
    let begun = Published {
        index: backup.header.index,
        term,
        view: Arc::new(state.for_new_history()),
    };
    let store = data_dir.join(STORE_FOLDER);
    if let Err(error) = write_store(&store, &begun) {
        std::fs::remove_dir_all(&store).ok();
        return Err(error.into());
    }
    Ok(Restored {
        backup,
        term,
        has_authority,
    })
}

/// The old controllers are gone: a rotation of the authority would wait for them, and none of them may come back.
fn without_its_controllers(mut state: ClusterState, index: u64, now: Timestamp) -> Result<ClusterState, BackupError> {
    let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.0).unwrap_or(0)));
    let unusable = |reason: String| BackupError::Damaged(reason);
    let changes = removal_of_controllers(&state, now).map_err(|error| unusable(error.to_string()))?;
    for some in changes.chunks(MAX_DOCUMENT_CHANGES) {
        let command = Command::ChangeDocuments { changes: some.to_vec() };
        apply(&mut state, LogIndex(index), &command).map_err(|error| unusable(error.to_string()))?;
    }
    Ok(state)
}

fn write_store(path: &Path, state: &Published<Arc<ClusterState>>) -> Result<(), RaftFault> {
    let store = SledStorage::open(path).map_err(|error: StorageError| RaftFault::from(error))?;
    seed::<ReplicatedState>(&store, &RaftOptions::default(), state).map(|_| ())
}

/// Later than any term of the backup's cluster, and than that of any other restore.
fn term_of_restore(term: u64, now: Timestamp) -> u64 {
    let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
    let later = (term >> ELECTION_BITS) + 1;
    seconds.max(later) << ELECTION_BITS
}

fn refuse_used(data_dir: &Path) -> Result<(), BackupError> {
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BackupError::io(format!("read {}", data_dir.display()))(source)),
    };
    for entry in entries {
        let entry = entry.map_err(BackupError::io(format!("read {}", data_dir.display())))?;
        if entry.file_name() != MAY_BE_THERE {
            let found: PathBuf = entry.path();
            return Err(BackupError::Target(format!(
                "{} is in use: it contains {}. Restore into a directory that is empty or does not exist (a {MAY_BE_THERE} may be in it), and \
                 stop the old cluster's controllers first",
                data_dir.display(),
                found.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_of_a_restore_is_later_than_that_of_the_backup_and_of_earlier_restores() {
        let now = Timestamp(1_800_000_000_000);
        let first = term_of_restore(17, now);
        let second = term_of_restore(17, Timestamp(now.0 + 1_000));
        assert!(second > first + 900_000, "room for elections: {first} {second}");
        let behind = term_of_restore(first + 5, Timestamp(0));
        assert!(behind > first + 5, "a clock that is behind does no harm");
        // Where metrics are kept as floating-point numbers, this is still exact.
        assert!(second < 1 << 53);
    }
}
