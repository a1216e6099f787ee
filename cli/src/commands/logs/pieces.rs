//! Lines that were too long to be kept whole, put together again.
//!
//! Owns which piece belongs to which line: pieces of one container's streams, and of many tasks, come in between. Pure.

use std::collections::BTreeMap;

use berth_aws::berth::{LogEvent, LogStream};

/// Bytes of a line that are put together before they are printed, whether it goes on or not.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The task, the container, and whether it is standard error.
type Origin = (String, Option<String>, bool);

/// Lines of which only the beginning has come.
#[derive(Default)]
pub(super) struct Unfinished(BTreeMap<Origin, LogEvent>);

impl Unfinished {
    /// The whole line, once its last piece is there.
    pub(super) fn complete(&mut self, task: &str, mut event: LogEvent) -> Option<LogEvent> {
        let is_stderr = event.stream == Some(LogStream::Stderr);
        let origin = (task.to_owned(), event.container.clone(), is_stderr);
        let goes_on = event.partial == Some(true);
        if let Some(mut begun) = self.0.remove(&origin) {
            let more = event.message.unwrap_or_default();
            begun.message.get_or_insert_default().push_str(&more);
            event = begun;
        }
        if goes_on && event.message.as_ref().is_some_and(|line| line.len() < MAX_LINE_BYTES) {
            self.0.insert(origin, event);
            return None;
        }
        Some(event)
    }

    /// What is there of lines whose end did not come, each with its task.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, LogEvent)> {
        self.0.into_iter().map(|((task, ..), event)| (task, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_in_pieces_is_put_together_whatever_comes_between() {
        let event = |stream, partial, message: &str| LogEvent {
            stream: Some(stream),
            message: Some(message.to_owned()),
            partial: Some(partial),
            ..Default::default()
        };
        let mut unfinished = Unfinished::default();
        let mut take = |event| unfinished.complete("task", event).and_then(|line| line.message);
        assert_eq!(take(event(LogStream::Stdout, true, "one ")), None);
        assert_eq!(take(event(LogStream::Stderr, false, "other")), Some("other".to_owned()));
        assert_eq!(take(event(LogStream::Stdout, true, "two ")), None);
        assert_eq!(
            take(event(LogStream::Stdout, false, "three")),
            Some("one two three".to_owned())
        );
        let huge = "x".repeat(MAX_LINE_BYTES);
        assert_eq!(take(event(LogStream::Stdout, true, &huge)), Some(huge));
        assert_eq!(take(event(LogStream::Stdout, true, "end")), None);
        let rest: Vec<_> = unfinished.rest().map(|(_, line)| line.message).collect();
        assert_eq!(rest, [Some("end".to_owned())]);
    }
}
