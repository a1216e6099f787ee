//! The thread that commits: takes all changes that wait, writes them as one batch, answers all who wait. Shell.

use std::sync::Arc;

use berth_storage::{Batch, Storage};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::LedgerError;
use super::documents::Change;

/// Changes that wait for the thread: each has a runner waiting for it, so more runners than this wait to be let in.
const QUEUE: usize = 256;

/// Hands changes to the thread.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    change: Change,
    done: oneshot::Sender<()>,
}

impl Writer {
    /// Starts the thread; it ends with the last clone of the writer, or with the first failure, which cancels `failed`.
    /// `closed` is cancelled once the store is released.
    pub(super) fn spawn(storage: Arc<dyn Storage>, failed: CancellationToken, closed: CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        std::thread::spawn(move || {
            if let Err(error) = run(&*storage, waiting) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the agent's ledger cannot be written; the agent stops, its containers run on"
                );
                failed.cancel();
            }
            drop(storage);
            closed.cancel();
        });
        Self { queue }
    }

    pub(super) async fn write(&self, change: Change) -> Result<(), LedgerError> {
        let (done, committed) = oneshot::channel();
        self.queue
            .send(Waiting { change, done })
            .await
            .map_err(|_| LedgerError::Closed)?;
        committed.await.map_err(|_| LedgerError::Closed)
    }
}

fn run(storage: &dyn Storage, mut waiting: mpsc::Receiver<Waiting>) -> Result<(), LedgerError> {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = Batch::default();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(Waiting { change, done }) = next {
            change.write_to(&mut batch, storage)?;
            answers.push(done);
            next = if answers.len() < QUEUE {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        storage.commit(batch)?;
        for answer in answers {
            // Whoever asked may have been stopped meanwhile; the change is written all the same.
            answer.send(()).ok();
        }
    }
    Ok(())
}
