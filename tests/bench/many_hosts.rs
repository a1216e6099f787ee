//! Many agents in one process, as light sessions: they register their hosts, take assignments, report tasks and send heartbeats as
//! `proto/berth/v1/agent.proto` says and as real agents do, and run nothing. `many-hosts CLUSTER HOSTS ENDPOINT...`, the account and the
//! region in `BERTH_ACCOUNT` and `AWS_REGION`; endpoints are those of controllers that take agents without TLS. Prints once a second how many
//! sessions there are, what became of their tasks and how many sessions were lost, until it is killed.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use berth_core::model::{
    Attributes, ContainerReport, ContainerStatus, HostDescription, Resources, TaskId, TaskReport, TaskSpec, TaskStatus,
    Timestamp,
};
use berth_proto::record::{self, RecordKind};
use berth_proto::v1::agent_sessions_client::AgentSessionsClient;
use berth_proto::v1::{
    AssignedStatus, AssignedTask, Assignments, FromAgent, Heartbeat, ProtocolVersion, Register, TaskReports, ToAgent,
    from_agent, to_agent,
};
use berth_tests::requests::environment;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Sessions that share a connection; a controller allows 200 on one.
const SESSIONS_PER_CHANNEL: usize = 100;

/// Sessions that open at a time.
const OPENING_AT_ONCE: usize = 200;

/// How long a controller may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Longest pause before a session that was lost or refused is tried again; the hosts are spread over it.
const PAUSE_MS: u64 = 2_000;

/// From the report that a task is on its way until it runs: what an image that is there and a container take.
const START_MS: u64 = 200;

/// How long changes are gathered before they are sent, and how many go into a batch, as real agents do.
const GATHER: Duration = Duration::from_millis(20);
const MAX_BATCH: usize = 500;

/// Intervals of silence after which a session is given up, as real agents do.
const MISSED_INTERVALS: u32 = 3;

/// Zones over which the hosts are spread.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// What each host offers.
const CAPACITY: (u32, u32) = (16_384, 65_536);

/// What is counted over all hosts.
#[derive(Default)]
struct Counts {
    sessions: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    running: AtomicU64,
    stopped: AtomicU64,
    reports: AtomicU64,
    heartbeats: AtomicU64,
}

/// What all hosts share.
struct Fleet {
    cluster: String,
    account: String,
    region: String,
    endpoints: Vec<String>,
    /// By endpoint, then by group of hosts.
    channels: Vec<Vec<Channel>>,
    opening: Semaphore,
    counts: Counts,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cluster, hosts, endpoints @ ..] = arguments.as_slice() else {
        bail!("usage: many-hosts CLUSTER HOSTS ENDPOINT...");
    };
    ensure!(!endpoints.is_empty(), "usage: many-hosts CLUSTER HOSTS ENDPOINT...");
    let hosts: usize = hosts.parse()?;
    let mut channels = vec![];
    for endpoint in endpoints {
        let endpoint = Endpoint::from_shared(endpoint.clone())?
            .tcp_nodelay(true)
            .initial_connection_window_size(1 << 20)
            .connect_timeout(ANSWER_WITHIN);
        let groups = hosts.div_ceil(SESSIONS_PER_CHANNEL);
        channels.push((0..groups).map(|_| endpoint.connect_lazy()).collect());
    }
    let fleet = Arc::new(Fleet {
        cluster: cluster.clone(),
        account: environment("BERTH_ACCOUNT")?,
        region: environment("AWS_REGION")?,
        endpoints: endpoints.to_vec(),
        channels,
        opening: Semaphore::new(OPENING_AT_ONCE),
        counts: Counts::default(),
    });
    for number in 0..hosts {
        tokio::spawn(Host::new(number, Arc::clone(&fleet)).live());
    }
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        println!("{}", fleet.counts.line());
    }
}

impl Counts {
    fn line(&self) -> String {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "sessions={} lost={} refused={} running={} stopped={} reports={} heartbeats={}",
            read(&self.sessions),
            read(&self.lost),
            read(&self.refused),
            read(&self.running),
            read(&self.stopped),
            read(&self.reports),
            read(&self.heartbeats),
        )
    }
}

/// A task as its host has it.
struct HostTask {
    containers: Vec<String>,
    status: TaskStatus,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
}

/// A host and its agent.
struct Host {
    number: usize,
    fleet: Arc<Fleet>,
    /// Which of the endpoints it goes to.
    endpoint: usize,
    arn: String,
    tasks: BTreeMap<TaskId, HostTask>,
    /// Tasks that begin to run at a time.
    starting: BTreeSet<(Instant, TaskId)>,
    /// Tasks whose report is not recorded, as far as is known.
    unrecorded: BTreeSet<TaskId>,
}

/// The open ends of a session, and what waits for an answer in it.
struct Wire {
    outgoing: mpsc::Sender<FromAgent>,
    incoming: Streaming<ToAgent>,
    sequence: u64,
    /// The batch that is not recorded yet: each task with the status reported.
    batch: Vec<(TaskId, TaskStatus)>,
    /// When the next batch goes out.
    send_at: Option<Instant>,
}

impl Host {
    fn new(number: usize, fleet: Arc<Fleet>) -> Self {
        Self {
            number,
            fleet,
            endpoint: 0,
            arn: String::new(),
            tasks: BTreeMap::new(),
            starting: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
        }
    }

    /// Holds one session after the other.
    async fn live(mut self) {
        let fleet = Arc::clone(&self.fleet);
        loop {
            let opened = match fleet.opening.acquire().await {
                Ok(_permit) => tokio::time::timeout(ANSWER_WITHIN, self.open()).await,
                Err(_) => return,
            };
            match opened {
                Ok(Ok((wire, heartbeat))) => {
                    fleet.counts.sessions.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = self.converse(wire, heartbeat).await {
                        self.tell(&error);
                    }
                    fleet.counts.sessions.fetch_sub(1, Ordering::Relaxed);
                    fleet.counts.lost.fetch_add(1, Ordering::Relaxed);
                }
                refused => {
                    fleet.counts.refused.fetch_add(1, Ordering::Relaxed);
                    self.endpoint = (self.endpoint + 1) % fleet.endpoints.len();
                    if let Ok(Err(error)) = refused {
                        self.tell(&error);
                    }
                }
            }
            // A fixed share of the pause for each host, so that they do not come back all at once.
            let share = (self.number as u64).wrapping_mul(2_654_435_761) % PAUSE_MS;
            tokio::time::sleep(Duration::from_millis(share)).await;
        }
    }

    /// One host speaks for all that are in the same plight.
    fn tell(&self, error: &anyhow::Error) {
        if self.number.is_multiple_of(1_000) {
            println!("host {}: {error:#}", self.number);
        }
    }

    async fn open(&mut self) -> Result<(Wire, Interval)> {
        let channel = self.fleet.channels[self.endpoint][self.number / SESSIONS_PER_CHANNEL].clone();
        let mut client = AgentSessionsClient::new(channel).max_decoding_message_size(32 << 20);
        let (outgoing, queue) = mpsc::channel(16);
        send(&outgoing, from_agent::Message::Register(self.register()?)).await?;
        let mut incoming = client.session(ReceiverStream::new(queue)).await?.into_inner();
        let answer = incoming.message().await?.context("no answer to the registration")?;
        let registered = match answer.message {
            Some(to_agent::Message::Registered(registered)) => registered,
            Some(to_agent::Message::Refused(refused)) => bail!("refused: {}", refused.message),
            other => bail!("not an answer to a registration: {other:?}"),
        };
        self.arn = registered.container_instance_arn;
        let interval_ms = registered.host_settings.context("no settings")?.heartbeat_interval_ms;
        let wire = Wire {
            outgoing,
            incoming,
            sequence: 0,
            batch: vec![],
            send_at: None,
        };
        Ok((wire, heartbeat(interval_ms)))
    }

    fn register(&self) -> Result<Register> {
        let zone = ZONES[self.number % ZONES.len()];
        let attributes = [
            ("ecs.availability-zone", zone),
            ("ecs.os-type", "linux"),
            ("ecs.cpu-architecture", "x86_64"),
            ("rack", ["r1", "r2", "r3", "r4"][self.number / 3 % 4]),
        ];
        let attributes: Attributes = attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
            .collect();
        let host = HostDescription {
            host_name: format!("host-{}", self.number),
            capacity: Resources::new(CAPACITY.0, CAPACITY.1),
            attributes,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_version: "simulated".to_owned(),
            capacity_provider: None,
            ecs_agent: None,
        };
        let reports: Result<Vec<_>> = self.tasks.keys().filter_map(|id| self.report(*id)).collect();
        Ok(Register {
            protocol_version: ProtocolVersion::ProtocolVersion1.into(),
            agent_id: format!("many-hosts-{:06}", self.number),
            account: self.fleet.account.clone(),
            region: self.fleet.region.clone(),
            cluster: self.fleet.cluster.clone(),
            host_description: record::encode(RecordKind::HostDescription, &host)?,
            task_reports: reports?,
            container_instance_arn: self.arn.clone(),
        })
    }

    async fn converse(&mut self, mut wire: Wire, mut heartbeat: Interval) -> Result<()> {
        let mut heard = Instant::now();
        if !self.unrecorded.is_empty() {
            wire.send_at = Some(Instant::now());
        }
        loop {
            let silence = heartbeat.period() * MISSED_INTERVALS;
            let next_start = self.starting.first().map(|(at, _)| *at);
            let send_at = wire.send_at.filter(|_| wire.batch.is_empty());
            tokio::select! {
                message = wire.incoming.message() => {
                    heard = Instant::now();
                    match message?.context("the controller has ended the session")?.message {
                        Some(to_agent::Message::Assignments(assignments)) => self.take(&assignments, &mut wire)?,
                        Some(to_agent::Message::ReportsRecorded(recorded)) => {
                            if recorded.sequence >= wire.sequence {
                                self.recorded(&mut wire);
                            }
                        }
                        Some(to_agent::Message::HostSettings(settings)) => {
                            let told = self::heartbeat(settings.heartbeat_interval_ms);
                            if told.period() != heartbeat.period() {
                                heartbeat = told;
                                heartbeat.reset();
                            }
                        }
                        Some(to_agent::Message::Refused(refused)) => bail!("refused: {}", refused.message),
                        // None of its hosts can sleep or shuts down.
                        Some(
                            to_agent::Message::Registered(_)
                            | to_agent::Message::LogRequest(_)
                            | to_agent::Message::Sleep(_)
                            | to_agent::Message::ShutdownNoted(_),
                        )
                        | None => {}
                    }
                }
                _ = heartbeat.tick() => {
                    self.fleet.counts.heartbeats.fetch_add(1, Ordering::Relaxed);
                    let beat = Heartbeat { sent_at_ms: now().0, foreign_ports: vec![] };
                    send(&wire.outgoing, from_agent::Message::Heartbeat(beat)).await?;
                }
                () = until(next_start) => self.run_those_due(&mut wire),
                () = until(send_at) => self.send_reports(&mut wire).await?,
                () = tokio::time::sleep_until(heard + silence) => bail!("the controller is silent"),
            }
        }
    }

    fn take(&mut self, assignments: &Assignments, wire: &mut Wire) -> Result<()> {
        if assignments.full {
            let all: BTreeSet<&str> = assignments.tasks.iter().map(|task| task.task_id.as_str()).collect();
            let gone: Vec<TaskId> = self
                .tasks
                .keys()
                .copied()
                .filter(|id| !all.contains(id.to_string().as_str()))
                .collect();
            gone.into_iter().for_each(|id| self.forget(id));
        }
        for removed in &assignments.removed {
            self.forget(removed.parse()?);
        }
        for task in &assignments.tasks {
            self.take_task(task, wire)?;
        }
        Ok(())
    }

    fn take_task(&mut self, assigned: &AssignedTask, wire: &mut Wire) -> Result<()> {
        let id: TaskId = assigned.task_id.parse()?;
        let wanted = assigned.desired_status() == AssignedStatus::Running;
        if let Some(task) = self.tasks.get_mut(&id) {
            if !wanted && task.status != TaskStatus::Stopped {
                if task.status == TaskStatus::Running {
                    self.fleet.counts.running.fetch_sub(1, Ordering::Relaxed);
                }
                self.fleet.counts.stopped.fetch_add(1, Ordering::Relaxed);
                task.status = TaskStatus::Stopped;
                task.stopped_at = Some(now());
                self.starting.retain(|(_, starting)| *starting != id);
                self.changed(id, wire);
            }
            return Ok(());
        }
        if assigned.spec.is_empty() {
            return Ok(());
        }
        let spec: TaskSpec = record::decode(RecordKind::TaskSpec, &assigned.spec)?;
        let task = HostTask {
            containers: spec.containers.into_iter().map(|container| container.name).collect(),
            status: if wanted {
                TaskStatus::Pending
            } else {
                TaskStatus::Stopped
            },
            created_at: now(),
            started_at: None,
            stopped_at: (!wanted).then(now),
        };
        self.tasks.insert(id, task);
        if wanted {
            self.starting
                .insert((Instant::now() + Duration::from_millis(START_MS), id));
        }
        self.changed(id, wire);
        Ok(())
    }

    fn forget(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.remove(&id) {
            let count = match task.status {
                TaskStatus::Running => &self.fleet.counts.running,
                TaskStatus::Stopped => &self.fleet.counts.stopped,
                _ => return,
            };
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.starting.retain(|(_, starting)| *starting != id);
        self.unrecorded.remove(&id);
    }

    fn run_those_due(&mut self, wire: &mut Wire) {
        let now_due = Instant::now();
        while let Some((at, id)) = self.starting.first().copied()
            && at <= now_due
        {
            self.starting.pop_first();
            if let Some(task) = self.tasks.get_mut(&id) {
                task.status = TaskStatus::Running;
                task.started_at = Some(now());
                self.fleet.counts.running.fetch_add(1, Ordering::Relaxed);
                self.changed(id, wire);
            }
        }
    }

    fn changed(&mut self, id: TaskId, wire: &mut Wire) {
        self.unrecorded.insert(id);
        wire.send_at.get_or_insert_with(|| Instant::now() + GATHER);
    }

    async fn send_reports(&mut self, wire: &mut Wire) -> Result<()> {
        let ids: Vec<TaskId> = self.unrecorded.iter().copied().take(MAX_BATCH).collect();
        let reports: Result<Vec<_>> = ids.iter().filter_map(|id| self.report(*id)).collect();
        let reports = reports?;
        wire.send_at = None;
        if reports.is_empty() {
            return Ok(());
        }
        wire.sequence += 1;
        wire.batch = ids
            .iter()
            .filter_map(|id| Some((*id, self.tasks.get(id)?.status)))
            .collect();
        self.fleet
            .counts
            .reports
            .fetch_add(reports.len() as u64, Ordering::Relaxed);
        let message = TaskReports {
            sequence: wire.sequence,
            reports,
        };
        send(&wire.outgoing, from_agent::Message::TaskReports(message)).await
    }

    fn recorded(&mut self, wire: &mut Wire) {
        for (id, status) in wire.batch.drain(..) {
            if self.tasks.get(&id).is_none_or(|task| task.status == status) {
                self.unrecorded.remove(&id);
            }
        }
        if !self.unrecorded.is_empty() {
            wire.send_at.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    fn report(&self, id: TaskId) -> Option<Result<Vec<u8>>> {
        let task = self.tasks.get(&id)?;
        let status = match task.status {
            TaskStatus::Running => ContainerStatus::Running,
            TaskStatus::Stopped => ContainerStatus::Stopped,
            _ => ContainerStatus::Pending,
        };
        let containers = task.containers.iter().map(|name| ContainerReport {
            name: name.clone(),
            status,
            image_digest: task.started_at.map(|_| format!("sha256:{:064x}", 0xbe87)),
            runtime_id: task.started_at.map(|_| format!("{id}-{name}")),
            exit_code: task.stopped_at.map(|_| 143),
            reason: None,
            network_bindings: vec![],
            health: None,
        });
        let report = TaskReport {
            task: id,
            status: task.status,
            containers: containers.collect(),
            pull_started_at: Some(task.created_at),
            pull_stopped_at: task.started_at.map(|_| task.created_at),
            started_at: task.started_at,
            execution_stopped_at: task.stopped_at,
            stopped_at: task.stopped_at,
            stop_code: None,
            stopped_reason: None,
            health: None,
            network_interface: None,
        };
        Some(record::encode(RecordKind::TaskReport, &report).map_err(Into::into))
    }
}

fn heartbeat(interval_ms: u32) -> Interval {
    let mut beats = tokio::time::interval(Duration::from_millis(u64::from(interval_ms.max(50))));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn send(outgoing: &mpsc::Sender<FromAgent>, message: from_agent::Message) -> Result<()> {
    let message = FromAgent { message: Some(message) };
    outgoing
        .send(message)
        .await
        .context("the controller has ended the session")
}
