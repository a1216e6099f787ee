//! What containers write: kept in rotated files of JSON lines, one directory per container.
//!
//! Owns the file format, shared by [`writer`] (a process of its own beside each container) and [`reader`]. Knows
//! nothing of containerd or tasks. Shell, without async: the writer must start fast and stay small.
//!
//! Files are numbered (`0000000001.log`, ...) and rotation begins the next number, so that a position stays true.

pub mod reader;
pub mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Size at which the next file is begun.
pub const MAX_FILE_BYTES: u64 = 10 << 20;
/// Files that are kept per container.
pub const MAX_FILES: u64 = 3;
/// Longest line kept whole; a longer one is split into records marked partial. As Docker's json-file does.
pub const MAX_LINE_BYTES: usize = 16 << 10;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Nanoseconds since the Unix epoch when it was read.
    pub ts: i64,
    /// Where it was written to.
    pub stream: Stream,
    /// The text without its line end; what is no UTF-8 is replaced.
    pub line: String,
    /// Whether the line goes on in the next record of the same stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

pub(crate) fn file_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:010}.log"))
}

/// The numbers of the files in `directory`, in order; none if there is no such directory.
pub(crate) fn sequences(directory: &Path) -> std::io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|n| n.strip_suffix(".log"))
            .and_then(|n| n.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}
