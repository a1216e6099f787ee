//! Answers the log requests of a session, beside everything else that it does. Shell.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::documents;
use crate::log_source::{LogChunk, LogQuery, LogSource};
use crate::runtime::ContainerKey;

/// Requests that are read for at a time; further ones wait, as their readers do anyway.
const AT_ONCE: usize = 16;

/// Most bytes of lines in one reply.
const MAX_BYTES: usize = 1 << 20;

/// Longest wait for a line.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The log requests of one session that have not been answered.
pub(super) struct LogReplies {
    logs: Arc<dyn LogSource>,
    permits: Arc<Semaphore>,
    reading: JoinSet<v1::LogReply>,
}

impl LogReplies {
    pub(super) fn new(logs: Arc<dyn LogSource>) -> Self {
        Self {
            logs,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            reading: JoinSet::new(),
        }
    }

    /// Begins to answer a request.
    pub(super) fn begin(&mut self, request: v1::LogRequest) {
        let (logs, permits) = (self.logs.clone(), self.permits.clone());
        self.reading.spawn(async move {
            let request_id = request.request_id;
            // The semaphore is never closed; without a permit the request would be answered all the same.
            let _permit = permits.acquire_owned().await.ok();
            match read(&*logs, request).await {
                Ok(chunk) => documents::log_reply(request_id, chunk),
                Err(error) => v1::LogReply {
                    request_id,
                    error,
                    ..v1::LogReply::default()
                },
            }
        });
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

async fn read(logs: &dyn LogSource, request: v1::LogRequest) -> Result<LogChunk, String> {
    let task = documents::task_id(&request.task_id).map_err(|error| error.to_string())?;
    let query = LogQuery {
        container: ContainerKey::new(task, &request.container),
        position: (!request.position.is_empty()).then_some(request.position),
        tail: request.tail,
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(MAX_BYTES).min(MAX_BYTES),
        wait: Duration::from_millis(u64::from(request.wait_ms)).min(MAX_WAIT),
    };
    logs.read(query).await.map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}
