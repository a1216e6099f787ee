//! What is written down of a task's network, so that a restarted agent finds it again.
//!
//! One JSON file per task, replaced as a whole. Shell.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use berth_core::model::{NetworkMode, TaskId};
use serde::{Deserialize, Serialize};

use super::NetworkError;
use crate::runtime::ContainerBinding;

/// A task's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) mode: NetworkMode,
    pub(super) bindings: Vec<ContainerBinding>,
    pub(super) address: Option<Ipv4Addr>,
    /// MAC address of its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mac: Option<String>,
    /// Whether the namespace was about to be connected to the bridge, so that there may be something to undo. Records that do not say
    /// so were written before that was told apart.
    #[serde(default = "yes")]
    pub(super) connected: bool,
    /// Whether setting up came to its end.
    pub(super) complete: bool,
}

impl Record {
    /// What may be there where nothing is known any more.
    fn lost() -> Self {
        Self {
            mode: NetworkMode::Bridge,
            bindings: Vec::new(),
            address: None,
            mac: None,
            connected: true,
            complete: false,
        }
    }

    /// Whether the task's namespace is, or is to be, connected to the host's bridge.
    pub(super) fn is_on_bridge(&self) -> bool {
        matches!(self.mode, NetworkMode::Bridge | NetworkMode::Awsvpc)
    }
}

fn yes() -> bool {
    true
}

pub(super) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(super) fn open(directory: PathBuf) -> Result<Self, NetworkError> {
        std::fs::create_dir_all(&directory).map_err(|e| NetworkError::file(&directory, e))?;
        Ok(Self { directory })
    }

    pub(super) fn read(&self, task: TaskId) -> Result<Option<Record>, NetworkError> {
        let path = self.path(task);
        match std::fs::read(&path) {
            // A power cut can leave a file without its content.
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => Ok(Some(Record::lost())),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| NetworkError::file(&path, e)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NetworkError::file(&path, error)),
        }
    }

    pub(super) fn write(&self, task: TaskId, record: &Record) -> Result<(), NetworkError> {
        let path = self.path(task);
        let written = serde_json::to_vec(record)
            .map_err(std::io::Error::from)
            .and_then(|bytes| {
                let next = path.with_extension("next");
                std::fs::write(&next, bytes)?;
                std::fs::rename(&next, &path)
            });
        written.map_err(|e| NetworkError::file(&path, e))
    }

    pub(super) fn delete(&self, task: TaskId) -> Result<(), NetworkError> {
        let path = self.path(task);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(NetworkError::file(&path, error)),
            _ => Ok(()),
        }
    }

    pub(super) fn tasks(&self) -> Result<Vec<TaskId>, NetworkError> {
        let failed = |e| NetworkError::file(&self.directory, e);
        let mut tasks = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            tasks.extend(
                name.to_str()
                    .and_then(|n| n.strip_suffix(".json"))
                    .and_then(|n| n.parse::<TaskId>().ok()),
            );
        }
        tasks.sort_unstable();
        Ok(tasks)
    }

    fn path(&self, task: TaskId) -> PathBuf {
        self.directory.join(format!("{task}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_written_is_read_again_and_gone_after_delete() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path().join("tasks")).unwrap();
        let record = Record {
            mode: NetworkMode::Bridge,
            bindings: vec![],
            address: Some(Ipv4Addr::LOCALHOST),
            mac: None,
            connected: true,
            complete: true,
        };
        records.write(TaskId(5), &record).unwrap();
        assert_eq!(records.read(TaskId(5)).unwrap(), Some(record));
        assert_eq!(records.tasks().unwrap(), [TaskId(5)]);
        std::fs::write(records.path(TaskId(6)), [0; 3]).unwrap();
        assert!(
            records
                .read(TaskId(6))
                .unwrap()
                .is_some_and(|lost| !lost.complete && lost.connected)
        );
        records.delete(TaskId(5)).unwrap();
        records.delete(TaskId(5)).unwrap();
        assert_eq!(records.read(TaskId(5)).unwrap(), None);
    }
}
