//! What the runtime has of tasks that nobody runs: when an agent starts, and after a runner has failed. Shell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{TaskId, TaskSpec};
use berth_core::task_lifecycle::{self, FoundState, Observation};

use super::runner::Message;
use crate::runtime::{ContainerKey, FoundContainer, FoundStatus, Runtime, RuntimeError};

/// Between two questions to a runtime that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a runtime that is away is asked when there are no tasks that depend on the answer.
const ATTEMPTS_WITHOUT_TASKS: u32 = 10;

/// How long the start may be held up by networks that nobody needs any more.
const TEAR_DOWN_WITHIN: Duration = Duration::from_secs(30);

/// How often the runtime may refuse to remove what is left of a task that was given up.
const CLEAR_ATTEMPTS: u32 = 10;

/// The containers of the host by task. With tasks to take up, waits for a runtime that is away for as long as it takes:
/// without an answer nothing true could be said of them.
pub(super) async fn find_containers(runtime: &dyn Runtime, has_tasks: bool) -> BTreeMap<TaskId, Vec<FoundContainer>> {
    let mut by_task: BTreeMap<TaskId, Vec<FoundContainer>> = BTreeMap::new();
    let mut attempt = 0;
    let found = loop {
        attempt += 1;
        match runtime.list().await {
            Ok(found) => break found,
            Err(error) if has_tasks || attempt < ATTEMPTS_WITHOUT_TASKS => {
                tracing::warn!(%error, attempt, "the containers of this host cannot be listed; asking again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, "the containers of this host cannot be listed; left-over ones stay");
                return by_task;
            }
        }
    };
    for container in found {
        by_task.entry(container.key.task).or_default().push(container);
    }
    by_task
}

/// Removes what an earlier agent has left of a task that this one does not know.
pub(super) async fn remove_leftovers(runtime: &dyn Runtime, task: TaskId, containers: &[FoundContainer]) {
    let removed = async {
        for container in containers {
            runtime.delete_container(&container.key).await?;
        }
        runtime.tear_down_network(task).await?;
        Ok::<(), RuntimeError>(())
    };
    let count = containers.len();
    match removed.await {
        Ok(()) => tracing::info!(%task, count, "removed the containers of a task that is not in the ledger"),
        Err(error) => tracing::warn!(
            %task, count, %error,
            "the containers of a task that is not in the ledger cannot be removed; the next start tries again"
        ),
    }
}

/// Tears down networks of which something is left although nothing of their tasks runs: those that could not be torn down before.
pub(super) async fn tear_down_leftovers(runtime: &dyn Runtime, is_needed: impl Fn(TaskId) -> bool) {
    let tearing_down = async {
        let tasks = match runtime.networks().await {
            Ok(tasks) => tasks,
            Err(error) => {
                tracing::warn!(%error, "the networks of tasks cannot be listed; left-over ones stay until the next start");
                return;
            }
        };
        for task in tasks.into_iter().filter(|task| !is_needed(*task)) {
            match runtime.tear_down_network(task).await {
                Ok(()) => tracing::info!(%task, "removed what was left of the network of a task that has stopped"),
                Err(error) => tracing::warn!(
                    %task, %error,
                    "what is left of the network of a task that has stopped cannot be removed; the next start tries again"
                ),
            }
        }
    };
    if tokio::time::timeout(TEAR_DOWN_WITHIN, tearing_down).await.is_err() {
        tracing::warn!("left-over networks take too long to be removed; the next start tries again");
    }
}

/// Removes everything of a task that was given up. What cannot be removed is left to the next start of the agent, which
/// finds it.
pub(super) async fn clear(runtime: Arc<dyn Runtime>, spec: Arc<TaskSpec>) {
    let mut attempt = 0;
    while attempt < CLEAR_ATTEMPTS {
        let (runtime, spec) = (Arc::clone(&runtime), Arc::clone(&spec));
        // Apart from whoever waits here, who is told the outcome even if this panics as the runner has.
        let cleared = tokio::spawn(async move { remove_all(&*runtime, &spec).await }).await;
        let error: Box<dyn std::error::Error + Send + Sync> = match cleared {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                attempt += u32::from(!error.is_transient());
                error.into()
            }
            Err(error) => {
                attempt += 1;
                error.into()
            }
        };
        tracing::warn!(error, attempt, "a task that was given up cannot be removed yet");
        tokio::time::sleep(PAUSE).await;
    }
    tracing::error!("the containers of a task that was given up cannot be removed; the next start tries again");
}

async fn remove_all(runtime: &dyn Runtime, spec: &TaskSpec) -> Result<(), RuntimeError> {
    for container in &spec.containers {
        let key = ContainerKey::new(spec.task, &container.name);
        runtime.delete_container(&key).await?;
    }
    runtime.tear_down_network(spec.task).await
}

/// What a runner is told first that takes up a task.
pub(super) fn recovered(containers: Vec<FoundContainer>) -> Message {
    Message::Observe(Observation::Recovered {
        containers: containers.into_iter().map(in_core).collect(),
    })
}

/// A found container, as core knows it.
fn in_core(found: FoundContainer) -> task_lifecycle::FoundContainer {
    let state = match found.status {
        FoundStatus::Created => FoundState::Created,
        FoundStatus::Running(_) => FoundState::Running,
        FoundStatus::Exited(exit) => FoundState::Exited {
            exit_code: exit.exit_code,
            reason: exit.reason,
            at: exit.at,
        },
    };
    task_lifecycle::FoundContainer {
        name: found.key.name,
        runtime_id: found.runtime_id,
        state,
    }
}
