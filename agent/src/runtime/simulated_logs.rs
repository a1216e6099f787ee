//! The few lines that a pretended container has to say, kept in memory.
//!
//! A position is the number of lines before it. Pure, but for the time of a line.

use crate::clock;
use crate::log_source::{LogChunk, LogLine, LogQuery, LogSourceError};

/// The log of one container: a line when it starts and one when it ends, so that this stays short.
#[derive(Debug, Default)]
pub(super) struct SimulatedLog {
    lines: Vec<LogLine>,
}

impl SimulatedLog {
    pub(super) fn write(&mut self, text: String) {
        self.lines.push(LogLine {
            timestamp_ms: clock::now().0,
            stderr: false,
            partial: false,
            message: text.into_bytes(),
        });
    }

    /// Answers a query.
    pub(super) fn read(&self, query: &LogQuery) -> Result<LogChunk, LogSourceError> {
        let count = self.lines.len();
        let first = match &query.position {
            Some(text) => text
                .parse()
                .map_err(|_| LogSourceError::InvalidPosition(text.clone()))?,
            None if query.tail == 0 => 0,
            None => count.saturating_sub(usize::try_from(query.tail).unwrap_or(usize::MAX)),
        };
        let mut bytes = 0;
        let enough = |line: &&LogLine| {
            let is_wanted = bytes < query.max_bytes;
            bytes += line.message.len();
            is_wanted
        };
        let lines: Vec<LogLine> = self.lines.iter().skip(first).take_while(enough).cloned().collect();
        let next = first.min(count) + lines.len();
        Ok(LogChunk {
            lines,
            next_position: next.to_string(),
        })
    }
}
