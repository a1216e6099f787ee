//! Answers the log requests of a session, beside everything else that it does. Shell.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::documents;
use crate::log_source::{LogChunk, LogQuery, LogSource};
use crate::reports::ReportBoard;
use crate::runtime::ContainerKey;

/// Logs that are read at a time, each by a thread that the disk may hold up. Waiting for a line does not count.
const AT_ONCE: usize = 16;

/// Requests that are open at a time, each of which costs a task and looks at its log a few times a second. Twice what a
/// controller waits for in one session, since it no longer counts those whose reader has gone. More are refused.
const MAX_OPEN: usize = 128;

/// Most bytes of lines in one reply.
const MAX_BYTES: usize = 1 << 20;

/// Longest wait for a line.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Between two looks at a log for a reader that waits. What a container wrote right before its end is in its log this
/// long after.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The log requests of one session that have not been answered.
pub(super) struct LogReplies {
    logs: Arc<dyn LogSource>,
    board: Arc<ReportBoard>,
    permits: Arc<Semaphore>,
    reading: JoinSet<v1::LogReply>,
}

impl LogReplies {
    pub(super) fn new(logs: Arc<dyn LogSource>, board: Arc<ReportBoard>) -> Self {
        Self {
            logs,
            board,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            reading: JoinSet::new(),
        }
    }

    /// Begins to answer a request, or refuses it, which is the answer then.
    pub(super) fn begin(&mut self, request: v1::LogRequest) -> Option<v1::LogReply> {
        let request_id = request.request_id;
        if self.reading.len() >= MAX_OPEN {
            tracing::warn!(
                task = request.task_id,
                "refused to read a log: {MAX_OPEN} readers wait already"
            );
            let error = format!(
                "{MAX_OPEN} requests for logs wait on the host of this task already: end some of those that follow \
                 logs of its containers, or try again shortly"
            );
            return Some(failed(request_id, error));
        }
        let (logs, board, permits) = (self.logs.clone(), self.board.clone(), self.permits.clone());
        self.reading.spawn(async move {
            match read(&*logs, &board, &permits, request).await {
                Ok((chunk, end)) => documents::log_reply(request_id, chunk, end),
                Err(error) => failed(request_id, error),
            }
        });
        None
    }

    /// The next answer; waits for ever if there is nothing to answer.
    pub(super) async fn next(&mut self) -> v1::LogReply {
        loop {
            match self.reading.join_next().await {
                Some(Ok(reply)) => return reply,
                Some(Err(error)) => tracing::error!(%error, "a log request is not answered"),
                None => std::future::pending().await,
            }
        }
    }
}

fn failed(request_id: u64, error: String) -> v1::LogReply {
    v1::LogReply {
        request_id,
        error,
        ..v1::LogReply::default()
    }
}

/// The piece asked for, and whether nothing can follow it.
async fn read(
    logs: &dyn LogSource,
    board: &ReportBoard,
    permits: &Semaphore,
    request: v1::LogRequest,
) -> Result<(LogChunk, bool), String> {
    let task = documents::task_id(&request.task_id).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_millis(u64::from(request.wait_ms)).min(MAX_WAIT);
    let mut query = LogQuery {
        container: ContainerKey::new(task, &request.container),
        position: (!request.position.is_empty()).then_some(request.position),
        tail: request.tail,
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(MAX_BYTES).min(MAX_BYTES),
    };
    let mut had_ended = false;
    loop {
        let has_ended = board.has_ended(&query.container);
        let has_ended = has_ended.ok_or_else(|| format!("there is no container {} on this host", query.container))?;
        // The semaphore is never closed; without a permit the log would be read all the same.
        let permit = permits.acquire().await.ok();
        let chunk = logs.read(query.clone()).await.map_err(|error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        drop(permit);
        if !chunk.lines.is_empty() || had_ended {
            let is_end = chunk.lines.is_empty();
            return Ok((chunk, is_end));
        }
        if Instant::now() >= deadline && !has_ended {
            return Ok((chunk, false));
        }
        // Once it has ended, one more look is the last.
        had_ended = has_ended;
        query.position = Some(chunk.next_position);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
