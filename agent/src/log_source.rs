//! Where the lines come from that somebody reads through the controllers.
//!
//! Owns the question and the answer; it must not know of the wire, nor wait for lines. Shell.

use std::sync::Arc;

use async_trait::async_trait;

use crate::logs::{self, reader};
use crate::runtime::{ContainerKey, Runtime};

/// Which piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The container.
    pub container: ContainerKey,
    /// Where to go on, from an earlier [`LogChunk`]; `None` begins `tail` lines before the end.
    pub position: Option<String>,
    /// Without a position: lines before the end to begin with; 0 begins with the first that is kept.
    pub tail: u32,
    /// So many bytes of lines are enough; the last line may reach beyond it.
    pub max_bytes: usize,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Where to go on.
    pub next_position: String,
}

/// A line of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Whether it came over standard error.
    pub stderr: bool,
    /// Whether the line goes on in the next record of the same stream.
    pub partial: bool,
    /// The line without its newline.
    pub message: Vec<u8>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogSourceError {
    /// Nothing is kept of what the container writes.
    #[error("this host keeps no log of container {0}")]
    NotKept(ContainerKey),
    /// The position is not one that this source has given.
    #[error("{0:?} is not a position in this log; begin without one")]
    InvalidPosition(String),
    /// The log is there and cannot be read.
    #[error("the log of container {container} cannot be read")]
    Io {
        /// The container.
        container: ContainerKey,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the logs of this host's containers, running and ended.
#[async_trait]
pub trait LogSource: Send + Sync + 'static {
    /// A piece of a container's log as it is now; an empty one where the container has not written anything yet.
    ///
    /// # Errors
    /// Any [`LogSourceError`].
    async fn read(&self, query: LogQuery) -> Result<LogChunk, LogSourceError>;
}

/// The log files that a runtime has written beside its containers.
pub struct FileLogs {
    runtime: Arc<dyn Runtime>,
}

impl FileLogs {
    /// The logs of this runtime's containers.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime }
    }
}

#[async_trait]
impl LogSource for FileLogs {
    async fn read(&self, query: LogQuery) -> Result<LogChunk, LogSourceError> {
        let container = query.container.clone();
        let directory = self.runtime.log_directory(&container);
        let directory = directory.ok_or_else(|| LogSourceError::NotKept(container.clone()))?;
        let position = match &query.position {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| LogSourceError::InvalidPosition(text.clone()))?,
            ),
            None => None,
        };
        let read = tokio::task::spawn_blocking(move || match position {
            Some(position) => reader::read_after(&directory, position, query.max_bytes),
            None if query.tail == 0 => reader::read_after(&directory, reader::Position::default(), query.max_bytes),
            None => {
                let lines = usize::try_from(query.tail).unwrap_or(usize::MAX);
                reader::tail(&directory, lines, query.max_bytes)
            }
        });
        let page = match read.await {
            Ok(page) => page.map_err(|source| LogSourceError::Io { container, source })?,
            Err(error) => {
                return Err(LogSourceError::Io {
                    container,
                    source: error.into(),
                });
            }
        };
        let next_position = page.next.to_string();
        Ok(LogChunk {
            lines: page.lines.into_iter().map(line).collect(),
            next_position,
        })
    }
}

fn line(line: logs::LogLine) -> LogLine {
    LogLine {
        timestamp_ms: line.ts.div_euclid(1_000_000),
        stderr: line.stream == logs::Stream::Stderr,
        partial: line.partial,
        message: line.line.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_file_as_it_is_answered_says_when_whence_and_whether_it_goes_on() {
        let shown = line(logs::LogLine {
            ts: 5_000_000,
            stream: logs::Stream::Stderr,
            line: "a".to_owned(),
            partial: true,
        });
        assert!(shown.stderr && shown.partial && shown.timestamp_ms == 5);
    }
}
