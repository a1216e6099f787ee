//! Virtual time: what happens when. Pure.
//!
//! Nothing waits: the clock jumps to the next event. Events of one moment happen in the order in which they were
//! scheduled, so that a run follows from its seed alone.

use std::collections::BTreeMap;

/// Events in the order in which they are to happen.
#[derive(Debug)]
pub(crate) struct Schedule<E> {
    now_ms: u64,
    scheduled: u64,
    events: BTreeMap<(u64, u64), E>,
}

impl<E> Schedule<E> {
    pub(crate) fn new() -> Self {
        Self {
            now_ms: 0,
            scheduled: 0,
            events: BTreeMap::new(),
        }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Has something happen at a time, or now if that has passed.
    pub(crate) fn at(&mut self, at_ms: u64, event: E) {
        self.scheduled += 1;
        self.events.insert((at_ms.max(self.now_ms), self.scheduled), event);
    }

    pub(crate) fn after(&mut self, ms: u64, event: E) {
        self.at(self.now_ms + ms, event);
    }

    /// The next event; it is that time now.
    pub(crate) fn next(&mut self) -> Option<E> {
        let ((at_ms, _), event) = self.events.pop_first()?;
        self.now_ms = at_ms;
        Some(event)
    }
}
