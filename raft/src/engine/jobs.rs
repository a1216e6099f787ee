//! What an engine wants done beside it, since it takes long: writing snapshots, clearing away what they replace.
//!
//! Owns the jobs; whoever drives the engine decides where they run. Shell.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_proto::v1;

use super::applied_proposals::AppliedProposals;
use crate::error::RaftFault;
use crate::log_storage::Leftovers;
use crate::snapshot;
use crate::state_machine::StateMachine;
use berth_storage::Storage;

/// Work to be done beside the engine, at any time and place: [`Job::run`] it, and hand what it gives to
/// [`Engine::job_done`](super::Engine::job_done). There is at most one at a time.
pub struct Job<M: StateMachine> {
    store: Arc<dyn Storage>,
    task: Task<M::View>,
}

pub(super) enum Task<V> {
    /// Write the snapshot that the metadata describes.
    Write {
        view: V,
        proposals: AppliedProposals,
        meta: Box<v1::SnapshotMeta>,
    },
    /// Delete what is not needed any more.
    Clear(Leftovers),
}

/// What a job has done.
#[derive(Debug)]
pub struct JobDone(pub(super) Done);

#[derive(Debug)]
pub(super) enum Done {
    /// The snapshot is stored, and waits to be made the current one.
    Written(Box<v1::SnapshotMeta>),
    /// What was not needed is gone.
    Cleared,
}

impl<M: StateMachine> fmt::Debug for Job<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.task {
            Task::Write { .. } => "Job(write a snapshot)",
            Task::Clear(_) => "Job(clear leftovers)",
        })
    }
}

impl<M: StateMachine> Job<M> {
    /// Does the work, in commits of bounded size; gives nothing if it was told to stop.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage fails; the engine must not go on then.
    pub fn run(self, stop: &AtomicBool) -> Result<Option<JobDone>, RaftFault> {
        let done = match self.task {
            Task::Write { view, proposals, meta } => {
                let written = snapshot::write::<M>(&*self.store, &view, &proposals, *meta, stop)?;
                written.map(|meta| Done::Written(Box::new(meta)))
            }
            Task::Clear(leftovers) => {
                leftovers.delete(&*self.store, stop)?;
                Some(Done::Cleared)
            }
        };
        Ok(done.map(JobDone))
    }
}

/// The jobs that wait, and whether one is under way.
pub(super) struct Jobs<V> {
    waiting: VecDeque<Task<V>>,
    under_way: bool,
    writing: bool,
}

impl<V> Default for Jobs<V> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: false,
            writing: false,
        }
    }
}

impl<V> Jobs<V> {
    /// Whether a snapshot is wanted or being written.
    pub(super) fn writes(&self) -> bool {
        self.writing
    }

    pub(super) fn write(&mut self, view: V, proposals: AppliedProposals, meta: v1::SnapshotMeta) {
        self.writing = true;
        let meta = Box::new(meta);
        self.waiting.push_back(Task::Write { view, proposals, meta });
    }

    pub(super) fn clear(&mut self, leftovers: Leftovers) {
        if !leftovers.is_empty() {
            self.waiting.push_back(Task::Clear(leftovers));
        }
    }

    pub(super) fn done(&mut self, done: &Done) {
        self.under_way = false;
        if matches!(done, Done::Written(_)) {
            self.writing = false;
        }
    }

    /// The next job, once none is under way.
    pub(super) fn next<M: StateMachine<View = V>>(&mut self, store: &Arc<dyn Storage>) -> Option<Job<M>> {
        if self.under_way {
            return None;
        }
        let task = self.waiting.pop_front()?;
        self.under_way = true;
        Some(Job {
            store: Arc::clone(store),
            task,
        })
    }
}
