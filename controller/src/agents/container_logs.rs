//! The sessions as the API's port for logs sees them. Pure conversion around one call.

use std::time::Duration;

use berth_core::model::ContainerInstanceId;

use super::logs::{LogError, LogPage, LogQuery};
use super::server::AgentsHandle;
use crate::api::ports::{ContainerLogs, LogFailure, LogLine, LogPiece, LogRequest, LogStart, PortFuture};

/// How long an agent may take to answer, beyond the time that it was told to wait for a line.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);

impl ContainerLogs for AgentsHandle {
    fn fetch_logs(
        &self,
        host: ContainerInstanceId,
        request: LogRequest,
    ) -> PortFuture<'_, Result<LogPiece, LogFailure>> {
        Box::pin(async move {
            let deadline = request.wait + ANSWER_DEADLINE;
            let page = Self::fetch_logs(self, host, query(request), deadline).await;
            page.map(piece).map_err(failure)
        })
    }
}

fn query(request: LogRequest) -> LogQuery {
    let (position, tail) = match request.start {
        LogStart::First => (None, 0),
        LogStart::Tail(lines) => (None, lines),
        LogStart::At(position) => (Some(position), 0),
    };
    LogQuery {
        task: request.task,
        container: request.container,
        position,
        tail,
        max_bytes: request.max_bytes,
        wait: request.wait,
    }
}

fn piece(page: LogPage) -> LogPiece {
    let lines = page.lines.into_iter().map(|line| LogLine {
        at: line.timestamp,
        stderr: line.stderr,
        message: line.message,
        partial: line.partial,
    });
    LogPiece {
        lines: lines.collect(),
        next_position: page.next_position,
        ended: page.end,
    }
}

fn failure(error: LogError) -> LogFailure {
    match error {
        LogError::NotConnected(host) => LogFailure::NotConnected(host),
        LogError::Agent(why) => LogFailure::Refused(why),
        LogError::Busy(_) | LogError::Timeout(..) => LogFailure::NoAnswer(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use berth_core::model::TaskId;

    use super::*;

    #[test]
    fn request_asks_the_agent_for_the_same_piece() {
        let asked = |start| {
            let request = LogRequest {
                task: TaskId(1),
                container: "web".into(),
                start,
                max_bytes: 10,
                wait: Duration::ZERO,
            };
            let query = query(request);
            (query.position, query.tail)
        };
        assert_eq!(asked(LogStart::First), (None, 0));
        assert_eq!(asked(LogStart::Tail(5)), (None, 5));
        assert_eq!(asked(LogStart::At("p".into())), (Some("p".into()), 0));
    }
}
