//! Locks on files by which processes of one user tell that another runs: the kernel lets go of them however a process ends.
//!
//! Shell.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// Locks the file, which is made if it is not there, readable by its user only. `None` while another process holds it, or
/// if it was removed just now: then it is worth another try.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let Ok(lock) = Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) else {
        return Ok(None);
    };
    // Whoever held it before may have removed it: a lock on a file without a name keeps nobody out.
    let is_named = fs::metadata(path).is_ok_and(|named| lock.metadata().is_ok_and(|own| own.ino() == named.ino()));
    Ok(is_named.then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_while_held_is_had_by_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let held = try_lock(&path).expect("made").expect("free");
        assert!(try_lock(&path).expect("made").is_none());
        drop(held);
        assert!(try_lock(&path).expect("made").is_some());
    }
}
