//! Recordings handed out in parts while the controller serves. Shell.
//!
//! What the controller works with is left alone: the state that a recording begins with is read from the store, and takes as much memory once
//! more while it is written. So one is made at a time, and not for long.

use std::time::Duration;

use berth_core::model::ClusterKey;
use berth_raft::{History, snapshot_index};

use super::export::{self, DecisionsError};
use super::span::Span;
use crate::api::ports::{
    DecisionRecordings, Part, PartFailure, PortFuture, RecordingBegun, RecordingFailure, Unavailable,
};
use crate::parts::{Bounds, Broken, IDLE, PartStreams};
use crate::replica::StateGroup;

/// Bounds of the recordings of one controller; ten minutes are enough for a gigabyte.
const BOUNDS: Bounds = Bounds {
    open: 1,
    idle: IDLE,
    in_all: Some(Duration::from_secs(600)),
};

/// The open recordings of one controller.
pub struct DecisionStreams {
    group: StateGroup,
    streams: PartStreams,
}

impl std::fmt::Debug for DecisionStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DecisionStreams").finish_non_exhaustive()
    }
}

impl DecisionStreams {
    /// Recordings of what the group's member holds of the log.
    #[must_use]
    pub fn new(group: StateGroup) -> Self {
        Self {
            group,
            streams: PartStreams::new("recording", BOUNDS),
        }
    }

    async fn begin_one(&self, id: String, cluster: ClusterKey, span: Span) -> Result<RecordingBegun, RecordingFailure> {
        let unavailable = |text: String| RecordingFailure::Unavailable(Unavailable::NoAnswer(text));
        let read = self.group.read().await;
        let last = read.map_err(|error| unavailable(error.to_string()))?.index;
        let store = self.group.store();
        let store = store.ok_or_else(|| unavailable("the controller is stopping".to_owned()))?;
        let first = snapshot_index(&*store).map_err(|fault| unavailable(fault.chain()))? + 1;
        let checked = span.check(first, last);
        checked.map_err(|error| RecordingFailure::Refused(error.to_string()))?;
        let opened = self.streams.open(id, move |parts| {
            let history = History::read(&*store, Some(last));
            // The store is to close when the controller stops, whoever still fetches.
            drop(store);
            let written = history.map_err(DecisionsError::from);
            let written = written.and_then(|history| export::write(history, &span, &cluster, parts));
            written.map(|_| ()).map_err(|error| match error.is_refusal() {
                true => Broken::Refused(error.to_string()),
                false => Broken::Failed(error.chain()),
            })
        });
        opened.map_err(RecordingFailure::Unavailable)?;
        Ok(RecordingBegun { first, last })
    }
}

impl DecisionRecordings for DecisionStreams {
    fn begin(
        &self,
        id: String,
        cluster: ClusterKey,
        span: Span,
    ) -> PortFuture<'_, Result<RecordingBegun, RecordingFailure>> {
        Box::pin(self.begin_one(id, cluster, span))
    }

    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<Part, PartFailure>> {
        Box::pin(self.streams.part(id, number))
    }
}
