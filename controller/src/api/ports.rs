//! What the API needs of the rest of the controller, as traits: the replicated state, and what the agents know. Pure.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::ApiCall;
use bytes::Bytes;
use http::Response;

use crate::decisions::Span;
use crate::registrar::NewToken;
use berth_raft::MemberInfo;
use berth_trust::bundle::CaDigest;
use berth_trust::identity::Identity;
use berth_trust::rotation::Phase;
use berth_trust::token::TokenTerms;
use berth_trust::token_record::TokenRecord;

use berth_core::model::{
    AgentId, ClusterKey, ContainerInstance, ContainerInstanceId, HostDescription, TaskId, Timestamp,
};
use berth_core::reconcile::{StandaloneRequest, UnplacedTasks};
use berth_core::state::{ClusterState, Command, Event, Rejection};

/// A boxed future, so that a port can be a trait object.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The replicated state.
pub trait Replica: Send + Sync + 'static {
    /// Proposes a command and waits until it is committed and applied.
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>>;

    /// The state with everything that was answered before the call.
    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>>;

    /// The state as far as this controller has it, without asking others: what cannot be taken back may be read from it.
    fn seen(&self) -> Arc<ClusterState>;
}

/// Runs tasks outside services.
pub trait TaskRunner: Send + Sync + 'static {
    /// Places the tasks, in one plan with all requests that wait, and waits until those that found a host are committed.
    fn run_tasks(&self, request: StandaloneRequest) -> PortFuture<'_, Result<RanTasks, ProposeFailure>>;
}

/// What became of the tasks of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RanTasks {
    /// Tasks that have hosts now, or that an earlier request with the same client token made.
    pub tasks: Vec<TaskId>,
    /// Tasks that found no host, and why; they do not exist.
    pub unplaced: UnplacedTasks,
}

/// What the agents know and the state does not: what containers wrote.
pub trait ContainerLogs: Send + Sync + 'static {
    /// Asks the agent of a host for a piece of a container's log, and waits for its answer.
    fn fetch_logs(
        &self,
        host: ContainerInstanceId,
        request: LogRequest,
    ) -> PortFuture<'_, Result<LogPiece, LogFailure>>;
}

/// Which piece of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// The task.
    pub task: TaskId,
    /// Name of the container within the task.
    pub container: String,
    /// Where to begin.
    pub start: LogStart,
    /// At most so many bytes of lines.
    pub max_bytes: u32,
    /// How long to wait for a line if there is none.
    pub wait: Duration,
}

/// Where a piece of a log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// With the first line that is kept.
    First,
    /// So many lines before the end; at least 1.
    Tail(u32),
    /// At the `next_position` of an earlier piece.
    At(String),
}

/// A piece of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPiece {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Where to go on; empty where the log has no place yet.
    pub next_position: String,
    /// Whether the container has ended and all of its log has been read.
    pub ended: bool,
}

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Whether it came over standard error.
    pub stderr: bool,
    /// The line without its newline; not necessarily UTF-8.
    pub message: Vec<u8>,
    /// Whether it goes on in the next line of its container and stream.
    pub partial: bool,
}

/// Why a log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFailure {
    /// The agent has no session.
    #[error("the agent of container instance {0} is not connected")]
    NotConnected(ContainerInstanceId),
    /// The agent answered that it cannot, in its words: it has no such log, or cannot read it.
    #[error("{0}")]
    Refused(String),
    /// The agent has too much to do or did not answer in time.
    #[error("{0}")]
    NoAnswer(String),
}

/// The agents that speak ECS's own API, as the member that leads knows them.
pub trait EcsAgents: Send + Sync + 'static {
    /// Registers a host, or brings it up to date: its agent counts as connected from now on, for as long as it calls.
    fn register(&self, host: RegisteringHost) -> PortFuture<'_, Result<ContainerInstanceId, EcsAgentFailure>>;

    /// Notes that the agent of a host called: it counts as connected, and does so again if it did not.
    fn heard<'a>(&'a self, host: &'a ContainerInstance) -> PortFuture<'a, Result<(), EcsAgentFailure>>;
}

/// A host whose agent speaks ECS's own API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteringHost {
    /// The cluster that it is to be in.
    pub cluster: ClusterKey,
    /// The agent's identity.
    pub agent: AgentId,
    /// The container instance that it was before.
    pub previous: Option<ContainerInstanceId>,
    /// The host.
    pub host: HostDescription,
}

/// Why an agent is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcsAgentFailure {
    /// No such cluster, or it is not active.
    #[error("the cluster was not found")]
    ClusterNotFound,
    /// What it says makes no sense, or its host was deregistered.
    #[error("{0}")]
    Refused(String),
    /// The controller cannot do it at the moment.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a command took no effect, or is not known to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeFailure {
    /// The state refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be proposed or its outcome is not known.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The controller cannot serve a request at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It has too much to do; nothing happened.
    #[error("{0}")]
    Overloaded(String),
    /// It has no leader, no disk, or no answer in time.
    #[error("{0}")]
    NoAnswer(String),
    /// The command is larger than one change may be.
    #[error("{0}")]
    TooLarge(String),
}

/// The way to the member that leads, for what it alone knows.
pub trait LeaderCalls: Send + Sync + 'static {
    /// Has the leader answer a call; `None` if that is this member.
    fn pass_on(&self, call: ApiCall) -> PortFuture<'_, Option<Result<Response<Bytes>, Unavailable>>>;
}

/// Backups of the state, handed out in parts.
pub trait Backups: Send + Sync + 'static {
    /// Begins a backup of the state with everything that was answered before the call, under an id that is new.
    fn begin(&self, id: String) -> PortFuture<'_, Result<BackupBegun, Unavailable>>;

    /// The part of that number, from 0 on: the next, or the one before it once more.
    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<Part, PartFailure>>;
}

/// A backup that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupBegun {
    /// The last index of the log whose effect it contains.
    pub index: u64,
    /// When.
    pub created_at: Timestamp,
}

/// A part of something that is handed out in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the file.
    pub data: Vec<u8>,
    /// Whether they are its end.
    pub is_last: bool,
}

/// Why a part is not handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartFailure {
    /// No such thing, or not for so long.
    #[error(
        "There is no open {what} {id} in this controller: one that nobody fetches for a minute is dropped, and others cannot be fetched from \
         another controller. Create it again."
    )]
    Unknown {
        /// What is handed out.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// Parts come in order.
    #[error("Parts of a {what} are fetched in order; the next is {next}.")]
    OutOfOrder {
        /// What is handed out.
        what: &'static str,
        /// Number of the next part.
        next: u32,
    },
    /// It makes no sense.
    #[error("{0}")]
    Refused(String),
    /// It could not be written.
    #[error("The {what} could not be written: {why}.")]
    Failed {
        /// What is handed out.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

/// Recordings of placement decisions, handed out in parts.
pub trait DecisionRecordings: Send + Sync + 'static {
    /// Begins one of a cluster and a span of the log, under an id that is new.
    fn begin(
        &self,
        id: String,
        cluster: ClusterKey,
        span: Span,
    ) -> PortFuture<'_, Result<RecordingBegun, RecordingFailure>>;

    /// The part of that number, from 0 on: the next, or the one before it once more.
    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<Part, PartFailure>>;
}

/// A recording that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingBegun {
    /// The first entry of the log that a recording can begin with.
    pub first: u64,
    /// The last that there is.
    pub last: u64,
}

/// Why no recording is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingFailure {
    /// The span makes no sense, or is not held.
    Refused(String),
    /// The controller cannot do it at the moment.
    Unavailable(Unavailable),
}

/// Who the members of the cluster are, who may join it, and by whose word: what operators decide.
pub trait Administration: Send + Sync + 'static {
    /// Makes a join token.
    fn create_token(&self, terms: TokenTerms) -> PortFuture<'_, Result<NewToken, AdministrationFailure>>;

    /// The join tokens that are remembered.
    fn tokens(&self) -> PortFuture<'_, Result<Vec<TokenRecord>, AdministrationFailure>>;

    /// Withdraws a join token.
    fn revoke_token<'a>(&'a self, id: &'a str) -> PortFuture<'a, Result<TokenRecord, AdministrationFailure>>;

    /// The members as they are known to a majority.
    fn members(&self) -> PortFuture<'_, Result<Members, AdministrationFailure>>;

    /// Removes a member for good, and refuses its certificate.
    fn remove_member(&self, member: u64, forced: bool) -> PortFuture<'_, Result<(), AdministrationFailure>>;

    /// Gives a member its vote.
    fn promote_member(&self, member: u64, forced: bool) -> PortFuture<'_, Result<(), AdministrationFailure>>;

    /// Has a member lead.
    fn transfer_leadership(&self, member: u64) -> PortFuture<'_, Result<(), AdministrationFailure>>;

    /// The authority that signs certificates.
    fn authority(&self) -> PortFuture<'_, Result<AuthorityStatus, AdministrationFailure>>;

    /// Takes a step of its rotation.
    fn rotate(&self, step: RotationStep) -> PortFuture<'_, Result<AuthorityStatus, AdministrationFailure>>;

    /// The agent with a certificate that an identity or its id names; `None` if there is none.
    fn agent_named(&self, named: &str) -> Result<Option<AgentId>, AdministrationFailure>;

    /// Refuses the certificate of an agent from now on; nothing if the cluster gives none.
    fn refuse_agent<'a>(&'a self, agent: &'a str) -> PortFuture<'a, Result<(), AdministrationFailure>>;
}

/// The members of the cluster, and who leads.
#[derive(Clone, Debug)]
pub struct Members {
    /// The members, by id.
    pub members: Vec<MemberInfo>,
    /// The one that leads, if known.
    pub leader: Option<u64>,
    /// The term in which it does.
    pub term: u64,
    /// Those that the one that answers hears, and that hear it.
    pub connected: BTreeSet<u64>,
}

/// A step of a rotation of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// A new authority is to be trusted.
    Begin,
    /// The new one signs; or the old one is trusted no longer.
    Continue,
    /// The new one is dropped, while it does not sign yet.
    TakeBack,
}

/// How far a rotation is.
#[derive(Clone, Debug)]
pub struct AuthorityStatus {
    /// How far.
    pub phase: Phase,
    /// The authorities that are trusted; the first one signs.
    pub trusted: Vec<CaDigest>,
    /// Those for which the next step waits.
    pub waiting: Vec<Identity>,
}

/// Why something was not done that operators decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationFailure {
    /// It makes no sense, or not now.
    #[error("{0}")]
    Refused(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The controller cannot tell or do it at the moment.
    #[error("{0}")]
    Unavailable(String),
}
