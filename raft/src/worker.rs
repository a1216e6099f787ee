//! The thread that runs an engine's jobs, beside the driver. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::engine::{Job, JobDone};
use super::error::RaftFault;
use super::state_machine::StateMachine;

/// The running thread; ends when dropped.
pub(super) struct Worker<M: StateMachine> {
    jobs: Option<SyncSender<Job<M>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<M: StateMachine> Worker<M> {
    /// Starts the thread; it reports what each job gave.
    pub(super) fn start(
        report: impl Fn(Result<Option<JobDone>, RaftFault>) + Send + 'static,
    ) -> Result<Self, RaftFault> {
        let (jobs, inbox) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stop_seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("raft-snapshots".to_owned())
            .spawn(move || run(&inbox, &stop_seen, report))
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

    /// Hands over a job. An engine has at most one under way, so there is always room.
    pub(super) fn submit(&self, job: Job<M>) -> Result<(), RaftFault> {
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

impl<M: StateMachine> Drop for Worker<M> {
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
    inbox: &Receiver<Job<M>>,
    stop: &AtomicBool,
    report: impl Fn(Result<Option<JobDone>, RaftFault>),
) {
    while let Ok(job) = inbox.recv() {
        report(job.run(stop));
    }
}
