//! One round of reading a task's logs from its host: all containers at once. Shell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_aws::AwsError;
use berth_core::model::{ContainerInstanceId, ContainerStatus, Task};
use tokio::task::JoinSet;

use super::log_places::Places;
use crate::api::errors;
use crate::api::ports::{ContainerLogs, LogFailure, LogLine, LogPiece, LogRequest};

/// Bytes of lines of one answer, shared by the containers: an answer is held in memory here and by the client.
const MAX_BYTES: usize = 512 * 1024;
/// How long a host may take to answer, beyond the time that it was told to wait for a line.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What was read, as container and line, each container's in order.
pub(super) type Lines = Vec<(String, LogLine)>;

/// Reads the next piece of every log that may have more. With a `wait`, hosts wait so long for a line, and the first piece that has
/// lines ends the round.
pub(super) async fn read(
    logs: &Arc<dyn ContainerLogs>,
    task: &Task,
    host: ContainerInstanceId,
    places: &mut Places,
    wait: Duration,
) -> Result<Lines, AwsError> {
    let mut asked = JoinSet::new();
    let max_bytes = MAX_BYTES / places.len().max(1);
    let mut skipped = BTreeMap::new();
    for (container, place) in places.open() {
        let request = LogRequest {
            task: task.id,
            container: container.clone(),
            start: place.start(),
            max_bytes: u32::try_from(max_bytes).unwrap_or(u32::MAX),
            wait,
        };
        skipped.insert(container.clone(), place.skips_lines());
        let logs = Arc::clone(logs);
        asked.spawn(async move { (request.container.clone(), ask(&*logs, host, request).await) });
    }
    let mut lines = Lines::new();
    while let Some(answered) = asked.join_next().await {
        let (container, piece) = answered.map_err(|error| errors::log_failure(task.id, &broken(&error)))?;
        let Some(piece) = readable(task, &container, piece)? else {
            continue;
        };
        places.advance(&container, piece.next_position, piece.ended);
        if skipped.get(&container) != Some(&true) {
            lines.extend(piece.lines.into_iter().map(|line| (container.clone(), line)));
        }
        if !lines.is_empty() && !wait.is_zero() {
            break;
        }
    }
    Ok(lines)
}

async fn ask(logs: &dyn ContainerLogs, host: ContainerInstanceId, request: LogRequest) -> Result<LogPiece, LogFailure> {
    let deadline = request.wait + ANSWER_DEADLINE;
    match tokio::time::timeout(deadline, logs.fetch_logs(host, request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LogFailure::NoAnswer(format!(
            "the agent of container instance {host} did not answer within {} s",
            deadline.as_secs()
        ))),
    }
}

/// The piece; `None` where there is no log since the container has not started.
fn readable(task: &Task, container: &str, piece: Result<LogPiece, LogFailure>) -> Result<Option<LogPiece>, AwsError> {
    match piece {
        Ok(piece) => Ok(Some(piece)),
        Err(LogFailure::Refused(_)) if !has_started(task, container) => Ok(None),
        Err(failure) => Err(errors::log_failure(task.id, &failure)),
    }
}

fn has_started(task: &Task, container: &str) -> bool {
    let known = task.containers.iter().find(|c| &*c.name == container);
    known.is_some_and(|c| c.last_status != ContainerStatus::Pending && c.runtime_id.is_some())
}

fn broken(error: &tokio::task::JoinError) -> LogFailure {
    LogFailure::NoAnswer(format!("reading the log broke off: {error}"))
}
