//! What an agent finds on its host when it starts. Shell.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::model::TaskId;
use berth_core::task_lifecycle::{self, FoundState};

use crate::runtime::{FoundContainer, FoundStatus, Runtime, RuntimeError};

/// Between two questions to a runtime that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a runtime that is away is asked when there are no tasks that depend on the answer.
const ATTEMPTS_WITHOUT_TASKS: u32 = 10;

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

/// A found container, as core knows it.
pub(super) fn in_core(found: FoundContainer) -> task_lifecycle::FoundContainer {
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
