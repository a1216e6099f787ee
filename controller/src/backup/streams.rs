//! Backups handed out in parts, each of one index, while the controller serves. Shell.
//!
//! The state is shared with the replica, not copied.

use std::sync::Arc;
use std::time::Duration;

use super::format;
use crate::api::ports::{BackupBegun, Backups, Part, PartFailure, PortFuture, Unavailable};
use crate::clock::Clock;
use crate::parts::{Bounds, Broken, IDLE, PartStreams};
use crate::replica::StateGroup;

/// Backups that may be open at once: each costs some parts in memory and keeps an old state alive.
const MAX_OPEN: usize = 4;

/// The open backups of one controller.
pub struct BackupStreams {
    group: StateGroup,
    clock: Arc<dyn Clock>,
    streams: PartStreams,
}

impl std::fmt::Debug for BackupStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BackupStreams").finish_non_exhaustive()
    }
}

impl BackupStreams {
    /// Backups of the group's state.
    #[must_use]
    pub fn new(group: StateGroup, clock: Arc<dyn Clock>) -> Self {
        Self::dropped_after(IDLE, group, clock)
    }

    /// As [`BackupStreams::new`], with another time for which an open backup waits for the next question.
    #[must_use]
    pub fn dropped_after(idle: Duration, group: StateGroup, clock: Arc<dyn Clock>) -> Self {
        let bounds = Bounds {
            open: MAX_OPEN,
            idle,
            in_all: None,
        };
        Self {
            group,
            clock,
            streams: PartStreams::new("backup", bounds),
        }
    }

    async fn begin_one(&self, id: String) -> Result<BackupBegun, Unavailable> {
        let read = self.group.read().await;
        let published = read.map_err(|error| Unavailable::NoAnswer(error.to_string()))?;
        let created_at = self.clock.now();
        let header = format::header_of(&published, created_at.0);
        let index = header.index;
        let state = Arc::clone(&published.view);
        self.streams.open(id, move |parts| {
            let written = format::write_state(parts, &header, &state);
            written.map(|_| ()).map_err(|error| Broken::Failed(error.chain()))
        })?;
        Ok(BackupBegun { index, created_at })
    }
}

impl Backups for BackupStreams {
    fn begin(&self, id: String) -> PortFuture<'_, Result<BackupBegun, Unavailable>> {
        Box::pin(self.begin_one(id))
    }

    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<Part, PartFailure>> {
        Box::pin(self.streams.part(id, number))
    }
}
