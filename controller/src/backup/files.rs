//! Backups as files: written beside their name and then renamed, so that a file of that name is always whole. Shell, blocking.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use berth_core::state::ClusterState;
use berth_proto::v1::BackupHeader;

use super::format::{BackupError, BackupReader, BackupSummary, read_state, write_state};

/// Bytes read and written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes a backup of `state` to `path`; when it returns, the file survives a power cut. Only its owner can read it, since task
/// definitions may hold secrets.
///
/// # Errors
/// [`BackupError::Io`]; then there is no such file.
pub(super) fn write_state_file(path: &Path, header: &BackupHeader, state: &ClusterState) -> Result<(), BackupError> {
    write_file(path, |file| {
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        write_state(out, header, state).map(|_| ())
    })
}

/// Has `write` fill a new file, and gives it the name `path` once it is on the disk.
///
/// # Errors
/// That of `write`, or [`BackupError::Io`]; then there is no such file.
pub fn write_file(path: &Path, write: impl FnOnce(&File) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let unfinished = path.with_extension("unfinished");
    let create = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&unfinished)
    };
    let file = create().map_err(BackupError::io(format!("create {}", unfinished.display())))?;
    let finish = || {
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    let written = write(&file).and_then(|()| finish().map_err(BackupError::io(format!("write {}", path.display()))));
    if written.is_err() {
        // Of no use to anybody; that it cannot be removed is less than the error that is reported.
        std::fs::remove_file(&unfinished).ok();
    }
    written
}

/// Reads a file to its end and says what it is of: it is whole and unchanged, and each of its records can be read.
///
/// # Errors
/// Any [`BackupError`] but that of a target.
pub fn check_file(path: &Path) -> Result<BackupSummary, BackupError> {
    BackupReader::begin(open(path)?)?.summary()
}

/// As [`check_file`], and makes sure that a state can be built from it, which takes as much memory as the state.
///
/// # Errors
/// Any [`BackupError`] but that of a target.
pub fn verify_file(path: &Path) -> Result<BackupSummary, BackupError> {
    read_state(open(path)?).map(|(summary, _)| summary)
}

pub(super) fn open(path: &Path) -> Result<BufReader<File>, BackupError> {
    let file = File::open(path).map_err(BackupError::io(format!("open {}", path.display())))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}
