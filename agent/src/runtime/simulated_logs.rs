//! The few lines that a pretended container has to say, kept in memory.
//!
//! A position is the number of lines before it. Shell: a reader may wait for a line.

use tokio::sync::watch;

use crate::clock;
use crate::log_source::{LogChunk, LogLine, LogQuery, LogSourceError};

/// The log of one container.
#[derive(Debug, Default)]
pub(super) struct SimulatedLog {
    lines: watch::Sender<Lines>,
}

/// What has been written. A container writes one line when it starts and one when it ends, so this stays short.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<LogLine>,
    has_ended: bool,
}

impl SimulatedLog {
    pub(super) fn write(&mut self, text: String) {
        let line = LogLine {
            timestamp_ms: clock::now().0,
            stderr: false,
            partial: false,
            message: text.into_bytes(),
        };
        self.lines.send_modify(|lines| lines.lines.push(line));
    }

    pub(super) fn end(&mut self) {
        self.lines.send_modify(|lines| lines.has_ended = true);
    }

    pub(super) fn changes(&self) -> watch::Receiver<Lines> {
        self.lines.subscribe()
    }
}

/// Answers a query from a log.
pub(super) async fn read(mut changes: watch::Receiver<Lines>, query: LogQuery) -> Result<LogChunk, LogSourceError> {
    let position = match &query.position {
        Some(text) => Some(
            text.parse::<usize>()
                .map_err(|_| LogSourceError::InvalidPosition(text.clone()))?,
        ),
        None => None,
    };
    let start = |lines: &Lines| match position {
        Some(position) => position.min(lines.lines.len()),
        None if query.tail == 0 => 0,
        None => lines
            .lines
            .len()
            .saturating_sub(usize::try_from(query.tail).unwrap_or(usize::MAX)),
    };
    // Without news in time the answer is that there are none.
    let news = changes.wait_for(|lines| lines.has_ended || lines.lines.len() > start(lines));
    tokio::time::timeout(query.wait, news).await.ok();
    let lines = changes.borrow();
    let first = start(&lines);
    let mut bytes = 0;
    let fitting = lines.lines[first..].iter().enumerate().take_while(|(number, line)| {
        bytes += line.message.len();
        *number == 0 || bytes <= query.max_bytes
    });
    let read: Vec<LogLine> = fitting.map(|(_, line)| line.clone()).collect();
    let next = first + read.len();
    Ok(LogChunk {
        lines: read,
        next_position: next.to_string(),
        end: lines.has_ended && next == lines.lines.len(),
    })
}
