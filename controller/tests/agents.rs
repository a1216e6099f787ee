//! The port for agents over a real group in memory, spoken to by a client of its protocol.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use berth_controller::agents::{self, AgentsHandle, LogError, LogQuery};
use berth_controller::clock::{Clock, SystemClock};
use berth_core::ids::IdSource;
use berth_core::model::{ContainerInstanceId, HostSettingsChange, Resources, StopCode, TaskId, TaskStatus};
use berth_core::state::Command;
use berth_proto::record::{self, RecordKind};
use berth_proto::v1::agent_sessions_client::AgentSessionsClient;
use berth_proto::v1::{
    AssignedStatus, Assignments, FromAgent, Heartbeat, HostPort, LogReply, PortProtocol, ProtocolVersion, RefusalCode,
    Register, TaskReports, from_agent, to_agent,
};
use cluster::{TestCluster, service_of};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

struct Port {
    cluster: TestCluster,
    agents: AgentsHandle,
    address: String,
    stop: CancellationToken,
}

impl Port {
    async fn open() -> Self {
        let cluster = TestCluster::start();
        cluster.group.read().await.expect("the group has a leader");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let (agents, _) = agents::start(
            listener,
            cluster.group.clone(),
            Arc::new(SystemClock),
            IdSource::from_seed(3),
            stop.clone(),
        )
        .expect("a loopback address");
        Self {
            cluster,
            agents,
            address,
            stop,
        }
    }

    /// Sets the shortest interval that there is, for tests that wait for silence.
    async fn shorten_heartbeats(&self) {
        let shorter = HostSettingsChange {
            heartbeat_interval_ms: Some(200),
            ..HostSettingsChange::default()
        };
        self.cluster.change_host_settings(shorter).await;
    }

    async fn agent(&self, number: usize) -> Agent {
        let mut agent = Agent::connect(&self.address).await;
        agent
            .send(from_agent::Message::Register(register(number, "default")))
            .await;
        let to_agent::Message::Registered(registered) = agent.next().await else {
            panic!("not registered")
        };
        let id = registered.container_instance_arn.rsplit('/').next().expect("an id");
        agent.host = Some(id.parse().expect("an id"));
        agent
    }

    async fn until_connected(&self, host: ContainerInstanceId, connected: bool) {
        let what = format!("{host} is connected: {connected}");
        let look = |s: &berth_core::state::ClusterState| {
            s.container_instance(host)
                .filter(|h| h.agent_connected == connected)
                .map(|_| ())
        };
        self.cluster.until(&what, look).await;
    }

    async fn close(self) {
        self.stop.cancel();
        self.cluster.stop().await;
    }
}

fn register(number: usize, cluster: &str) -> Register {
    let host = cluster::host(number, ["a", "b", "c"][number % 3], Resources::new(4096, 8192));
    let key = cluster::key();
    Register {
        protocol_version: ProtocolVersion::ProtocolVersion1.into(),
        agent_id: format!("agent-{number}"),
        account: key.scope.account.to_string(),
        region: key.scope.region.to_string(),
        cluster: cluster.to_owned(),
        host_description: record::encode(RecordKind::HostDescription, &host).expect("a record"),
        task_reports: vec![],
        container_instance_arn: String::new(),
    }
}

struct Agent {
    outgoing: mpsc::Sender<FromAgent>,
    incoming: tonic::Streaming<berth_proto::v1::ToAgent>,
    host: Option<ContainerInstanceId>,
}

impl Agent {
    async fn connect(address: &str) -> Self {
        let mut client = AgentSessionsClient::connect(address.to_owned())
            .await
            .expect("connects");
        let (outgoing, queue) = mpsc::channel(16);
        let incoming = client
            .session(ReceiverStream::new(queue))
            .await
            .expect("a session")
            .into_inner();
        Self {
            outgoing,
            incoming,
            host: None,
        }
    }

    fn host(&self) -> ContainerInstanceId {
        self.host.expect("registered")
    }

    async fn send(&self, message: from_agent::Message) {
        self.outgoing
            .send(FromAgent { message: Some(message) })
            .await
            .expect("the session is open");
    }

    async fn next(&mut self) -> to_agent::Message {
        let message = tokio::time::timeout(PATIENCE, self.incoming.message())
            .await
            .expect("an answer in time");
        message
            .expect("no failure")
            .expect("the session is open")
            .message
            .expect("a known message")
    }

    async fn assignments(&mut self) -> Assignments {
        match self.next().await {
            to_agent::Message::Assignments(assignments) => assignments,
            other => panic!("expected assignments, got {other:?}"),
        }
    }

    async fn has_ended(&mut self) {
        let end = async { while let Ok(Some(_)) = self.incoming.message().await {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the session ends");
    }

    async fn report(&mut self, sequence: u64, task: TaskId, status: TaskStatus) {
        let report = record::encode(RecordKind::TaskReport, &cluster::report(task, status)).expect("a record");
        let reports = vec![report];
        self.send(from_agent::Message::TaskReports(TaskReports { sequence, reports }))
            .await;
    }
}

fn ids(assignments: &Assignments) -> Vec<TaskId> {
    assignments
        .tasks
        .iter()
        .map(|t| t.task_id.parse().expect("an id"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_registers_is_told_all_and_then_what_changes() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    let first = agent.assignments().await;
    assert!(first.full && first.tasks.is_empty());
    port.cluster.define("web", Resources::new(128, 128)).await;
    port.cluster.propose(service_of("web", 1)).await;
    let added = agent.assignments().await;
    assert!(!added.full && (added.term, added.index) >= (first.term, first.index));
    let [task] = ids(&added)[..] else {
        panic!("one task, got {added:?}")
    };
    assert_eq!(added.tasks[0].desired_status(), AssignedStatus::Running);
    assert!(!added.tasks[0].spec.is_empty() && !added.tasks[0].begun);
    agent.report(1, task, TaskStatus::Running).await;
    let to_agent::Message::ReportsRecorded(done) = agent.next().await else {
        panic!("what the agent has said itself is told again")
    };
    assert_eq!(done.sequence, 1);
    let state = port.cluster.state();
    assert_eq!(state.task(task).expect("known").last_status, TaskStatus::Running);
    let stop = Command::StopTasks {
        tasks: vec![task],
        stop_code: StopCode::UserInitiated,
        reason: "It is told so.".to_owned(),
        at: SystemClock.now(),
    };
    port.cluster.propose(stop).await;
    let stopped = agent.assignments().await;
    assert_eq!(ids(&stopped), [task]);
    assert_eq!(stopped.tasks[0].desired_status(), AssignedStatus::Stopped);
    assert!(stopped.tasks[0].spec.is_empty(), "it knows the spec");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_connects_again_replaces_its_session_and_stays_connected() {
    let port = Port::open().await;
    let mut first = port.agent(0).await;
    let mut second = port.agent(0).await;
    assert_eq!(first.host(), second.host());
    first.has_ended().await;
    assert!(second.assignments().await.full);
    // The end of the first session is behind us; a change still finds the second one.
    port.cluster.define("web", Resources::new(128, 128)).await;
    port.cluster.propose(service_of("web", 1)).await;
    assert_eq!(second.assignments().await.tasks.len(), 1);
    let state = port.cluster.state();
    assert!(state.container_instance(second.host()).expect("known").agent_connected);
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_leaves_is_recorded_as_disconnected() {
    let port = Port::open().await;
    let agent = port.agent(0).await;
    let host = agent.host();
    drop(agent);
    port.until_connected(host, false).await;
    let again = port.agent(0).await;
    assert_eq!(again.host(), host);
    port.until_connected(host, true).await;
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_comes_back_is_not_told_again_what_it_has() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    agent.assignments().await;
    port.cluster.define("web", Resources::new(128, 128)).await;
    port.cluster.propose(service_of("web", 2)).await;
    let mut told = vec![];
    while told.len() < 2 {
        let message = agent.assignments().await;
        assert!(message.tasks.iter().all(|task| !task.spec.is_empty()));
        told.extend(ids(&message));
    }
    drop(agent);
    let report =
        record::encode(RecordKind::TaskReport, &cluster::report(told[0], TaskStatus::Pending)).expect("a record");
    let mut back = Agent::connect(&port.address).await;
    back.send(from_agent::Message::Register(Register {
        task_reports: vec![report],
        ..register(0, "default")
    }))
    .await;
    assert!(matches!(back.next().await, to_agent::Message::Registered(_)));
    let full = back.assignments().await;
    let known = told[0].to_string();
    assert!(full.full && full.tasks.len() == 2);
    assert!(
        full.tasks
            .iter()
            .all(|task| task.spec.is_empty() == (task.task_id == known))
    );
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_foreign_programs_hold_are_those_of_the_last_heartbeat() {
    let port = Port::open().await;
    let agent = port.agent(0).await;
    let host = agent.host();
    let held = HostPort {
        protocol: PortProtocol::Tcp.into(),
        port: 8080,
    };
    let no_port = HostPort {
        protocol: PortProtocol::Tcp.into(),
        port: 70_000,
    };
    for (foreign_ports, known) in [(vec![held, no_port], 1), (vec![], 0)] {
        let heartbeat = Heartbeat {
            sent_at_ms: port.cluster.now().0,
            foreign_ports,
        };
        agent.send(from_agent::Message::Heartbeat(heartbeat)).await;
        let look = |s: &berth_core::state::ClusterState| {
            s.container_instance(host)
                .filter(|h| h.foreign_ports.len() == known)
                .map(|_| ())
        };
        port.cluster.until(&format!("{known} ports are known"), look).await;
    }
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_silent_for_three_intervals_is_recorded_as_disconnected() {
    let port = Port::open().await;
    port.shorten_heartbeats().await;
    let mut agent = port.agent(0).await;
    let host = agent.host();
    let sent_at_ms = port.cluster.now().0;
    agent
        .send(from_agent::Message::Heartbeat(Heartbeat {
            sent_at_ms,
            ..Heartbeat::default()
        }))
        .await;
    agent.has_ended().await;
    port.until_connected(host, false).await;
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeat_is_answered_with_the_settings_as_they_are_now() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    agent.assignments().await;
    let change = HostSettingsChange {
        heartbeat_interval_ms: Some(1_000),
        fence_after_ms: Some(7_000),
        ..HostSettingsChange::default()
    };
    port.cluster.change_host_settings(change).await;
    let sent_at_ms = port.cluster.now().0;
    agent
        .send(from_agent::Message::Heartbeat(Heartbeat {
            sent_at_ms,
            ..Heartbeat::default()
        }))
        .await;
    let to_agent::Message::HostSettings(settings) = agent.next().await else {
        panic!("not the answer to a heartbeat")
    };
    assert_eq!(
        (settings.heartbeat_interval_ms, settings.fence_after_ms),
        (1_000, 7_000)
    );
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_that_never_came_back_after_a_restart_is_recorded_as_disconnected() {
    let port = Port::open().await;
    port.shorten_heartbeats().await;
    let host = port.cluster.register_host(7, "a", Resources::new(1024, 1024)).await;
    port.until_connected(host, false).await;
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_of_an_unknown_cluster_or_version_is_refused_with_the_reason() {
    let port = Port::open().await;
    let mut other_version = register(0, "default");
    other_version.protocol_version = 99;
    let mut unreadable = register(0, "default");
    unreadable.host_description.pop();
    let cases = [
        (register(0, "nowhere"), RefusalCode::ClusterNotFound),
        (other_version, RefusalCode::Version),
        (unreadable, RefusalCode::Invalid),
    ];
    for (register, code) in cases {
        let mut agent = Agent::connect(&port.address).await;
        agent.send(from_agent::Message::Register(register)).await;
        let to_agent::Message::Refused(refused) = agent.next().await else {
            panic!("not refused")
        };
        assert_eq!(refused.code(), code, "{}", refused.message);
        assert!(!refused.message.is_empty());
        agent.has_ended().await;
    }
    assert_eq!(port.cluster.state().all_container_instances().count(), 0);
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_deregistered_is_refused_until_its_agent_is_started_anew() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    agent.assignments().await;
    port.cluster.define("web", Resources::new(128, 128)).await;
    port.cluster.propose(service_of("web", 1)).await;
    assert_eq!(agent.assignments().await.tasks.len(), 1);
    let (container_instance, at) = (agent.host(), port.cluster.now());
    let command = Command::DeregisterContainerInstance {
        container_instance,
        force: true,
        at,
    };
    port.cluster.propose(command).await;
    let told = loop {
        match agent.next().await {
            to_agent::Message::Assignments(_) => {}
            other => break other,
        }
    };
    assert_deregistered(&told);
    let again = |container_instance_arn| {
        from_agent::Message::Register(Register {
            container_instance_arn,
            ..register(0, "default")
        })
    };
    let mut same_run = Agent::connect(&port.address).await;
    let arn = cluster::key().container_instance_arn(container_instance);
    same_run.send(again(arn)).await;
    assert_deregistered(&same_run.next().await);
    let mut new_run = Agent::connect(&port.address).await;
    new_run.send(again(String::new())).await;
    let to_agent::Message::Registered(registered) = new_run.next().await else {
        panic!("not registered")
    };
    assert!(
        !registered
            .container_instance_arn
            .ends_with(&container_instance.to_string())
    );
    port.close().await;
}

fn assert_deregistered(message: &to_agent::Message) {
    let to_agent::Message::Refused(refused) = message else {
        panic!("expected a refusal, got {message:?}")
    };
    assert_eq!(refused.code(), RefusalCode::Deregistered);
    assert!(refused.message.contains("restart its agent"), "{}", refused.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_forgotten_is_removed_from_its_host() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    agent.assignments().await;
    port.cluster.define("job", Resources::new(128, 128)).await;
    let ran = port
        .cluster
        .leader
        .run_tasks(port.cluster.request("job", 1))
        .await
        .expect("placed");
    assert_eq!(ids(&agent.assignments().await), ran.tasks);
    agent.report(1, ran.tasks[0], TaskStatus::Stopped).await;
    agent.next().await;
    agent.next().await;
    let command = Command::Forget {
        tasks: ran.tasks.clone(),
        services: vec![],
        container_instances: vec![],
        clusters: vec![],
    };
    port.cluster.propose(command).await;
    assert_eq!(agent.assignments().await.removed, [ran.tasks[0].to_string()]);
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_of_a_container_is_read_through_the_session_of_its_host() {
    let port = Port::open().await;
    let mut agent = port.agent(0).await;
    agent.assignments().await;
    let query = LogQuery {
        task: TaskId(5),
        container: "main".to_owned(),
        position: None,
        tail: 10,
        max_bytes: 1024,
        wait: Duration::ZERO,
    };
    let (agents, host, asked) = (port.agents.clone(), agent.host(), query.clone());
    let reading = tokio::spawn(async move { agents.fetch_logs(host, asked, PATIENCE).await });
    let to_agent::Message::LogRequest(request) = agent.next().await else {
        panic!("no request")
    };
    assert_eq!((request.container.as_str(), request.tail), ("main", 10));
    let reply = LogReply {
        request_id: request.request_id,
        next_position: "9".to_owned(),
        end: true,
        ..LogReply::default()
    };
    agent.send(from_agent::Message::LogReply(reply)).await;
    let page = reading.await.expect("no panic").expect("a page");
    assert!(page.end && page.next_position == "9");
    let elsewhere = port
        .agents
        .fetch_logs(ContainerInstanceId(1), query.clone(), PATIENCE)
        .await;
    assert_eq!(elsewhere, Err(LogError::NotConnected(ContainerInstanceId(1))));
    let brief = Duration::from_millis(20);
    assert_eq!(
        port.agents.fetch_logs(host, query, brief).await,
        Err(LogError::Timeout(host, brief))
    );
    port.close().await;
}

#[tokio::test]
async fn port_bound_to_all_addresses_is_refused() {
    let cluster = TestCluster::start();
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let refused = agents::start(
        listener,
        cluster.group.clone(),
        Arc::new(SystemClock),
        IdSource::from_seed(3),
        CancellationToken::new(),
    );
    assert!(refused.expect_err("refused").to_string().contains("loopback"));
    cluster.stop().await;
}
