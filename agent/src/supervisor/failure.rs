//! What becomes of a task whose runner has panicked, by itself or in one of its actions.
//!
//! Owns how often a task is begun again, and its end when that has not helped. A defect that one task brings to light must
//! neither leave that task without care nor touch the others. Shell.

use std::any::Any;
use std::sync::Arc;

use berth_core::model::TaskId;
use berth_core::task_lifecycle::TaskState;
use tokio::task::{Id, JoinError};

use super::runner::Message;
use super::{Done, Supervisor, recovery};
use crate::clock;
use crate::ledger::LedgerError;

/// Runners that a task may lose in the life of an agent before it is given up: a panic that comes back has its cause in
/// what the task asks for, and beginning again will not help.
const MAX_FAILURES: u32 = 3;

impl Supervisor {
    /// Takes what a piece of work has come to.
    pub(super) async fn take_ended(&mut self, ended: Result<(Id, Done), JoinError>) -> Result<(), LedgerError> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let task = self.whose.remove(&id);
        match ended {
            Ok((_, Done::Ended(task))) => {
                self.tasks.remove(&task);
            }
            Ok((_, Done::Found(task, containers))) => {
                if let Some(state) = self.state_of(task) {
                    self.replace_runner(task, state, Some(recovery::recovered(containers)))
                        .await;
                }
            }
            Ok((_, Done::Cleared(task, reason))) => self.end_abandoned(task, &reason).await?,
            Err(error) => {
                if let (Some(task), Ok(panic)) = (task, error.try_into_panic()) {
                    self.take_failure(task, &panic_message(&*panic));
                }
            }
        }
        Ok(())
    }

    /// Begins the task again with what the ledger and the runtime have of it, or gives it up.
    fn take_failure(&mut self, task: TaskId, panic: &str) {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return;
        };
        entry.runner = None;
        entry.failures += 1;
        let (failures, spec) = (entry.failures, Arc::clone(&entry.spec));
        let runtime = Arc::clone(&self.tools.runtime);
        if failures < MAX_FAILURES {
            tracing::error!(%task, panic, failures, "the agent has failed at a task, and begins with it again");
            self.spawn(task, async move {
                let mut found = recovery::find_containers(&*runtime, true).await;
                Done::Found(task, found.remove(&task).unwrap_or_default())
            });
        } else {
            tracing::error!(%task, panic, failures, "the agent has failed at a task again; the task is stopped");
            let reason = format!(
                "the agent failed {failures} times at task {task}, the last time with: {panic}; \
                 its log has more, please report it"
            );
            self.spawn(task, async move {
                recovery::clear(runtime, spec).await;
                Done::Cleared(task, reason)
            });
        }
    }

    /// Reports a task that was given up as stopped; its new runner waits until it is to be forgotten.
    async fn end_abandoned(&mut self, task: TaskId, reason: &str) -> Result<(), LedgerError> {
        let Some(state) = self.state_of(task) else {
            return Ok(());
        };
        let state = state.abandoned(reason, clock::now());
        self.tools.ledger.put_state(&state).await?;
        self.tools.board.post(state.report());
        self.replace_runner(task, state, None).await;
        Ok(())
    }

    fn state_of(&self, task: TaskId) -> Option<TaskState> {
        self.tasks.get(&task).map(|entry| entry.state.borrow().clone())
    }

    /// Begins a runner where one has panicked, and tells it what that one may not have heard.
    async fn replace_runner(&mut self, task: TaskId, state: TaskState, first: Option<Message>) {
        let Some(spec) = self.tasks.get(&task).map(|entry| Arc::clone(&entry.spec)) else {
            return;
        };
        let (runner, state) = self.spawn_runner(spec, state);
        let Some(entry) = self.tasks.get_mut(&task) else {
            return;
        };
        (entry.runner, entry.state) = (Some(runner), state);
        let wish = entry.wish;
        if let Some(first) = first {
            self.send(task, first).await;
        }
        self.send(task, wish.message()).await;
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
