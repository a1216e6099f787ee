//! An API over a state in memory, for the tests of operations. Shell.

use std::sync::{Arc, Mutex};

use berth_aws::ecs::operations::CreateCapacityProvider;
use berth_aws::protocol;
use berth_aws::sigv4::{Credentials, Secret, Signer};
use berth_aws::{AwsError, Operation, Timestamp as AwsTimestamp};
use berth_core::ids::IdSource;
use berth_core::model::{
    AgentId, Cluster, ClusterKey, ContainerInstance, ContainerInstanceId, HostDescription, LogIndex, Resources, Scope,
    Timestamp,
};
use berth_core::placement::Seed;
use berth_core::reconcile::{Agenda, StandalonePlan, StandaloneRequest, plan_standalone};
use berth_core::state::{ClusterState, Command, Event};
use berth_proto::v1::ApiCall;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use serde_json::{Value, json};

use super::context::{Api, ApiOptions, ApiParts, Call};
use super::credentials::RootCredentials;
use super::ports::{
    Administration, AdministrationFailure, AuthorityStatus, BackupBegun, Backups, ContainerLogs, DecisionRecordings,
    EcsAgentFailure, EcsAgents, LeaderCalls, LogFailure, LogPiece, LogRequest, Members, Part, PartFailure, PortFuture,
    ProposeFailure, RanTasks, RecordingBegun, RecordingFailure, RegisteringHost, Replica, RotationStep, TaskRunner,
    Unavailable,
};
use super::{dispatch, front};
use crate::clock::Clock;
use crate::decisions::{Edge, Span};
use crate::events::EventMemory;
use crate::monitoring::Metrics;
use crate::registrar::NewToken;
use berth_trust::token::TokenTerms;
use berth_trust::token_record::TokenRecord;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const SECRET: &str = "secret";
pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// The history whose positions the events of the tests have.
pub(crate) const HISTORY: u64 = 0x00be_47e5;
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The replicated state without a group: a command is applied at once.
pub(crate) struct StateInMemory(Mutex<(u64, ClusterState)>, EventMemory);

impl StateInMemory {
    pub(crate) fn apply(&self, command: &Command) -> Result<Vec<Event>, ProposeFailure> {
        let mut locked = self.0.lock().expect("no test panics while applying");
        locked.0 += 1;
        let index = LogIndex(locked.0);
        Ok(self.1.apply(&mut locked.1, index, command)?)
    }

    pub(crate) fn state(&self) -> ClusterState {
        self.0.lock().expect("no test panics while applying").1.clone()
    }
}

impl Replica for StateInMemory {
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>> {
        Box::pin(async move { self.apply(&command) })
    }

    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>> {
        Box::pin(async move { Ok(Arc::new(self.state())) })
    }

    fn seen(&self) -> Arc<ClusterState> {
        Arc::new(self.state())
    }
}

impl TaskRunner for StateInMemory {
    fn run_tasks(&self, request: StandaloneRequest) -> PortFuture<'_, Result<RanTasks, ProposeFailure>> {
        Box::pin(async move {
            let plan = plan_standalone(
                &self.state(),
                &mut Agenda::new(),
                std::slice::from_ref(&request),
                Seed(1),
                NOW,
            )
            .pop();
            let (tasks, unplaced) = match plan.expect("one plan for one request") {
                StandalonePlan::Run { command, unplaced } => {
                    let ids = request.tasks.iter().map(|task| task.id);
                    let left: Vec<_> = unplaced.iter().map(|(id, _)| *id).collect();
                    self.apply(&command)?;
                    (ids.filter(|id| !left.contains(id)).collect(), unplaced)
                }
                StandalonePlan::NoRoom(unplaced) => (vec![], unplaced),
                StandalonePlan::Repeated(tasks) => (tasks, vec![]),
                StandalonePlan::Refused(rejection) => return Err(rejection.into()),
                StandalonePlan::Later => panic!("there is no other request"),
            };
            Ok(RanTasks { tasks, unplaced })
        })
    }
}

/// No agent has a session.
struct NoAgents;

impl ContainerLogs for NoAgents {
    fn fetch_logs(&self, host: ContainerInstanceId, _: LogRequest) -> PortFuture<'_, Result<LogPiece, LogFailure>> {
        Box::pin(async move { Err(LogFailure::NotConnected(host)) })
    }
}

/// Agents that speak ECS's own API, of whom nobody remembers when they called.
struct EcsAgentsInMemory(Arc<StateInMemory>);

impl EcsAgents for EcsAgentsInMemory {
    fn register(&self, host: RegisteringHost) -> PortFuture<'_, Result<ContainerInstanceId, EcsAgentFailure>> {
        let new = self.0.seen().all_container_instances().count() + 1_000;
        let command = Command::RegisterContainerInstance {
            id: ContainerInstanceId(u128::try_from(new).expect("few hosts")),
            previous: host.previous,
            cluster: host.cluster.clone(),
            agent: host.agent.clone(),
            host: host.host,
            at: NOW,
        };
        let registered = self.0.apply(&command);
        let id = self.0.seen().container_instance_of_agent(&host.cluster, &host.agent);
        Box::pin(async move {
            match (registered, id) {
                (Ok(_), Some(id)) => Ok(id),
                _ => Err(EcsAgentFailure::ClusterNotFound),
            }
        })
    }

    fn heard<'a>(&'a self, _: &'a ContainerInstance) -> PortFuture<'a, Result<(), EcsAgentFailure>> {
        Box::pin(async { Ok(()) })
    }
}

/// A controller that is no member of a cluster, and can do nothing that operators decide.
struct NoCluster;

impl LeaderCalls for NoCluster {
    fn pass_on(&self, _: ApiCall) -> PortFuture<'_, Option<Result<Response<Bytes>, Unavailable>>> {
        Box::pin(async { None })
    }
}

fn no_cluster<'a, T: Send + 'a>() -> PortFuture<'a, Result<T, AdministrationFailure>> {
    Box::pin(async {
        Err(AdministrationFailure::Refused(
            "this controller is no member of a cluster".into(),
        ))
    })
}

impl Administration for NoCluster {
    fn create_token(&self, _: TokenTerms) -> PortFuture<'_, Result<NewToken, AdministrationFailure>> {
        no_cluster()
    }

    fn tokens(&self) -> PortFuture<'_, Result<Vec<TokenRecord>, AdministrationFailure>> {
        Box::pin(async { Ok(vec![]) })
    }

    fn revoke_token<'a>(&'a self, _: &'a str) -> PortFuture<'a, Result<TokenRecord, AdministrationFailure>> {
        no_cluster()
    }

    fn members(&self) -> PortFuture<'_, Result<Members, AdministrationFailure>> {
        no_cluster()
    }

    fn remove_member(&self, _: u64, _: bool) -> PortFuture<'_, Result<(), AdministrationFailure>> {
        no_cluster()
    }

    fn promote_member(&self, _: u64, _: bool) -> PortFuture<'_, Result<(), AdministrationFailure>> {
        no_cluster()
    }

    fn transfer_leadership(&self, _: u64) -> PortFuture<'_, Result<(), AdministrationFailure>> {
        no_cluster()
    }

    fn authority(&self) -> PortFuture<'_, Result<AuthorityStatus, AdministrationFailure>> {
        no_cluster()
    }

    fn rotate(&self, _: RotationStep) -> PortFuture<'_, Result<AuthorityStatus, AdministrationFailure>> {
        no_cluster()
    }

    fn agent_named(&self, named: &str) -> Result<Option<AgentId>, AdministrationFailure> {
        Ok(named.strip_prefix("berth://test/agent/").map(AgentId::from))
    }

    fn refuse_agent<'a>(&'a self, _: &'a str) -> PortFuture<'a, Result<(), AdministrationFailure>> {
        Box::pin(async { Ok(()) })
    }
}

/// Backups of two parts.
struct ShortBackups(Mutex<Option<String>>);

impl Backups for ShortBackups {
    fn begin(&self, id: String) -> PortFuture<'_, Result<BackupBegun, Unavailable>> {
        *self.0.lock().expect("no test panics while it begins") = Some(id);
        let begun = BackupBegun {
            index: 7,
            created_at: NOW,
        };
        Box::pin(async move { Ok(begun) })
    }

    fn part<'a>(&'a self, id: &'a str, number: u32) -> PortFuture<'a, Result<Part, PartFailure>> {
        let is_known = self.0.lock().expect("no test panics while it begins").as_deref() == Some(id);
        Box::pin(async move {
            match number {
                _ if !is_known => Err(PartFailure::Unknown {
                    what: "backup",
                    id: id.to_owned(),
                }),
                0 => Ok(Part {
                    data: b"backup".to_vec(),
                    is_last: false,
                }),
                1 => Ok(Part {
                    data: vec![],
                    is_last: true,
                }),
                _ => Err(PartFailure::OutOfOrder {
                    what: "backup",
                    next: 2,
                }),
            }
        })
    }
}

/// A recording of one part, of a log of which entries 5 to 9 are held.
struct ShortRecordings;

impl DecisionRecordings for ShortRecordings {
    fn begin(&self, _: String, _: ClusterKey, span: Span) -> PortFuture<'_, Result<RecordingBegun, RecordingFailure>> {
        Box::pin(async move {
            match span.from {
                Some(Edge::Index(asked)) if asked < 5 => Err(RecordingFailure::Refused("from 5 on".to_owned())),
                _ => Ok(RecordingBegun { first: 5, last: 9 }),
            }
        })
    }

    fn part<'a>(&'a self, _: &'a str, _: u32) -> PortFuture<'a, Result<Part, PartFailure>> {
        Box::pin(async {
            Ok(Part {
                data: b"{}".to_vec(),
                is_last: true,
            })
        })
    }
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// An API with its state.
pub(crate) struct Harness {
    pub(crate) api: Arc<Api>,
    pub(crate) state: Arc<StateInMemory>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(false, Arc::new(NoAgents), ClusterState::at_newest_level())
    }

    /// One whose group has agreed on no feature level yet.
    pub(crate) fn before_levels() -> Self {
        Self::with(false, Arc::new(NoAgents), ClusterState::default())
    }

    pub(crate) fn for_testing() -> Self {
        Self::with(true, Arc::new(NoAgents), ClusterState::at_newest_level())
    }

    /// One that was started without a command by which hosts are woken.
    pub(crate) fn without_wake_command() -> Self {
        let mut harness = Self::new();
        let api = Arc::get_mut(&mut harness.api).expect("nobody else has it yet");
        api.options.wakes_hosts = false;
        harness
    }

    pub(crate) fn with_logs(logs: Arc<dyn ContainerLogs>) -> Self {
        Self::with(false, logs, ClusterState::at_newest_level())
    }

    fn with(testing: bool, logs: Arc<dyn ContainerLogs>, state: ClusterState) -> Self {
        let root = RootCredentials {
            account: ACCOUNT.into(),
            access_key_id: ACCESS_KEY.into(),
            secret_access_key: SECRET.into(),
        };
        let state = Arc::new(StateInMemory(Mutex::new((0, state)), EventMemory::default()));
        state.1.of_history(HISTORY);
        let options = ApiOptions {
            root,
            testing,
            wakes_hosts: true,
        };
        let parts = ApiParts {
            replica: Arc::clone(&state) as Arc<dyn Replica>,
            runner: Arc::clone(&state) as Arc<dyn TaskRunner>,
            logs,
            ecs_agents: Arc::new(EcsAgentsInMemory(Arc::clone(&state))),
            backups: Arc::new(ShortBackups(Mutex::default())),
            decisions: Arc::new(ShortRecordings),
            events: state.1.clone(),
            leader_calls: Arc::new(NoCluster),
            administration: Arc::new(NoCluster),
            clock: Arc::new(FixedClock),
            ids: IdSource::from_seed(1),
            metrics: Metrics::default(),
        };
        let api = Api::new(options, parts);
        Self {
            api: Arc::new(api),
            state,
        }
    }

    /// What is remembered of what was announced and of what changed.
    pub(crate) fn events(&self) -> &EventMemory {
        &self.state.1
    }

    pub(crate) fn api(&self) -> Arc<Api> {
        Arc::clone(&self.api)
    }

    /// Calls an operation in the usual region, with its input as JSON and its answer as JSON.
    pub(crate) async fn call<O: Operation>(&self, input: Value) -> Result<Value, AwsError> {
        self.call_in::<O>(REGION, input).await
    }

    /// Calls an operation of a JSON service in a region.
    pub(crate) async fn call_in<O: Operation>(&self, region: &str, input: Value) -> Result<Value, AwsError> {
        let route = dispatch::find(O::SERVICE, O::MODEL).expect("the operation has behaviour");
        let call = Call {
            scope: Scope::new(ACCOUNT, region),
            caller_arn: self.api.options.root.arn(),
            request_id: "request".into(),
            now: NOW,
        };
        let response = (route.serve)(Arc::clone(&self.api), call, input.to_string().into()).await?;
        let output: Value = serde_json::from_slice(response.body()).expect("an answer is JSON");
        // What is answered must have the shape that the model says.
        let shaped = protocol::write::<O>(&serde_json::from_value(output.clone()).expect("fits its shape"), "r");
        assert_eq!(shaped.body(), response.body());
        Ok(output)
    }

    /// The cluster `name` as a key.
    pub(crate) fn cluster(&self, name: &str) -> ClusterKey {
        Scope::new(ACCOUNT, REGION).cluster(name)
    }

    /// Creates a cluster without hosts.
    pub(crate) fn add_cluster(&self, name: &str) {
        let cluster = Cluster::new(self.cluster(name), NOW);
        self.state
            .apply(&Command::CreateCluster(cluster))
            .expect("a cluster can be created");
    }

    /// Creates a capacity provider.
    pub(crate) async fn add_capacity_provider(&self, name: &str) {
        let input = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": name}});
        self.call::<CreateCapacityProvider>(input).await.expect("created");
    }

    /// Registers a connected host of 4 vCPU and 8 GiB into the cluster `default`, which the first one creates.
    pub(crate) fn add_host(&self, id: u128, zone: &str) -> ContainerInstanceId {
        self.add_host_of(id, zone, None)
    }

    /// As [`Harness::add_host`], in the pool of a capacity provider.
    pub(crate) fn add_host_of(&self, id: u128, zone: &str, capacity_provider: Option<&str>) -> ContainerInstanceId {
        self.add_host_with(id, &[("ecs.availability-zone", zone)], capacity_provider)
    }

    /// As [`Harness::add_host_of`], with these attributes alone.
    pub(crate) fn add_host_with(
        &self,
        id: u128,
        attributes: &[(&str, &str)],
        capacity_provider: Option<&str>,
    ) -> ContainerInstanceId {
        let attribute = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        let host = HostDescription {
            host_name: format!("host-{id}"),
            capacity: Resources::new(4096, 8192),
            attributes: attributes.iter().map(attribute).collect(),
            agent_version: "1".into(),
            runtime_version: "simulated".into(),
            capacity_provider: capacity_provider.map(Into::into),
            ecs_agent: None,
        };
        let command = Command::RegisterContainerInstance {
            id: ContainerInstanceId(id),
            previous: None,
            cluster: self.cluster("default"),
            agent: AgentId::from(format!("agent-{id}")),
            host,
            at: NOW,
        };
        self.state.apply(&command).expect("a host can register");
        ContainerInstanceId(id)
    }

    /// Sends a signed request through the front door.
    pub(crate) async fn send(&self, service: &str, operation: &str, input: &Value, secret: &str) -> Response<Bytes> {
        self.send_signed(service, request(operation, input), secret).await
    }

    /// Sends a signed request of a JSON service with whatever body.
    pub(crate) async fn send_document(&self, route: &dispatch::Route, document: Bytes) -> Response<Bytes> {
        let target = format!("{}.{}", route.service.target_prefix, route.operation.name);
        let request = Request::post("/")
            .header("host", "localhost")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(document);
        let request = request.expect("a valid request");
        self.send_signed(route.service.signing_name, request, SECRET).await
    }

    /// Sends a signed request of a query service through the front door.
    pub(crate) async fn send_form(&self, service: &str, form: &str) -> Response<Bytes> {
        let request = Request::post("/")
            .header("host", "localhost")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form.to_owned()));
        self.send_signed(service, request.expect("a valid request"), SECRET)
            .await
    }

    async fn send_signed(&self, service: &str, request: Request<Bytes>, secret: &str) -> Response<Bytes> {
        let (mut parts, body) = request.into_parts();
        let signer = Signer {
            credentials: Credentials {
                access_key: ACCESS_KEY.into(),
                secret: Secret::new(secret),
                session_token: None,
            },
            region: REGION.into(),
            service: service.into(),
        };
        signer
            .sign(&mut parts, &body, AwsTimestamp(NOW.0))
            .expect("the request can be signed");
        self.answer(parts, body).await
    }

    async fn answer(&self, parts: Parts, body: Bytes) -> Response<Bytes> {
        match front::screen(&self.api, &parts) {
            Ok(admitted) => {
                front::answer(Arc::clone(&self.api), admitted, parts, body)
                    .await
                    .response
            }
            Err(refusal) => *refusal,
        }
    }

    pub(crate) async fn send_unsigned(&self, operation: &str) -> Response<Bytes> {
        let (parts, body) = request(operation, &Value::Object(serde_json::Map::new())).into_parts();
        self.answer(parts, body).await
    }

    pub(crate) async fn post(&self, path: &str) -> Response<Bytes> {
        let request = Request::post(path).header("host", "localhost").body(Bytes::new());
        let (parts, body) = request.expect("a valid request").into_parts();
        self.answer(parts, body).await
    }
}

fn request(operation: &str, input: &Value) -> Request<Bytes> {
    Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.1")
        .header(
            "x-amz-target",
            format!("AmazonEC2ContainerServiceV20141113.{operation}"),
        )
        .body(Bytes::from(input.to_string()))
        .expect("a valid request")
}
