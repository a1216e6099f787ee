//! The logs of this host's containers, read from their files for somebody far away.
//!
//! Owns how long a reader waits, how much it gets at once, and when a log is at its end. Shell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::reader::{self, Page, Position};
use super::{LogLine as StoredLine, MAX_LINE_BYTES, Stream};
use crate::log_source::{LogChunk, LogLine, LogQuery, LogSource, LogSourceError};
use crate::runtime::{ContainerKey, FoundStatus, Runtime};

/// How often a file is looked at while somebody waits for a line.
const POLL: Duration = Duration::from_millis(100);

/// Lines read at once.
const BATCH_LINES: usize = 16;

/// Nanoseconds in a millisecond.
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Reads the files that the log writers of a runtime's containers write.
pub struct FileLogs {
    runtime: Arc<dyn Runtime>,
}

/// Whether more can be written to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// The container runs, or is about to.
    There,
    /// The container has ended or is removed.
    Gone,
}

impl FileLogs {
    /// The logs of a runtime's containers.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime }
    }

    /// Whether the container still runs. A runtime that cannot be asked says nothing of it, so its log goes on.
    async fn writer(&self, key: &ContainerKey) -> Writer {
        let Ok(found) = self.runtime.list().await else {
            return Writer::There;
        };
        let is_there = |status: &FoundStatus| !matches!(status, FoundStatus::Exited(_));
        let container = found.iter().find(|container| container.key == *key);
        if container.is_some_and(|container| is_there(&container.status)) {
            Writer::There
        } else {
            Writer::Gone
        }
    }
}

#[async_trait]
impl LogSource for FileLogs {
    async fn read(&self, query: LogQuery) -> Result<LogChunk, LogSourceError> {
        let no_such_log = || LogSourceError::NoSuchLog(query.container.clone());
        let directory = self.runtime.log_directory(&query.container).ok_or_else(no_such_log)?;
        let deadline = Instant::now() + query.wait;
        let mut from = match &query.position {
            None => From::Tail(query.tail),
            Some(text) => From::After(
                text.parse()
                    .map_err(|_| LogSourceError::InvalidPosition(text.clone()))?,
            ),
        };
        let mut writer = Writer::There;
        loop {
            let page = read_page(&query, &directory, from).await?;
            from = From::After(page.next);
            // A writer that was gone before the page was read has written all of it.
            let end = writer == Writer::Gone && page.lines.is_empty();
            if end && !directory.exists() {
                return Err(no_such_log());
            }
            if end || !page.lines.is_empty() {
                return Ok(chunk(page, end));
            }
            writer = self.writer(&query.container).await;
            if writer == Writer::There && Instant::now() >= deadline {
                return Ok(chunk(page, false));
            }
            // The log writer outlives its container by a moment.
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
enum From {
    /// So many lines before the end; 0 is the first line that is kept.
    Tail(u32),
    After(Position),
}

async fn read_page(query: &LogQuery, directory: &Path, from: From) -> Result<Page, LogSourceError> {
    let (directory, max_bytes) = (PathBuf::from(directory), query.max_bytes);
    let reading = tokio::task::spawn_blocking(move || match from {
        From::Tail(0) => read_after(&directory, Position::default(), max_bytes),
        From::Tail(count) => read_tail(&directory, count, max_bytes),
        From::After(position) => read_after(&directory, position, max_bytes),
    });
    let failed = |source| LogSourceError::Io {
        container: query.container.clone(),
        source,
    };
    reading
        .await
        .map_err(|error| failed(std::io::Error::other(error)))?
        .map_err(failed)
}

/// Lines after a position, as many as fit.
fn read_after(directory: &Path, position: Position, max_bytes: usize) -> std::io::Result<Page> {
    let mut all = Page {
        lines: Vec::new(),
        next: position,
    };
    let mut bytes = 0;
    loop {
        let page = reader::read_after(directory, all.next, BATCH_LINES)?;
        let is_last = page.lines.len() < BATCH_LINES;
        bytes += page.lines.iter().map(|line| line.line.len()).sum::<usize>();
        all.lines.extend(page.lines);
        all.next = page.next;
        if is_last || bytes + BATCH_LINES * MAX_LINE_BYTES > max_bytes {
            return Ok(all);
        }
    }
}

/// The last lines, as many as fit.
fn read_tail(directory: &Path, count: u32, max_bytes: usize) -> std::io::Result<Page> {
    let mut page = reader::tail(directory, usize::try_from(count).unwrap_or(usize::MAX))?;
    let mut bytes = 0;
    let fitting = page.lines.iter().rev().take_while(|line| {
        bytes += line.line.len();
        bytes <= max_bytes
    });
    let fitting = fitting.count().max(1);
    let superfluous = page.lines.len().saturating_sub(fitting);
    page.lines.drain(..superfluous);
    Ok(page)
}

fn chunk(page: Page, end: bool) -> LogChunk {
    LogChunk {
        lines: page.lines.into_iter().map(line).collect(),
        next_position: page.next.to_string(),
        end,
    }
}

fn line(stored: StoredLine) -> LogLine {
    LogLine {
        timestamp_ms: stored.ts / NANOS_PER_MILLI,
        stderr: stored.stream == Stream::Stderr,
        partial: stored.partial,
        message: stored.line.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::logs::file_path;

    fn write(directory: &Path, texts: &[&str]) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file_path(directory, 1))
            .expect("opened");
        for text in texts {
            let line = StoredLine {
                ts: 7 * NANOS_PER_MILLI,
                stream: Stream::Stdout,
                line: (*text).to_owned(),
                partial: false,
            };
            writeln!(file, "{}", serde_json::to_string(&line).expect("JSON")).expect("written");
        }
    }

    fn texts(page: &Page) -> Vec<&str> {
        page.lines.iter().map(|line| line.line.as_str()).collect()
    }

    #[test]
    fn tail_larger_than_the_bound_keeps_the_newest_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), &["first", "second", "third"]);
        let page = read_tail(directory.path(), 10, 11).expect("read");
        assert_eq!(texts(&page), ["second", "third"]);
        assert_eq!(texts(&read_tail(directory.path(), 10, 1).expect("read")), ["third"]);
    }

    #[test]
    fn reading_on_after_a_bounded_page_gives_every_line_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(100);
        let lines: Vec<String> = (0..100).map(|number| format!("{number} {long}")).collect();
        write(directory.path(), &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut found, mut position) = (Vec::new(), Position::default());
        loop {
            let page = read_after(directory.path(), position, 1).expect("read");
            if page.lines.is_empty() {
                break;
            }
            assert!(page.lines.len() <= BATCH_LINES);
            position = page.next;
            found.extend(page.lines.into_iter().map(|line| line.line));
        }
        assert_eq!(found, lines);
    }
}
