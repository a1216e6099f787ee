//! Where the lines come from that somebody reads through the controllers.
//!
//! Owns the question and the answer; it must not know of the wire. The trait is pure, its implementations are shells.

use std::time::Duration;

use async_trait::async_trait;

use crate::runtime::ContainerKey;

/// Which piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The container.
    pub container: ContainerKey,
    /// Where to go on, from an earlier [`LogChunk`]; `None` begins `tail` lines before the end.
    pub position: Option<String>,
    /// Without a position: lines before the end to begin with; 0 begins with the first that is kept.
    pub tail: u32,
    /// At most so many bytes of lines, unless a single line is longer.
    pub max_bytes: usize,
    /// How long to wait for a line if there is none.
    pub wait: Duration,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Where to go on.
    pub next_position: String,
    /// Whether nothing can follow: the container has ended, and all has been read.
    pub end: bool,
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
    /// There is none, or none any more.
    #[error("there is no log of container {0} on this host")]
    NoSuchLog(ContainerKey),
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
    /// A piece of a container's log.
    ///
    /// # Errors
    /// Any [`LogSourceError`].
    async fn read(&self, query: LogQuery) -> Result<LogChunk, LogSourceError>;
}
