//! [`Departure`]: this machine shuts down, and the tasks of its host leave it first where its capacity provider has managed draining.
//!
//! Owns what is said of it between whoever stops the agent and its session, and for how long the tasks are waited for. It must not know why the machine
//! shuts down. Shell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::reports::ReportBoard;

/// How long the controllers may take to say whether the tasks leave: a new leader is there within seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks at which tasks are left.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module. Clones are the same.
#[derive(Clone, Debug)]
pub struct Departure {
    begun: Arc<watch::Sender<bool>>,
    drains: Arc<watch::Sender<Option<bool>>>,
    board: Arc<ReportBoard>,
}

/// What became of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departed {
    /// None has to leave, as far as the controllers say anything.
    NotDrained,
    /// They have left, but for so many.
    Drained(usize),
}

impl Departure {
    pub(crate) fn new(board: Arc<ReportBoard>) -> Self {
        Self {
            begun: Arc::new(watch::channel(false).0),
            drains: Arc::new(watch::channel(None).0),
            board,
        }
    }

    /// Tells the controllers that this machine shuts down, and waits until its tasks have left and that is recorded, at most so long.
    pub async fn leave(&self, within: Duration) -> Departed {
        self.begun.send_replace(true);
        let mut answers = self.drains.subscribe();
        let answer = tokio::time::timeout(ANSWER_WITHIN.min(within), answers.wait_for(Option::is_some)).await;
        if !matches!(answer.map(|answer| answer.map(|drains| *drains)), Ok(Ok(Some(true)))) {
            return Departed::NotDrained;
        }
        let all_left = async {
            while !self.has_left() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // Whether in time or not, the board says what is left.
        tokio::time::timeout(within, all_left).await.ok();
        Departed::Drained(self.board.unfinished())
    }

    fn has_left(&self) -> bool {
        self.board.unfinished() == 0 && self.board.unrecorded(1).is_empty()
    }

    /// Changes once this machine shuts down.
    pub(crate) fn begun(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// A controller says whether the tasks leave.
    pub(crate) fn note(&self, drains: bool) {
        self.drains.send_replace(Some(drains));
    }
}

#[cfg(test)]
mod tests {
    use berth_core::model::{TaskId, TaskReport, TaskStatus};

    use super::*;

    fn departure(status: TaskStatus) -> Departure {
        let board = Arc::new(ReportBoard::new());
        board.post(TaskReport::new(TaskId(1), status));
        Departure::new(board)
    }

    #[tokio::test(start_paused = true)]
    async fn host_whose_tasks_need_not_leave_goes_at_once_also_where_nobody_answers() {
        let silent = departure(TaskStatus::Running);
        let begun = silent.begun();
        assert_eq!(silent.leave(Duration::from_secs(300)).await, Departed::NotDrained);
        assert!(*begun.borrow(), "the session knows");
        let refused = departure(TaskStatus::Running);
        refused.note(false);
        assert_eq!(refused.leave(Duration::from_secs(300)).await, Departed::NotDrained);
    }

    #[tokio::test(start_paused = true)]
    async fn host_waits_until_its_tasks_have_left_and_that_is_recorded() {
        let departure = departure(TaskStatus::Running);
        departure.note(true);
        let board = Arc::clone(&departure.board);
        let leaving = tokio::spawn({
            let departure = departure.clone();
            async move { departure.leave(Duration::from_secs(300)).await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        board.post(TaskReport::new(TaskId(1), TaskStatus::Stopped));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!leaving.is_finished(), "the controllers do not know yet");
        let postings: Vec<_> = board.unrecorded(10).into_iter().map(|(posting, _)| posting).collect();
        board.mark_recorded(&postings);
        assert_eq!(leaving.await.unwrap(), Departed::Drained(0));
    }

    #[tokio::test(start_paused = true)]
    async fn host_whose_tasks_do_not_leave_goes_when_its_time_is_over() {
        let departure = departure(TaskStatus::Running);
        departure.note(true);
        assert_eq!(departure.leave(Duration::from_secs(300)).await, Departed::Drained(1));
    }
}
