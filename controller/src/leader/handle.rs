//! What the rest of the controller holds of the leader's loop. Shell.

use std::time::Duration;

use berth_core::reconcile::StandaloneRequest;
use tokio::sync::{mpsc, oneshot};

use crate::api::ports::{PortFuture, ProposeFailure, RanTasks, TaskRunner, Unavailable};

/// Requests that wait for their round before more are refused: some seconds of work.
pub(super) const MAX_WAITING_REQUESTS: usize = 4_096;

/// How long a caller waits; longer than one proposal may take, so that the reason arrives.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request with who waits for it.
pub(super) struct Waiting {
    pub(super) request: StandaloneRequest,
    /// Rounds in which others took the room first, or whose term passed.
    pub(super) attempts: u32,
    pub(super) reply: oneshot::Sender<Result<RanTasks, ProposeFailure>>,
}

/// The leader's loop, seen from outside. Clones are the same loop.
#[derive(Clone, Debug)]
pub struct LeaderHandle {
    requests: mpsc::Sender<Waiting>,
}

impl LeaderHandle {
    pub(super) fn new(requests: mpsc::Sender<Waiting>) -> Self {
        Self { requests }
    }

    /// Places the tasks, in one plan with all requests that wait, and waits until those that found a host are committed.
    ///
    /// # Errors
    /// [`ProposeFailure`]; without a leader or an answer in time, the tasks may or may not run.
    pub async fn run_tasks(&self, request: StandaloneRequest) -> Result<RanTasks, ProposeFailure> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            request,
            attempts: 0,
            reply,
        };
        self.requests.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Unavailable::Overloaded("too many requests wait to be placed: try again shortly".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(dropped().into()),
            Err(_) => {
                let text = format!(
                    "no answer within {} s: the tasks may or may not run",
                    DEADLINE.as_secs()
                );
                Err(Unavailable::NoAnswer(text).into())
            }
        }
    }
}

impl TaskRunner for LeaderHandle {
    fn run_tasks(&self, request: StandaloneRequest) -> PortFuture<'_, Result<RanTasks, ProposeFailure>> {
        Box::pin(Self::run_tasks(self, request))
    }
}

/// The loop has ended or a proposal of it has failed while the request was with it.
fn dropped() -> Unavailable {
    let text = "the controller stopped or failed while it placed the tasks: they may or may not run";
    Unavailable::NoAnswer(text.to_owned())
}

fn stopping() -> Unavailable {
    Unavailable::NoAnswer("the controller is stopping".to_owned())
}
