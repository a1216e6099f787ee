//! The agent's side of the conversation with the controllers, as `proto/berth/v1/agent.proto` describes it.
//!
//! Owns which controller is gone to and when, what is sent when, and which assignments are too old to be taken. It must not
//! know what becomes of assignments, nor how reports come about: tasks run on while there is no session. Shell.

mod backoff;
mod conversation;
mod documents;
mod log_replies;
mod route;
mod sleep;

use std::sync::Arc;
use std::time::Duration;

use berth_core::model::{AgentId, ClusterKey, HostDescription, Ports};
use berth_proto::record::RecordError;
use berth_proto::v1::{RefusalCode, Refused};
use tokio::sync::{mpsc, watch};

use crate::controllers::Controllers;
use crate::departure::Departure;
use crate::dialer::{Dialer, LinkError};
use crate::fence::Fence;
use crate::ledger::{Ledger, LedgerError, SeenPosition};
use crate::log_source::LogSource;
use crate::membership::Membership;
use crate::reports::ReportBoard;
use crate::supervisor::{Assignments, Order};
use route::Route;

/// How long the tasks of a host may take to end that is no longer one of the cluster.
const END_WITHIN: Duration = Duration::from_secs(120);

/// What the session of one agent works with, from connection to connection.
pub(crate) struct Session {
    pub(crate) agent: AgentId,
    pub(crate) cluster: ClusterKey,
    pub(crate) host: HostDescription,
    pub(crate) controllers: Controllers,
    pub(crate) dialer: Dialer,
    /// The host's part in a cluster that it has joined.
    pub(crate) membership: Option<Membership>,
    pub(crate) ledger: Ledger,
    pub(crate) board: Arc<ReportBoard>,
    pub(crate) logs: Arc<dyn LogSource>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// Is told whenever a leader is heard.
    pub(crate) fence: Fence,
    /// Ports of the host that foreign programs hold.
    pub(crate) foreign_ports: watch::Receiver<Ports>,
    /// Whether the machine shuts down.
    pub(crate) departure: Departure,
    /// The command by which the host sleeps, where it can.
    pub(crate) sleep_command: Option<String>,
    /// Why the host is awake that was told to sleep, as long as no controller knows.
    pub(crate) not_asleep: Option<String>,
    /// Why it is not to sleep although it was started with a command for it, which each controller is told.
    pub(crate) withheld: Option<String>,
    /// The newest assignment that was taken.
    pub(crate) seen: Option<SeenPosition>,
    /// ARN of the container instance that this process has had a session as.
    pub(crate) was: Option<String>,
    /// ARN of the container instance while a session is open.
    pub(crate) registration: watch::Sender<Option<String>>,
}

/// Why there are no more sessions.
#[derive(Debug)]
pub(crate) enum End {
    /// The host was removed from the cluster, and has stopped its tasks.
    Removed(String),
    /// It was started for another account than the cluster's; its tasks run on.
    OtherAccount(String),
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Link(#[from] LinkError),
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
    #[error("the host is to sleep")]
    ToldToSleep,
    #[error("the host offers no sleep any more")]
    SleepWithheld,
    #[error("the agent is stopping")]
    Stopping,
}

impl Session {
    /// Keeps a session with the controller that leads, until the cluster does not have this host; returns what it was told then.
    pub(crate) async fn run(mut self) -> End {
        let mut route = Route::new();
        self.withhold_sleep();
        loop {
            let all = self.controllers.all();
            let endpoint = route.next(&all);
            let outcome = self.converse(&endpoint, route.connect_within(&all)).await;
            if self.registration.send_replace(None).is_some() {
                route.had_session();
            }
            let (mut at_least, mut hint) = (Duration::ZERO, None);
            match &outcome {
                SessionError::Link(LinkError::Removed(reason)) => {
                    self.stop_for_good(reason).await;
                    return End::Removed(reason.clone());
                }
                SessionError::Refused(refused) if refused.code() == RefusalCode::OtherAccount => {
                    return End::OtherAccount(refused.message.clone());
                }
                SessionError::Refused(refused) if refused.code() == RefusalCode::Deregistered => {
                    self.stop_for_good(&refused.message).await;
                    // Whoever watches the registration sees that there is none, and not that the agent has ended.
                    return std::future::pending().await;
                }
                SessionError::ToldToSleep => {
                    self.sleep().await;
                    continue;
                }
                // Once: it registers again at once.
                SessionError::SleepWithheld => continue,
                SessionError::Refused(refused) => {
                    at_least = Duration::from_millis(u64::from(refused.retry_after_ms));
                    hint = self.leader_of(refused);
                }
                _ => {}
            }
            let pause = route.pause(&all, hint, at_least);
            self.explain(&outcome, &endpoint, pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// Where a controller says that the leader is.
    fn leader_of(&self, refused: &Refused) -> Option<String> {
        let leader = &refused.leader_endpoint;
        let is_told = refused.code() == RefusalCode::NotLeader && !leader.is_empty();
        (is_told && self.controllers.may_go_to(leader)).then(|| leader.clone())
    }

    /// The host is no longer one of the cluster: stops its tasks, and waits until they have ended.
    async fn stop_for_good(&self, why: &str) {
        tracing::warn!(
            cluster = self.cluster.name.as_str(),
            host = self.host.host_name,
            "this agent stops its tasks and connects to no controller any more: {why}"
        );
        let nothing = Assignments {
            full: true,
            tasks: vec![],
            removed: vec![],
        };
        // Without a supervisor the agent is stopping, and the next start finds its tasks unassigned.
        self.orders.send(Order::Assign(nothing)).await.ok();
        let mut changes = self.board.changes();
        let all_ended = async { while self.board.unfinished() > 0 && changes.changed().await.is_ok() {} };
        if tokio::time::timeout(END_WITHIN, all_ended).await.is_err() {
            let left = self.board.unfinished();
            tracing::error!(
                left,
                "not every task of this host has ended; the next start goes on with them"
            );
        }
    }

    fn explain(&self, outcome: &SessionError, endpoint: &str, pause: Duration) {
        let again_in_ms = pause.as_millis();
        let cluster = self.cluster.name.as_str();
        match outcome {
            SessionError::Stopping => {}
            SessionError::Refused(refused) if refused.code() == RefusalCode::NotLeader => tracing::info!(
                cluster,
                endpoint,
                again_in_ms,
                leader = refused.leader_endpoint,
                "this controller does not lead"
            ),
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
