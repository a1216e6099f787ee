//! The stream of applied batches for those who react to changes. Shell.
//!
//! It never holds up the driver: whoever falls too far behind is told to start again from the view.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::handle::Applied;

/// What one pass of the driver applied.
#[derive(Debug)]
pub struct AppliedBatch<O> {
    /// The newest index that the view contains since this batch.
    pub last_index: u64,
    /// The outcomes, in the order of the log.
    pub outcomes: Vec<Applied<O>>,
}

/// What a subscriber receives.
#[derive(Clone, Debug)]
pub enum FeedItem<O> {
    /// The next batch.
    Batch(Arc<AppliedBatch<O>>),
    /// Batches were missed, or a snapshot took their place: take the current view and go on from there.
    Resync,
}

/// A subscription, from the moment it was made.
#[derive(Debug)]
pub struct AppliedFeed<O> {
    pub(super) batches: broadcast::Receiver<FeedItem<O>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl<O: Clone + Send + Sync + 'static> AppliedFeed<O> {
    /// Waits for the next item; `None` once the group has stopped on this member. Safe to cancel.
    pub async fn next(&mut self) -> Option<FeedItem<O>> {
        let received = tokio::select! {
            biased;
            received = self.batches.recv() => received,
            _ = self.stopped.wait_for(|stopped| *stopped) => return None,
        };
        match received {
            Ok(item) => Some(item),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(FeedItem::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
