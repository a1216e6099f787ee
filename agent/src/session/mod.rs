//! The agent's side of the conversation with the controllers, as `proto/berth/v1/agent.proto` describes it.
//!
//! Owns connecting and connecting again, what is sent when, and which assignments are too old to be taken. It must not
//! know what becomes of assignments, nor how reports come about: tasks run on while there is no session. Shell.

mod backoff;
mod conversation;
mod documents;
mod log_replies;

use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{AgentId, ClusterKey, HostDescription};
use berth_proto::record::RecordError;
use berth_proto::v1::{RefusalCode, Refused};
use tokio::sync::{mpsc, watch};

use crate::fence::Fence;
use crate::ledger::{Ledger, LedgerError, SeenPosition};
use crate::log_source::LogSource;
use crate::reports::ReportBoard;
use crate::supervisor::{Assignments, Order};
use backoff::Backoff;

/// What the session of one agent works with, from connection to connection.
pub(crate) struct Session {
    pub(crate) agent: AgentId,
    pub(crate) cluster: ClusterKey,
    pub(crate) host: HostDescription,
    /// Where controllers are, tried in turn.
    pub(crate) controllers: Vec<String>,
    pub(crate) ledger: Ledger,
    pub(crate) board: Arc<ReportBoard>,
    pub(crate) logs: Arc<dyn LogSource>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// Is told whenever a leader is heard.
    pub(crate) fence: Fence,
    /// The newest assignment that was taken.
    pub(crate) seen: Option<SeenPosition>,
    /// ARN of the container instance that this process has had a session as.
    pub(crate) was: Option<String>,
    /// ARN of the container instance while a session is open.
    pub(crate) registration: watch::Sender<Option<String>>,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0:?} is not the address of a controller; expected one like http://127.0.0.1:7481")]
    Address(String, #[source] tonic::transport::Error),
    #[error("the controller cannot be reached")]
    Connect(#[source] tonic::transport::Error),
    #[error("the controller has ended the session: {}", .0.message())]
    Status(#[source] Box<tonic::Status>),
    #[error("the controller has ended the session")]
    Ended,
    #[error("the controller did not answer within {0:?}")]
    Silent(Duration),
    #[error("the controller refuses this agent: {}", .0.message)]
    Refused(Refused),
    #[error("the controller is behind: it is at {theirs}, and this agent has seen {seen}")]
    Behind { theirs: String, seen: String },
    #[error("the controller sent {0}, which is not part of the conversation here")]
    Unexpected(&'static str),
    #[error("a document cannot be read: this agent may be older than the controllers")]
    Record(#[from] RecordError),
    #[error("a message of the controller cannot be used: {0}")]
    Malformed(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the agent is stopping")]
    Stopping,
}

impl Session {
    /// Keeps a session with a controller, until the host is deregistered; never returns.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut turns = self.controllers.clone().into_iter().cycle();
        let mut leader: Option<String> = None;
        while let Some(endpoint) = leader.take().or_else(|| turns.next()) {
            let outcome = self.converse(&endpoint).await;
            if self.registration.send_replace(None).is_some() {
                backoff = Backoff::new();
            }
            let mut at_least = Duration::ZERO;
            if let SessionError::Refused(refused) = &outcome {
                if refused.code() == RefusalCode::Deregistered {
                    return self.retire(refused).await;
                }
                at_least = Duration::from_millis(u64::from(refused.retry_after_ms));
                if refused.code() == RefusalCode::NotLeader && !refused.leader_endpoint.is_empty() {
                    leader = Some(refused.leader_endpoint.clone());
                }
            }
            let pause = backoff.next_pause().max(at_least);
            self.explain(&outcome, &endpoint, pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// The host was deregistered: stops its tasks and stays away until the process is started anew.
    async fn retire(self, refused: &Refused) {
        tracing::warn!(
            cluster = self.cluster.name.as_str(),
            host = self.host.host_name,
            "this agent stops its tasks and connects to no controller any more: {}",
            refused.message
        );
        let nothing = Assignments {
            full: true,
            tasks: vec![],
            removed: vec![],
        };
        // Without a supervisor the agent is stopping, and the next start finds its tasks unassigned.
        self.orders.send(Order::Assign(nothing)).await.ok();
        // Whoever watches the registration sees that there is none, and not that the agent has ended.
        std::future::pending().await
    }

    fn explain(&self, outcome: &SessionError, endpoint: &str, pause: Duration) {
        let again_in_ms = pause.as_millis();
        let cluster = self.cluster.name.as_str();
        match outcome {
            SessionError::Stopping => {}
            SessionError::Refused(refused) if refused.code() == RefusalCode::ClusterNotFound => tracing::warn!(
                cluster,
                endpoint,
                again_in_ms,
                "the cluster does not exist in account {} and region {}; create it, or start the agent with another \
                 --cluster: {}",
                self.cluster.scope.account,
                self.cluster.scope.region,
                refused.message
            ),
            error => tracing::warn!(
                cluster,
                endpoint,
                again_in_ms,
                error = error as &dyn std::error::Error,
                "no session with a controller; the host's tasks run on"
            ),
        }
    }
}
