//! The board on which runners post what became of their tasks, and from which the session takes it.
//!
//! Owns which report of a task is the newest, and whether the controllers have it: at most one report per task waits,
//! however long no controller can be reached. It must not know of the wire. Pure but for its lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_core::model::{ContainerStatus, TaskId, TaskReport, TaskStatus};
use tokio::sync::watch;

use crate::runtime::ContainerKey;

/// The newest report of every task of the host.
#[derive(Debug)]
pub(crate) struct ReportBoard {
    rows: Mutex<BTreeMap<TaskId, Row>>,
    /// Counts the changes of the board; the number of the newest one.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Row {
    report: TaskReport,
    /// The change that brought the report.
    posted: u64,
    /// The newest report that controllers have recorded, by its change.
    recorded: u64,
}

/// Which report it was that has been sent, so that recording it does not cover a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    task: TaskId,
    posted: u64,
}

impl ReportBoard {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Replaces the report of a task; one that says nothing new changes nothing.
    pub(crate) fn post(&self, report: TaskReport) {
        let mut rows = self.rows();
        if rows.get(&report.task).is_some_and(|row| row.report == report) {
            return;
        }
        let posted = *self.changes.borrow() + 1;
        let recorded = rows.get(&report.task).map_or(0, |row| row.recorded);
        rows.insert(
            report.task,
            Row {
                report,
                posted,
                recorded,
            },
        );
        self.changes.send_replace(posted);
    }

    /// Takes a task off the board.
    pub(crate) fn forget(&self, task: TaskId) {
        let mut rows = self.rows();
        rows.remove(&task);
        self.changes.send_modify(|change| *change += 1);
    }

    /// The newest report of every task.
    pub(crate) fn all(&self) -> Vec<TaskReport> {
        self.rows().values().map(|row| row.report.clone()).collect()
    }

    /// At most `limit` reports that have not been recorded, those that have waited longest first.
    pub(crate) fn unrecorded(&self, limit: usize) -> Vec<(Posting, TaskReport)> {
        let rows = self.rows();
        let mut waiting: Vec<&Row> = rows.values().filter(|row| row.recorded < row.posted).collect();
        waiting.sort_by_key(|row| row.posted);
        let first = waiting.into_iter().take(limit);
        first
            .map(|row| {
                (
                    Posting {
                        task: row.report.task,
                        posted: row.posted,
                    },
                    row.report.clone(),
                )
            })
            .collect()
    }

    /// Notes that controllers have these.
    pub(crate) fn mark_recorded(&self, postings: &[Posting]) {
        let mut rows = self.rows();
        for posting in postings {
            if let Some(row) = rows.get_mut(&posting.task) {
                row.recorded = row.recorded.max(posting.posted);
            }
        }
    }

    /// Notes that the controllers have nothing yet: they are others than before.
    pub(crate) fn mark_all_unrecorded(&self) {
        for row in self.rows().values_mut() {
            row.recorded = 0;
        }
    }

    /// Whether a container has ended; `None` where the host has no such container.
    pub(crate) fn has_ended(&self, container: &ContainerKey) -> Option<bool> {
        let rows = self.rows();
        let mut containers = rows.get(&container.task)?.report.containers.iter();
        containers
            .find(|c| c.name == container.name)
            .map(|c| c.status == ContainerStatus::Stopped)
    }

    /// Number of tasks that have not stopped.
    pub(crate) fn unfinished(&self) -> usize {
        self.rows()
            .values()
            .filter(|row| row.report.status < TaskStatus::Stopped)
            .count()
    }

    /// Changes whenever the board does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<TaskId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(task: u128, status: TaskStatus) -> TaskReport {
        TaskReport::new(TaskId(task), status)
    }

    fn waiting(board: &ReportBoard) -> Vec<(u128, TaskStatus)> {
        board.unrecorded(10).iter().map(|(_, r)| (r.task.0, r.status)).collect()
    }

    #[test]
    fn newer_report_replaces_the_one_that_waits() {
        let board = ReportBoard::new();
        board.post(report(1, TaskStatus::Pending));
        board.post(report(2, TaskStatus::Pending));
        board.post(report(1, TaskStatus::Running));
        assert_eq!(waiting(&board), [(2, TaskStatus::Pending), (1, TaskStatus::Running)]);
        assert_eq!(board.unrecorded(1).len(), 1);
        assert_eq!(board.unfinished(), 2);
    }

    #[test]
    fn report_recorded_waits_no_longer_but_a_newer_one_does() {
        let board = ReportBoard::new();
        board.post(report(1, TaskStatus::Pending));
        let sent: Vec<Posting> = board.unrecorded(10).iter().map(|(posting, _)| *posting).collect();
        board.post(report(1, TaskStatus::Running));
        board.mark_recorded(&sent);
        assert_eq!(waiting(&board), [(1, TaskStatus::Running)]);
        let sent: Vec<Posting> = board.unrecorded(10).iter().map(|(posting, _)| *posting).collect();
        board.mark_recorded(&sent);
        board.post(report(1, TaskStatus::Running));
        assert!(waiting(&board).is_empty(), "the same report again is no news");
        board.mark_all_unrecorded();
        assert_eq!(waiting(&board), [(1, TaskStatus::Running)]);
    }

    #[test]
    fn task_forgotten_is_reported_no_more() {
        let board = ReportBoard::new();
        board.post(report(1, TaskStatus::Stopped));
        board.forget(TaskId(1));
        assert!(board.all().is_empty() && waiting(&board).is_empty());
    }
}
