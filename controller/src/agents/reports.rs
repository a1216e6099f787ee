//! Commits what hosts say of their tasks: what several say at the same time as one command. Shell.
//!
//! A thousand hosts that each report one task would otherwise be a thousand entries in the log, each of which costs every member as much as
//! the command of them all. Nothing is put off for this: what comes in while others are on their way waits for its turn anyway.

use std::sync::Arc;

use berth_core::model::{ContainerInstanceId, HostReports, TaskReport, Timestamp};
use berth_core::state::{Command, Feature, Rejection};
use berth_proto::record::{self, RecordError, RecordKind};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::replica::StateGroup;
use berth_raft::ProposeError;

/// Bytes of reports in one command, half of what a command may have.
const MAX_BYTES_PER_COMMAND: usize = 512 * 1024;

/// Hosts in one command, or proposed at a time as long as each takes a command of its own: enough to share a sync, and far fewer than a
/// group lets wait before it refuses more.
const MAX_HOSTS: usize = 256;

/// Commands that are on their way at a time: the next one is put together while others are committed.
const COMMANDS_AT_ONCE: usize = 4;

/// Hosts that wait for their turn before others wait to wait.
const QUEUE: usize = 4 * MAX_HOSTS;

/// A part of what a host says that fits a command.
#[derive(Debug)]
pub(super) struct Part {
    reports: Vec<TaskReport>,
    bytes: usize,
}

/// Reads a batch and cuts it so that each part fits a command.
pub(super) fn read(batch: &[Vec<u8>]) -> Result<Vec<Part>, RecordError> {
    let mut parts: Vec<Part> = vec![];
    for bytes in batch {
        let report = record::decode(RecordKind::TaskReport, bytes)?;
        match parts.last_mut() {
            Some(part) if part.bytes + bytes.len() <= MAX_BYTES_PER_COMMAND => {
                part.reports.push(report);
                part.bytes += bytes.len();
            }
            _ => parts.push(Part {
                reports: vec![report],
                bytes: bytes.len(),
            }),
        }
    }
    Ok(parts)
}

/// What a host says, on its way into the log.
struct Waiting {
    term: u64,
    host: HostReports,
    bytes: usize,
    done: oneshot::Sender<Result<(), ProposeError>>,
}

/// Where sessions bring what their hosts say.
#[derive(Clone)]
pub(super) struct Recorder(mpsc::Sender<Waiting>);

impl Recorder {
    /// The recorder, and the work that it leaves to whoever made it, which ends once all recorders are gone.
    pub(super) fn new(group: StateGroup) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self(queue), run(group, waiting))
    }

    /// Commits a batch, in the term of the session that it came in; once it returns, the agent need not send it again. A host that has left
    /// the cluster has no tasks that its reports could be about.
    pub(super) async fn commit(
        self,
        term: u64,
        container_instance: ContainerInstanceId,
        parts: Vec<Part>,
        at: Timestamp,
    ) -> Result<(), ProposeError> {
        for Part { reports, bytes } in parts {
            let (done, committed) = oneshot::channel();
            let host = HostReports {
                container_instance,
                reports,
                at,
            };
            let waiting = Waiting {
                term,
                host,
                bytes,
                done,
            };
            // The agent ends the session if its turn does not come in time.
            self.0.send(waiting).await.map_err(|_| ProposeError::Stopped)?;
            committed.await.unwrap_or(Err(ProposeError::Stopped))?;
        }
        Ok(())
    }
}

async fn run(group: StateGroup, mut queue: mpsc::Receiver<Waiting>) {
    let turns = Arc::new(Semaphore::new(COMMANDS_AT_ONCE));
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(waiting) => Some(waiting),
            None => queue.recv().await,
        };
        let (Some(first), Ok(turn)) = (first, Arc::clone(&turns).acquire_owned().await) else {
            return;
        };
        let batch;
        (batch, left) = gather(first, || queue.try_recv().ok());
        let group = group.clone();
        tokio::spawn(async move {
            record(&group, batch).await;
            drop(turn);
        });
    }
}

/// What is recorded together: those that are there already, of the same term, as many as fit a command; and the first that does not.
fn gather(first: Waiting, mut next: impl FnMut() -> Option<Waiting>) -> (Vec<Waiting>, Option<Waiting>) {
    let (term, mut bytes) = (first.term, first.bytes);
    let mut batch = vec![first];
    while batch.len() < MAX_HOSTS {
        match next() {
            Some(waiting) if waiting.term == term && bytes + waiting.bytes <= MAX_BYTES_PER_COMMAND => {
                bytes += waiting.bytes;
                batch.push(waiting);
            }
            other => return (batch, other),
        }
    }
    (batch, None)
}

async fn record(group: &StateGroup, batch: Vec<Waiting>) {
    if group.view().view.uses(Feature::ReportsOfSeveralHosts) {
        record_together(group, batch).await;
        return;
    }
    let mut under_way = JoinSet::new();
    for waiting in batch {
        let group = group.clone();
        under_way.spawn(async move { record_alone(&group, waiting).await });
    }
    under_way.join_all().await;
}

async fn record_together(group: &StateGroup, batch: Vec<Waiting>) {
    let Some(term) = batch.first().map(|waiting| waiting.term) else {
        return;
    };
    let (hosts, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.host, waiting.done)).unzip();
    let proposed = group
        .propose_in_background(Command::RecordReportsOfHosts { hosts }, term)
        .await;
    let outcome = proposed.map(|applied| {
        if let Err(rejection) = applied.outcome {
            tracing::warn!(%rejection, "the reports of several hosts were refused");
        }
    });
    for answer in answers {
        // A session that has ended meanwhile needs none.
        answer.send(outcome.clone()).ok();
    }
}

async fn record_alone(group: &StateGroup, waiting: Waiting) {
    let HostReports {
        container_instance,
        reports,
        at,
    } = waiting.host;
    let command = Command::RecordTaskReports {
        container_instance,
        reports,
        at,
    };
    let proposed = group.propose_in_background(command, waiting.term).await;
    let outcome = proposed.map(|applied| match applied.outcome {
        Ok(_) | Err(Rejection::ContainerInstanceNotFound(_)) => {}
        Err(rejection) => {
            tracing::warn!(%container_instance, %rejection, "the reports of a host were refused");
        }
    });
    waiting.done.send(outcome).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(term: u64, host: u128, bytes: usize) -> Waiting {
        Waiting {
            term,
            host: HostReports {
                container_instance: ContainerInstanceId(host),
                reports: vec![],
                at: Timestamp(0),
            },
            bytes,
            done: oneshot::channel().0,
        }
    }

    fn hosts(batch: &[Waiting]) -> Vec<u128> {
        batch.iter().map(|waiting| waiting.host.container_instance.0).collect()
    }

    #[test]
    fn reports_that_are_there_are_gathered_as_long_as_they_fit_and_are_of_one_term() {
        let mut there = vec![
            waiting(8, 4, 1),
            waiting(7, 3, MAX_BYTES_PER_COMMAND - 20),
            waiting(7, 2, 10),
        ];
        let (batch, left) = gather(waiting(7, 1, 10), || there.pop());
        assert_eq!(hosts(&batch), [1, 2, 3]);
        assert_eq!(left.map(|waiting| waiting.term), Some(8));
        let (batch, left) = gather(waiting(7, 1, 10), || Some(waiting(7, 2, MAX_BYTES_PER_COMMAND)));
        assert_eq!(hosts(&batch), [1]);
        assert!(left.is_some());
        let (batch, left) = gather(waiting(7, 1, 1), || Some(waiting(7, 2, 1)));
        assert_eq!((batch.len(), left.is_none()), (MAX_HOSTS, true));
        let (batch, left) = gather(waiting(7, 1, 1), || None);
        assert_eq!((batch.len(), left.is_none()), (1, true));
    }
}
