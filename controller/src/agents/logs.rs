//! Reads containers' logs through the sessions of their hosts. Shell.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::model::{ContainerInstanceId, TaskId, Timestamp};
use berth_proto::v1::{LogReply, LogRequest};
use tokio::sync::oneshot;

use super::registry::{MAX_LOG_CALLS, Registry};

/// Which piece of which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The task.
    pub task: TaskId,
    /// Name of the container within the task.
    pub container: String,
    /// Where to go on: `next_position` of an earlier page. `None` begins `tail` lines before the end.
    pub position: Option<String>,
    /// Without a position: lines before the end to begin with; 0 begins with the first line that is kept.
    pub tail: u32,
    /// At most this many bytes of lines; the agent lowers it to 1 MiB.
    pub max_bytes: u32,
    /// How long to wait for a line if there is none yet; the agent lowers it to 30 s.
    pub wait: Duration,
}

/// A piece of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Where to go on.
    pub next_position: String,
    /// The container has ended and all of its log has been read.
    pub end: bool,
}

/// A line of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub timestamp: Timestamp,
    /// Whether it came over standard error.
    pub stderr: bool,
    /// The line without its newline; not necessarily UTF-8.
    pub message: Vec<u8>,
    /// Whether it goes on in the next line of its stream.
    pub partial: bool,
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The host has no session with this controller.
    #[error("container instance {0} is not connected: its logs can be read when its agent is back")]
    NotConnected(ContainerInstanceId),
    /// Too many requests wait for this host.
    #[error("too many requests for logs wait for container instance {0}: try again shortly")]
    Busy(ContainerInstanceId),
    /// The host did not answer in time.
    #[error("container instance {0} did not answer within {1:?}")]
    Timeout(ContainerInstanceId, Duration),
    /// The host cannot read the log.
    #[error("{0}")]
    Agent(String),
}

/// A request with who waits for it.
pub(super) struct LogCall {
    query: LogQuery,
    reply: oneshot::Sender<Answer>,
}

/// What comes of a request.
enum Answer {
    Reply(LogReply),
    /// The session has too many open to take it.
    Busy,
}

impl Registry {
    /// Asks the host for a piece of a log.
    pub(super) async fn fetch_logs(
        &self,
        host: ContainerInstanceId,
        query: LogQuery,
        deadline: Duration,
    ) -> Result<LogPage, LogError> {
        let session = self.session_of(host).ok_or(LogError::NotConnected(host))?;
        let (reply, answer) = oneshot::channel();
        session
            .log_calls
            .try_send(Box::new(LogCall { query, reply }))
            .map_err(|_| LogError::Busy(host))?;
        let reply = tokio::time::timeout(deadline, answer)
            .await
            .map_err(|_| LogError::Timeout(host, deadline))?;
        match reply.map_err(|_| LogError::NotConnected(host))? {
            Answer::Reply(reply) => page(reply),
            Answer::Busy => Err(LogError::Busy(host)),
        }
    }
}

fn page(reply: LogReply) -> Result<LogPage, LogError> {
    if !reply.error.is_empty() {
        return Err(LogError::Agent(reply.error));
    }
    let lines = reply.lines.into_iter().map(|line| LogLine {
        timestamp: Timestamp(line.timestamp_ms),
        stderr: line.stderr,
        message: line.message,
        partial: line.partial,
    });
    Ok(LogPage {
        lines: lines.collect(),
        next_position: reply.next_position,
        end: reply.end,
    })
}

/// The requests of one session that have no answer yet.
#[derive(Default)]
pub(super) struct OpenCalls {
    last_id: u64,
    replies: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl OpenCalls {
    /// The message for a request; `None` where the agent has too many to answer already, which is answered then, or nobody waits any longer.
    pub(super) fn open(&mut self, call: LogCall) -> Option<LogRequest> {
        self.replies.retain(|_, reply| !reply.is_closed());
        if call.reply.is_closed() {
            return None;
        }
        if self.replies.len() >= MAX_LOG_CALLS {
            // Whoever asked may have stopped waiting.
            call.reply.send(Answer::Busy).ok();
            return None;
        }
        self.last_id += 1;
        self.replies.insert(self.last_id, call.reply);
        Some(LogRequest {
            request_id: self.last_id,
            task_id: call.query.task.to_string(),
            container: call.query.container,
            position: call.query.position.unwrap_or_default(),
            tail: call.query.tail,
            max_bytes: call.query.max_bytes,
            wait_ms: u32::try_from(call.query.wait.as_millis()).unwrap_or(u32::MAX),
        })
    }

    /// Hands an answer to who waits for it.
    pub(super) fn answer(&mut self, reply: LogReply) {
        if let Some(waiting) = self.replies.remove(&reply.request_id) {
            // Whoever asked may have stopped waiting.
            waiting.send(Answer::Reply(reply)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn request_beyond_those_that_a_host_may_have_open_is_told_to_come_again() {
        let mut open = OpenCalls::default();
        let mut call = || {
            let (reply, answer) = oneshot::channel();
            let query = LogQuery {
                task: TaskId(1),
                container: "main".to_owned(),
                position: None,
                tail: 0,
                max_bytes: 1,
                wait: Duration::ZERO,
            };
            (open.open(LogCall { query, reply }), answer)
        };
        let mut waiting = Vec::new();
        for _ in 0..MAX_LOG_CALLS {
            let (request, answer) = call();
            assert!(request.is_some());
            waiting.push(answer);
        }
        let (request, answer) = call();
        assert!(request.is_none());
        assert!(matches!(answer.await, Ok(Answer::Busy)));
        drop(waiting.pop());
        assert!(call().0.is_some(), "there is a place again");
    }
}
