//! What a member writes about itself beside its store, so that it finds its group again. Shell.
//!
//! It is written once the member has its certificate, and says that the directory is a member's. Without it a directory is not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_raft::ClusterId;
use serde::{Deserialize, Serialize};

/// The file, in the data directory of a member.
pub const MEMBER_FILE: &str = "member.json";

/// The folder of a member's certificate in its data directory.
pub(super) const IDENTITY_FOLDER: &str = "identity";

/// What a member knows of itself before its group has said anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MemberFile {
    /// Its id.
    pub(super) member_id: u64,
    /// Its group, in hexadecimal.
    raft_cluster_id: String,
    /// Where others reach it, as HOST:PORT.
    pub(super) address: String,
    /// Where it joined, as HOST:PORT.
    pub(super) contacts: Vec<String>,
    /// Whether its store has been there once; `false` only until it has been made.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) has_begun: bool,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemberFileError {
    /// The system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not what a member writes.
    #[error("{path} is not what a member of a cluster writes: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl MemberFile {
    pub(super) fn new(member_id: u64, cluster: ClusterId, address: &str, contacts: Vec<String>) -> Self {
        Self {
            member_id,
            raft_cluster_id: cluster.to_string(),
            address: address.to_owned(),
            contacts,
            has_begun: true,
        }
    }

    /// Its group.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        let mut id = [0; 16];
        hex::decode_to_slice(&self.raft_cluster_id, &mut id).ok()?;
        Some(ClusterId(id))
    }

    /// Reads the file of a data directory; `None` if that is no member's.
    pub(super) fn load(data_dir: &Path) -> Result<Option<Self>, MemberFileError> {
        let path = data_dir.join(MEMBER_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", &path)(source)),
        };
        let damaged = |reason: String| MemberFileError::Damaged {
            path: path.clone(),
            reason,
        };
        let file: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if file.cluster().is_none() {
            return Err(damaged("it does not say which group".to_owned()));
        }
        Ok(Some(file))
    }

    /// Writes the file; when it returns, that survives a power cut.
    pub(super) fn save(&self, data_dir: &Path) -> Result<(), MemberFileError> {
        let (path, new) = (data_dir.join(MEMBER_FILE), data_dir.join(format!("{MEMBER_FILE}.new")));
        let text = serde_json::to_vec_pretty(self).map_err(|error| MemberFileError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .map_err(io_error("create", &new))?;
        file.write_all(&text).map_err(io_error("write", &new))?;
        file.sync_all().map_err(io_error("sync", &new))?;
        fs::rename(&new, &path).map_err(io_error("replace", &path))?;
        let directory = File::open(data_dir).map_err(io_error("open", data_dir))?;
        directory.sync_all().map_err(io_error("sync", data_dir))
    }
}

/// Whether a data directory is that of a member of a cluster.
#[must_use]
pub fn is_member(data_dir: &Path) -> bool {
    data_dir.join(MEMBER_FILE).exists()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MemberFileError {
    let path = path.to_owned();
    move |source| MemberFileError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_back_and_one_that_is_damaged_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(MemberFile::load(directory.path()).expect("none"), None);
        assert!(!is_member(directory.path()));
        let file = MemberFile::new(7, ClusterId([3; 16]), "10.0.0.1:7481", vec!["10.0.0.2:7481".to_owned()]);
        file.save(directory.path()).expect("written");
        file.save(directory.path()).expect("written again");
        assert_eq!(MemberFile::load(directory.path()).expect("read"), Some(file.clone()));
        assert_eq!(file.cluster(), Some(ClusterId([3; 16])));
        assert!(is_member(directory.path()));
        let text = fs::read_to_string(directory.path().join(MEMBER_FILE)).expect("read");
        assert!(!text.contains("hasBegun"), "an older version can read it: {text}");
        let joining = MemberFile {
            has_begun: false,
            ..file
        };
        joining.save(directory.path()).expect("written");
        assert_eq!(MemberFile::load(directory.path()).expect("read"), Some(joining));
        fs::write(directory.path().join(MEMBER_FILE), "{}").expect("written");
        let error = MemberFile::load(directory.path()).expect_err("refused").to_string();
        assert!(error.contains("member.json is not what a member"), "{error}");
    }
}
