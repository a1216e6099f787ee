//! Reading the log of a container: the last lines, and what came after a position.
//!
//! Owns positions, which callers pass back unopened. Knows nothing of who asks. Shell, blocking: callers on an async
//! runtime wrap it.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::str::FromStr;

use super::{LogLine, file_path, sequences};

/// Where in a container's log a reader is: everything before it has been read. Opaque to callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    sequence: u64,
    offset: u64,
}

/// Text that is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position in a log")]
pub struct InvalidPosition(String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.offset)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let parse = || {
            let (sequence, offset) = text.split_once('-')?;
            Some(Self {
                sequence: sequence.parse().ok()?,
                offset: offset.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

/// Lines of a log, and where they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines, in the order in which they were written.
    pub lines: Vec<LogLine>,
    /// Where to read on.
    pub next: Position,
}

/// The last `count` lines, and the position after them from which to follow; fewer lines where those reach `max_bytes`, but one
/// at least.
///
/// # Errors
/// If a file cannot be read. A log that does not exist yet is empty.
pub fn tail(directory: &Path, count: usize, max_bytes: usize) -> std::io::Result<Page> {
    let mut last: VecDeque<LogLine> = VecDeque::with_capacity(count.min(1024));
    let mut bytes = 0;
    let next = scan(directory, Position::default(), |line| {
        if count == 0 {
            return true;
        }
        bytes += line.line.len();
        last.push_back(line);
        while let Some(first) = last.front()
            && (last.len() > count || bytes.saturating_sub(first.line.len()) >= max_bytes)
            && last.len() > 1
        {
            bytes -= first.line.len();
            last.pop_front();
        }
        true
    })?;
    Ok(Page {
        lines: last.into(),
        next,
    })
}

/// The lines after `position`, until they reach `max_bytes`; none if nothing new was written. What was rotated away is
/// skipped.
///
/// # Errors
/// If a file cannot be read.
pub fn read_after(directory: &Path, position: Position, max_bytes: usize) -> std::io::Result<Page> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    let next = scan(directory, position, |line| {
        bytes += line.line.len();
        lines.push(line);
        bytes < max_bytes
    })?;
    Ok(Page { lines, next })
}

/// Hands every complete record after `from` to `visit`, until it says to stop; the position after the last one.
fn scan(directory: &Path, from: Position, mut visit: impl FnMut(LogLine) -> bool) -> std::io::Result<Position> {
    let mut position = from;
    for sequence in sequences(directory)?.into_iter().filter(|s| *s >= from.sequence) {
        let mut file = match File::open(file_path(directory, sequence)) {
            Ok(file) => file,
            // Rotated away since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if sequence != position.sequence {
            position = Position { sequence, offset: 0 };
        }
        file.seek(SeekFrom::Start(position.offset))?;
        let mut reader = BufReader::new(file);
        let mut record = Vec::new();
        loop {
            record.clear();
            let count = reader.read_until(b'\n', &mut record)?;
            if record.last() != Some(&b'\n') {
                break; // the end, or a record that is just being written
            }
            position.offset += count as u64;
            // A record that a crash cut short is skipped.
            if let Ok(line) = serde_json::from_slice(&record)
                && !visit(line)
            {
                return Ok(position);
            }
        }
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::Stream;
    use super::*;

    fn write(directory: &Path, sequence: u64, texts: &[&str]) {
        let path = file_path(directory, sequence);
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        for text in texts {
            let line = LogLine {
                ts: 1,
                stream: Stream::Stdout,
                line: (*text).to_owned(),
                partial: false,
            };
            writeln!(file, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
    }

    fn texts(page: &Page) -> Vec<&str> {
        page.lines.iter().map(|l| l.line.as_str()).collect()
    }

    #[test]
    fn tail_across_files_gives_the_last_lines_and_following_gives_what_comes_next() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &["a", "b"]);
        write(dir.path(), 2, &["c"]);
        let page = tail(dir.path(), 2, 100).unwrap();
        assert_eq!(texts(&page), ["b", "c"]);
        assert!(read_after(dir.path(), page.next, 10).unwrap().lines.is_empty());
        write(dir.path(), 2, &["d"]);
        write(dir.path(), 3, &["e"]);
        let next = read_after(dir.path(), page.next, 1).unwrap();
        assert_eq!(texts(&next), ["d"]);
        assert_eq!(texts(&read_after(dir.path(), next.next, 10).unwrap()), ["e"]);
    }

    #[test]
    fn tail_of_long_lines_is_the_newest_that_are_enough_and_one_at_least() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &["aaaa", "bb", "cc"]);
        let tail = |max_bytes| tail(dir.path(), 10, max_bytes).unwrap();
        assert_eq!(texts(&tail(4)), ["bb", "cc"]);
        assert_eq!(texts(&tail(1)), ["cc"]);
        assert_eq!(texts(&tail(0)), ["cc"]);
        assert_eq!(texts(&tail(100)), ["aaaa", "bb", "cc"]);
    }

    #[test]
    fn read_after_a_position_that_was_rotated_away_goes_on_with_the_oldest_left() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &["a"]);
        let page = tail(dir.path(), 0, 100).unwrap();
        std::fs::remove_file(file_path(dir.path(), 1)).unwrap();
        write(dir.path(), 5, &["x"]);
        assert_eq!(texts(&read_after(dir.path(), page.next, 10).unwrap()), ["x"]);
    }

    #[test]
    fn read_after_with_a_record_half_written_leaves_it_for_later() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &["a"]);
        let path = file_path(dir.path(), 1);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(br#"{"ts":1,"stream":"stdout","#).unwrap();
        let page = tail(dir.path(), 10, 100).unwrap();
        assert_eq!(texts(&page), ["a"]);
        file.write_all(b"\"line\":\"b\"}\n").unwrap();
        assert_eq!(texts(&read_after(dir.path(), page.next, 10).unwrap()), ["b"]);
    }

    #[test]
    fn position_in_text_and_back_is_the_same() {
        let position = Position {
            sequence: 3,
            offset: 77,
        };
        assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        assert!("x".parse::<Position>().is_err());
    }

    #[test]
    fn tail_of_no_log_is_empty() {
        assert_eq!(tail(Path::new("/nonexistent/log"), 5, 100).unwrap(), Page::default());
    }
}
