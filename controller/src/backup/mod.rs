//! Backups: the state at one index of the log as one checksummed file, and a new cluster from such a file.
//!
//! Owns the file's format ([`format`]), how it is handed out in parts while the controller serves ([`streams`]), the schedule on which
//! the leader writes one, and what is changed when one is restored. It must not know what the records in it mean. Shell.

mod files;
mod format;
mod restore;
mod schedule;
mod streams;

pub use files::{check_file, verify_file, write_file};
pub use format::{BackupError, BackupReader, BackupSummary, BackupWriter};
pub use restore::{Restored, restore};
pub use schedule::{ScheduleOptions, prepare as prepare_folder, run as run_schedule};
pub use streams::BackupStreams;
