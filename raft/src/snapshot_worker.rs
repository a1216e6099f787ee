//! The thread that writes snapshots and clears away what they replace, beside the driver. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use berth_proto::v1;

use super::error::RaftFault;
use super::log_storage::Leftovers;
use super::snapshot;
use super::state_machine::StateMachine;
use berth_storage::Storage;

/// What the worker is asked to do; the driver asks for one thing at a time.
pub(super) enum Job<V> {
    /// Write the snapshot that the metadata describes.
    Write { view: V, meta: v1::SnapshotMeta },
    /// Delete what a snapshot replaced.
    Clear(Leftovers),
}

/// What the worker has done.
#[derive(Debug)]
pub(super) enum Done {
    /// The snapshot is stored, and waits to be made the current one.
    Written(v1::SnapshotMeta),
    /// What it replaced is gone.
    Cleared,
}

/// The running thread; ends when dropped.
pub(super) struct SnapshotWorker<V> {
    jobs: Option<SyncSender<Job<V>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<V: Send + 'static> SnapshotWorker<V> {
    /// Starts the thread; it reports through `report`, which returns whether anyone still listens.
    pub(super) fn start<M: StateMachine<View = V>>(
        store: Arc<dyn Storage>,
        report: impl Fn(Result<Done, RaftFault>) -> bool + Send + 'static,
    ) -> Result<Self, RaftFault> {
        let (jobs, inbox) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stop_seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("raft-snapshots".to_owned())
            .spawn(move || run::<M>(&*store, &inbox, &stop_seen, report))
            .map_err(|source| RaftFault::System {
                action: "start the snapshot thread",
                source,
            })?;
        Ok(Self {
            jobs: Some(jobs),
            stop,
            thread: Some(thread),
        })
    }

    /// Hands over a job. The driver has at most one under way, so there is always room.
    pub(super) fn submit(&self, job: Job<V>) -> Result<(), RaftFault> {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if sent {
            Ok(())
        } else {
            Err(RaftFault::Panicked {
                message: "the snapshot thread is gone".to_owned(),
            })
        }
    }
}

impl<V> Drop for SnapshotWorker<V> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the snapshot thread of the raft group panicked");
        }
    }
}

fn run<M: StateMachine>(
    store: &dyn Storage,
    inbox: &Receiver<Job<M::View>>,
    stop: &AtomicBool,
    report: impl Fn(Result<Done, RaftFault>) -> bool,
) {
    while let Ok(job) = inbox.recv() {
        let done = match job {
            Job::Write { view, meta } => match snapshot::write::<M>(store, &view, meta, stop) {
                Ok(Some(meta)) => Ok(Done::Written(meta)),
                Ok(None) => return,
                Err(fault) => Err(fault),
            },
            Job::Clear(leftovers) => leftovers.delete(store).map(|()| Done::Cleared),
        };
        if !report(done) {
            return;
        }
    }
}
