//! `GetTaskLogs`: reads what a task's containers wrote, from its host, and waits for lines if asked to. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_aws::berth::{GetTaskLogsRequest, GetTaskLogsResponse, LogEvent, LogStream, errors};
use berth_aws::{AwsError, Timestamp, error::common};
use berth_core::model::{Task, TaskId};
use tokio::time::Instant;

use super::log_places::Places;
use super::log_rounds::{self, Lines};
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::ports::LogLine;

/// How long a host waits for a line before the state is looked at again: the task may have got a host or have stopped.
const ROUND: Duration = Duration::from_secs(2);
/// Pause between rounds that had nothing to wait for, such as of a task without a host.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) async fn handle(api: &Api, call: &Call, input: GetTaskLogsRequest) -> Result<GetTaskLogsResponse, AwsError> {
    let task = find(api, call, &input).await?;
    let tail = input.tail.and_then(|tail| u32::try_from(tail).ok());
    let container = input.container.as_deref().filter(|name| !name.is_empty());
    let token = input.next_token.as_deref().filter(|token| !token.is_empty());
    let mut places = Places::of_request(&task, container, tail, token)?;
    let wait = Duration::from_millis(input.wait_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0));
    let mut lines = read(api, task, &mut places, Instant::now() + wait).await?;
    lines.sort_by_key(|(_, line)| line.at);
    if let Some(tail) = tail.and_then(|tail| usize::try_from(tail).ok()) {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let next_token = places
        .encode()
        .map_err(|error| common::INTERNAL_FAILURE.error(format!("The token could not be written: {error}")))?;
    Ok(GetTaskLogsResponse {
        events: Some(lines.into_iter().map(event).collect()),
        next_token: Some(next_token),
        ended: Some(places.open().next().is_none()),
    })
}

async fn find(api: &Api, call: &Call, input: &GetTaskLogsRequest) -> Result<Arc<Task>, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let name = input.task.as_deref().unwrap_or_default();
    match references::task(&state, &cluster.key, name)? {
        Lookup::Found(task) => {
            let host = task.container_instance.and_then(|id| state.container_instance(id));
            match host.filter(|host| host.host.ecs_agent.is_some()) {
                None => Ok(Arc::clone(task)),
                Some(host) => Err(errors::RESOURCE_NOT_FOUND.error(format!(
                    "The logs of task {} are kept by the agent of container instance {}, which speaks ECS's own API and cannot be asked for \
                     them: look on host {}.",
                    task.id, host.id, host.host.host_name
                ))),
            }
        }
        Lookup::Missing(arn) => Err(not_found(&arn)),
    }
}

/// Reads in rounds until there are lines, no more can come, or `until` has passed.
async fn read(api: &Api, mut task: Arc<Task>, places: &mut Places, until: Instant) -> Result<Lines, AwsError> {
    let mut wait = Duration::ZERO;
    loop {
        let began = Instant::now();
        let lines = match task.container_instance {
            Some(host) => log_rounds::read(api.logs(), &task, host, places, wait).await?,
            None => Lines::new(),
        };
        if lines.is_empty() && task.is_stopped() {
            // What has stopped writes nothing more, and what it wrote would have come in this round.
            places.end_all();
        }
        let left = until.saturating_duration_since(Instant::now());
        if !lines.is_empty() || places.open().next().is_none() || left.is_zero() {
            return Ok(lines);
        }
        if !wait.is_zero() || task.container_instance.is_none() {
            tokio::time::sleep(PAUSE.saturating_sub(began.elapsed()).min(left)).await;
        }
        wait = ROUND.min(left);
        task = again(api, task.id).await?;
    }
}

async fn again(api: &Api, id: TaskId) -> Result<Arc<Task>, AwsError> {
    let state = api.read().await?;
    state.task(id).cloned().ok_or_else(|| not_found(&id.to_string()))
}

fn not_found(task: &str) -> AwsError {
    errors::RESOURCE_NOT_FOUND.error(format!(
        "The task {task} was not found; stopped tasks are forgotten after a while."
    ))
}

fn event((container, line): (String, LogLine)) -> LogEvent {
    LogEvent {
        timestamp: Some(Timestamp(line.at.0)),
        container: Some(container),
        stream: Some(if line.stderr {
            LogStream::Stderr
        } else {
            LogStream::Stdout
        }),
        message: Some(String::from_utf8_lossy(&line.message).into_owned()),
        partial: line.partial.then_some(true),
    }
}

#[cfg(test)]
#[path = "get_task_logs_tests.rs"]
mod tests;
