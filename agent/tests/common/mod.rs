//! A controller that a test plays itself, over real gRPC on loopback, and the tasks that it assigns.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a helper of tests may fail them")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_agent::runtime::{Runtime, SimulatedRuntime};
use berth_agent::{Agent, AgentConfig, AgentHandle, LogSource};
use berth_core::model::{
    Attributes, ContainerSpec, CpuUnits, HostDescription, MemoryMib, NetworkMode, Resources, Scope, TaskId, TaskReport,
    TaskSpec, TaskStatus,
};
use berth_proto::record::{self, RecordKind};
use berth_proto::v1::agent_sessions_server::{AgentSessions, AgentSessionsServer};
use berth_proto::v1::{self, AssignedStatus, FromAgent, ToAgent, from_agent, to_agent};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What the controller says of keeping in touch: seldom enough that no test is held up by it.
pub(crate) const SETTINGS: v1::HostSettings = v1::HostSettings {
    heartbeat_interval_ms: 5_000,
    fence_after_ms: 0,
    news_version: 0,
};

/// Longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:container-instance/default/1";

/// A controller played by the test.
pub(crate) struct Controller {
    pub(crate) endpoint: String,
    sessions: mpsc::Receiver<ControllerSession>,
    server: JoinHandle<()>,
}

/// One session of an agent with it.
pub(crate) struct ControllerSession {
    pub(crate) register: v1::Register,
    /// What heartbeats are answered with.
    pub(crate) settings: Mutex<v1::HostSettings>,
    incoming: Streaming<FromAgent>,
    outgoing: mpsc::Sender<Result<ToAgent, Status>>,
}

/// The service for agents, whose sessions the test answers.
pub(crate) struct Service {
    sessions: mpsc::Sender<ControllerSession>,
}

#[tonic::async_trait]
impl AgentSessions for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|message| message.message);
        let Some(from_agent::Message::Register(register)) = first else {
            return Err(Status::invalid_argument("the first message is not Register"));
        };
        let (outgoing, queue) = mpsc::channel(64);
        let session = ControllerSession {
            register,
            settings: Mutex::new(SETTINGS),
            incoming,
            outgoing,
        };
        self.sessions
            .send(session)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Controller {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (service, sessions) = Self::service();
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self::of(endpoint, sessions, server)
    }

    pub(crate) fn service() -> (AgentSessionsServer<Service>, mpsc::Receiver<ControllerSession>) {
        let (sender, sessions) = mpsc::channel(4);
        (AgentSessionsServer::new(Service { sessions: sender }), sessions)
    }

    /// A controller whose server the test has made.
    pub(crate) fn of(endpoint: String, sessions: mpsc::Receiver<ControllerSession>, server: JoinHandle<()>) -> Self {
        Self {
            endpoint,
            sessions,
            server,
        }
    }

    /// The next session that an agent opens, not yet answered.
    pub(crate) async fn session(&mut self) -> ControllerSession {
        tokio::time::timeout(PATIENCE, self.sessions.recv())
            .await
            .expect("a session in time")
            .unwrap()
    }

    /// The next session, registered as [`ARN`] at a position after all that the tests assign.
    pub(crate) async fn registered(&mut self) -> ControllerSession {
        let session = self.session().await;
        session.accept(ARN, 1, 100).await;
        session
    }
}

impl ControllerSession {
    pub(crate) async fn send(&self, message: to_agent::Message) {
        self.outgoing
            .send(Ok(ToAgent { message: Some(message) }))
            .await
            .unwrap();
    }

    pub(crate) async fn accept(&self, arn: &str, term: u64, index: u64) {
        self.accept_with(arn, term, index, SETTINGS).await;
    }

    pub(crate) async fn accept_with(&self, arn: &str, term: u64, index: u64, settings: v1::HostSettings) {
        *self.settings.lock().unwrap() = settings;
        self.send(to_agent::Message::Registered(v1::Registered {
            container_instance_arn: arn.to_owned(),
            term,
            index,
            host_settings: Some(settings),
            controllers: vec![],
        }))
        .await;
    }

    pub(crate) async fn assign(&self, index: u64, full: bool, tasks: Vec<v1::AssignedTask>) {
        let assignments = v1::Assignments {
            term: 1,
            index,
            full,
            tasks,
            removed: Vec::new(),
        };
        self.send(to_agent::Message::Assignments(assignments)).await;
    }

    /// The agent's next message that is no heartbeat; those are answered.
    pub(crate) async fn receive(&mut self) -> from_agent::Message {
        loop {
            match self.receive_any().await {
                from_agent::Message::Heartbeat(_) => {
                    let settings = *self.settings.lock().unwrap();
                    self.send(to_agent::Message::HostSettings(settings)).await;
                }
                message => return message,
            }
        }
    }

    pub(crate) async fn receive_any(&mut self) -> from_agent::Message {
        let message = tokio::time::timeout(PATIENCE, self.incoming.message())
            .await
            .expect("a message in time");
        message
            .unwrap()
            .expect("the session is open")
            .message
            .expect("a known message")
    }

    /// The next batch of reports, which the test has to record.
    pub(crate) async fn reports(&mut self) -> (u64, Vec<TaskReport>) {
        match self.receive().await {
            from_agent::Message::TaskReports(batch) => {
                let reports = batch.reports.iter().map(|bytes| report(bytes)).collect();
                (batch.sequence, reports)
            }
            other => panic!("expected reports, got {other:?}"),
        }
    }

    pub(crate) async fn record(&self, sequence: u64) {
        self.send(to_agent::Message::ReportsRecorded(v1::ReportsRecorded { sequence }))
            .await;
    }

    /// Records all reports until one of `task` says `status`.
    pub(crate) async fn until(&mut self, task: TaskId, status: TaskStatus) -> TaskReport {
        loop {
            let (sequence, reports) = self.reports().await;
            self.record(sequence).await;
            if let Some(report) = reports.into_iter().find(|r| r.task == task && r.status == status) {
                return report;
            }
        }
    }

    pub(crate) fn host(&self) -> HostDescription {
        record::decode(RecordKind::HostDescription, &self.register.host_description).unwrap()
    }

    pub(crate) fn registered_reports(&self) -> Vec<TaskReport> {
        self.register.task_reports.iter().map(|bytes| report(bytes)).collect()
    }
}

pub(crate) fn report(bytes: &[u8]) -> TaskReport {
    record::decode(RecordKind::TaskReport, bytes).unwrap()
}

/// A task of one essential container named `main`, with this environment.
pub(crate) fn task(id: u128, environment: &[(&str, &str)]) -> TaskSpec {
    TaskSpec {
        task: TaskId(id),
        task_arn: format!("arn:aws:ecs:us-east-1:123456789012:task/default/{}", TaskId(id)),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        network_mode: NetworkMode::Bridge,
        cpu: None,
        memory: None,
        fargate: false,
        containers: vec![ContainerSpec {
            name: "main".to_owned(),
            image: "busybox".to_owned(),
            cpu: CpuUnits(128),
            memory: Some(MemoryMib(64)),
            memory_reservation: None,
            essential: true,
            entry_point: Vec::new(),
            command: Vec::new(),
            environment: environment
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            working_directory: None,
            user: None,
            port_mappings: Vec::new(),
            stop_timeout_secs: 1,
            docker_labels: BTreeMap::new(),
            restart_policy: None,
            health_check: None,
            depends_on: vec![],
            start_timeout_secs: None,
        }],
    }
}

/// The task, as assigned to run.
pub(crate) fn to_run(spec: &TaskSpec) -> v1::AssignedTask {
    v1::AssignedTask {
        task_id: spec.task.to_string(),
        desired_status: AssignedStatus::Running.into(),
        spec: record::encode(RecordKind::TaskSpec, spec).unwrap(),
        begun: false,
    }
}

/// The task, as assigned to end.
pub(crate) fn to_stop(spec: &TaskSpec) -> v1::AssignedTask {
    v1::AssignedTask {
        desired_status: AssignedStatus::Stopped.into(),
        ..to_run(spec)
    }
}

pub(crate) fn config(endpoint: &str) -> AgentConfig {
    AgentConfig {
        data_dir: None,
        controllers: vec![endpoint.to_owned()],
        membership: None,
        cluster: Scope::new("123456789012", "us-east-1").cluster("default"),
        host_name: "host-1".to_owned(),
        availability_zone: Some("us-east-1a".to_owned()),
        capacity_provider: None,
        attributes: Attributes::new(),
        capacity: Resources::new(2048, 4096),
        sleep_command: None,
        runtime_version: "simulated".to_owned(),
    }
}

/// An agent that ends with its test.
pub(crate) struct TestAgent {
    pub(crate) handle: AgentHandle,
    pub(crate) shutdown: CancellationToken,
}

impl TestAgent {
    pub(crate) async fn start(config: AgentConfig, runtime: &SimulatedRuntime) -> Self {
        let runtime = Arc::new(runtime.clone());
        Self::start_on(config, runtime.clone(), runtime).await
    }

    pub(crate) async fn start_on(config: AgentConfig, runtime: Arc<dyn Runtime>, logs: Arc<dyn LogSource>) -> Self {
        let shutdown = CancellationToken::new();
        let handle = Agent::start(config, runtime, logs, shutdown.clone()).await.unwrap();
        Self { handle, shutdown }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.handle.join())
            .await
            .expect("stops in time")
            .unwrap();
    }
}
