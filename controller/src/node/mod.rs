//! One controller: its store, its member of the Raft group and its servers, started and stopped in order.
//!
//! Owns what runs in a controller's process and for how long. It must not know what any of the parts does. Shell.

mod api_certificate;
mod client_port;
mod cluster;
mod first_certificate;
mod member_file;
mod options;
mod own_thread;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::IdSource;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::administration::ClusterAdministration;
use crate::agents::{self, AgentsHandle};
use crate::api::{Api, ApiOptions, ApiParts, RootCredentials};
use crate::backup::{self, BackupStreams};
use crate::clock::{Clock, SystemClock};
use crate::decisions::DecisionStreams;
use crate::errors::chain;
use crate::peers::{CallsToLeader, PeerNetwork};
use crate::registrar::{self, Registrar};
use crate::replica::{ReplicatedState, StateGroup};
use crate::waker::Waker;
use crate::{features, leader};
use berth_raft::{NoPeers, RaftOptions, ReadError, Role, RunState, Transport};
use berth_storage::SledStorage;

pub use api_certificate::ApiCertificateError;
use client_port::ClientPort;
use cluster::Stops;
pub use first_certificate::FirstCertificateError;
pub use member_file::{MEMBER_FILE, MemberFileError, is_member};
pub use options::{ApiTls, ClusterOptions, ClusterStart, ControllerError, ControllerOptions};
use own_thread::OwnThread;

/// The folder of the store in the data directory.
pub const STORE_FOLDER: &str = "store";

/// How long a leader that is well takes to confirm that it leads: longer than any sync of a disk that works.
const HEALTHY_WITHIN: Duration = Duration::from_secs(8);

/// A controller that runs; dropping it stops it without waiting.
#[derive(Debug)]
pub struct Controller {
    data_dir: PathBuf,
    listen: SocketAddr,
    agent_listen: Option<SocketAddr>,
    cluster_listen: Option<SocketAddr>,
    speaks_tls: bool,
    root: RootCredentials,
    registrar: Registrar,
    group: StateGroup,
    network: Option<PeerNetwork>,
    /// Ends when the group does.
    leader: JoinHandle<()>,
    _leader_thread: OwnThread,
    parts: JoinSet<Result<(), ControllerError>>,
    /// The ports of clients and agents, and what else asks something of the group.
    stops: Stops,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stops.serving.cancel();
        self.stops.peers.cancel();
    }
}

/// What everything else of a controller stands on.
struct Base {
    group: StateGroup,
    registrar: Registrar,
    sessions: AgentsHandle,
    network: Option<PeerNetwork>,
    root: RootCredentials,
    cluster_listen: Option<SocketAddr>,
}

/// Tells how a controller is, for as long as it runs.
#[derive(Clone, Debug)]
pub struct Health {
    group: StateGroup,
}

impl Health {
    /// False if it leads its group and cannot confirm that, so that something in it hangs, such as its disk. That other members
    /// cannot be reached is no fault of its own, and ends its leadership.
    pub async fn is_good(&self) -> bool {
        let read = tokio::time::timeout(HEALTHY_WITHIN, self.group.read()).await;
        matches!(read, Ok(Ok(_))) || self.group.status().role != Role::Leader
    }
}

impl Controller {
    /// Opens the store, becomes a member of its cluster if it is to be one, replays the log and begins to serve.
    ///
    /// # Errors
    /// [`ControllerError`], saying what to do.
    pub async fn start(options: ControllerOptions) -> Result<Self, ControllerError> {
        if matches!(options.api_tls, ApiTls::FromAuthority { .. }) && options.cluster.is_none() {
            return Err(ControllerError::ClientPortNotSecured(options.listen));
        }
        if let Some(schedule) = &options.backups {
            backup::prepare_folder(&schedule.directory).map_err(ControllerError::Backups)?;
        }
        let clients = bind(options.listen, "clients").await?;
        let listen = address(&clients)?;
        let agents = match options.agent_listen {
            Some(wanted) if !wanted.ip().is_loopback() => return Err(ControllerError::AgentPortNotLoopback(wanted)),
            Some(wanted) => Some(bind(wanted, "agents").await?),
            None => None,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (stops, mut parts) = (Stops::default(), JoinSet::new());
        let port = ClientPort::open(clients, &options.api_tls, &stops.serving, &mut parts).await?;
        let base = match &options.cluster {
            Some(cluster) => {
                let member = cluster::start(&options, cluster, Arc::clone(&clock), &port, &stops, &mut parts).await?;
                Base {
                    group: member.group,
                    registrar: member.registrar,
                    sessions: member.sessions,
                    network: Some(member.network),
                    root: member.root,
                    cluster_listen: Some(member.listen),
                }
            }
            None => alone(&options, Arc::clone(&clock), &port, &stops, &mut parts).await?,
        };
        let agent_listen = agents.as_ref().map(address).transpose()?;
        if let Some(agents) = agents {
            let serving = agents::serve_plain(agents, base.sessions.service(), stops.serving.clone());
            parts.spawn(async move { Ok(serving.await?) });
        }
        port.secure(&base.registrar, &mut parts)?;
        let leader_thread = OwnThread::start("leader").map_err(ControllerError::Thread)?;
        let leader = serve_clients(&options, &base, &port, clock, &stops, &leader_thread, &mut parts)?;
        Ok(Self {
            data_dir: options.data_dir,
            listen,
            agent_listen,
            cluster_listen: base.cluster_listen,
            speaks_tls: options.api_tls != ApiTls::Plain,
            root: base.root,
            registrar: base.registrar,
            group: base.group,
            network: base.network,
            leader,
            _leader_thread: leader_thread,
            parts,
            stops,
        })
    }

    /// Tells how it is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            group: self.group.clone(),
        }
    }

    /// Where clients reach it.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where agents reach it without TLS, if they do.
    #[must_use]
    pub fn agent_listen(&self) -> Option<SocketAddr> {
        self.agent_listen
    }

    /// Where members and agents reach it, if it is a member of a cluster.
    #[must_use]
    pub fn cluster_listen(&self) -> Option<SocketAddr> {
        self.cluster_listen
    }

    /// The root user's key.
    #[must_use]
    pub fn root(&self) -> &RootCredentials {
        &self.root
    }

    /// Whether clients reach it over TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.speaks_tls
    }

    /// What changes who belongs to its cluster.
    #[must_use]
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// Its member of the Raft group, with the state.
    #[must_use]
    pub fn group(&self) -> &StateGroup {
        &self.group
    }

    /// The id of its member of the Raft group.
    #[must_use]
    pub fn member_id(&self) -> u64 {
        self.group.identity().member_id
    }

    /// Waits until a part ends that should not.
    pub async fn failed(&mut self) -> ControllerError {
        let ended = tokio::select! {
            ended = self.parts.join_next() => ended,
            ended = &mut self.leader => Some(ended.map(Ok)),
            () = removed(self.network.as_ref()) => return ControllerError::MemberRemoved(self.data_dir.clone()),
        };
        if self.group.status().run == RunState::Removed {
            return ControllerError::MemberRemoved(self.data_dir.clone());
        }
        match ended {
            Some(Ok(Ok(()))) | None => ControllerError::Ended("a part of the controller ended".to_owned()),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => ControllerError::Ended(format!("a part of the controller failed: {error}")),
        }
    }

    /// Lets requests under way end, hands leadership over if it leads and there is anyone, then closes the store.
    pub async fn stop(mut self) {
        self.stops.serving.cancel();
        // The connections to other members must outlive the hand-over.
        if let RunState::Failed(why) = self.group.shutdown().await {
            tracing::warn!(%why, "the Raft group failed while it stopped");
        }
        self.stops.peers.cancel();
        while let Some(ended) = self.parts.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(error = %chain(&error), "a part of the controller failed while it stopped");
            }
        }
        if !self.leader.is_finished() && (&mut self.leader).await.is_err() {
            tracing::warn!("the leader's loop failed while it stopped");
        }
    }
}

/// Waits until another member says that this one was removed; for ever where there are no others.
async fn removed(network: Option<&PeerNetwork>) {
    match network {
        Some(network) => network.removed().await,
        None => std::future::pending().await,
    }
}

/// A controller that is no member of a cluster.
async fn alone(
    options: &ControllerOptions,
    clock: Arc<dyn Clock>,
    port: &ClientPort,
    stops: &Stops,
    parts: &mut JoinSet<Result<(), ControllerError>>,
) -> Result<Base, ControllerError> {
    let root = options.root.clone().ok_or(ControllerError::NoRootKey)?;
    let group = open_group(&options.data_dir, RaftOptions::default(), NoPeers).await?;
    caught_up(&group, &options.data_dir).await?;
    if registrar::authorities(&group.view().view)
        .map_err(registrar::RegistrarError::from)?
        .is_some()
    {
        return Err(ControllerError::StateOfCluster(options.data_dir.clone()));
    }
    features::raise(&group).await;
    let registrar = Registrar::new(group.clone(), Arc::clone(&clock));
    let account = Some(root.account.clone());
    let (sessions, helpers) = agents::begin(group.clone(), clock, ids()?, account, stops.serving.clone());
    port.watch(&group, &sessions);
    parts.spawn(async move {
        let ended = helpers.await;
        ended.map_err(|error| ControllerError::Ended(format!("a part of the server for agents failed: {error}")))
    });
    Ok(Base {
        group,
        registrar,
        sessions,
        network: None,
        root,
        cluster_listen: None,
    })
}

/// Starts the leader's loop and the schedule of backups, and serves clients.
fn serve_clients(
    options: &ControllerOptions,
    base: &Base,
    port: &ClientPort,
    clock: Arc<dyn Clock>,
    stops: &Stops,
    leader_thread: &OwnThread,
    parts: &mut JoinSet<Result<(), ControllerError>>,
) -> Result<JoinHandle<()>, ControllerError> {
    let (group, stop) = (&base.group, &stops.serving);
    if let Some(schedule) = options.backups.clone() {
        let writing = backup::run_schedule(group.clone(), Arc::clone(&clock), schedule, stop.clone());
        parts.spawn(async move {
            writing.await;
            Ok(())
        });
    }
    if let Some(command) = options.wake_command.clone() {
        let waking = Waker::new(group.clone(), Arc::clone(&clock), command).run(stop.clone());
        parts.spawn(async move {
            waking.await;
            Ok(())
        });
    }
    let wakes_hosts = options.wake_command.is_some();
    let (runner, leader) = leader::start(
        group.clone(),
        Arc::clone(&clock),
        ids()?,
        wakes_hosts,
        leader_thread.runtime(),
    );
    let api_parts = ApiParts {
        replica: Arc::new(group.clone()),
        runner: Arc::new(runner),
        logs: Arc::new(base.sessions.clone()),
        ecs_agents: Arc::new(base.sessions.clone()),
        backups: Arc::new(BackupStreams::new(group.clone(), Arc::clone(&clock))),
        decisions: Arc::new(DecisionStreams::new(group.clone())),
        events: group.events().clone(),
        leader_calls: Arc::new(CallsToLeader::new(group.clone(), base.network.clone())),
        administration: Arc::new(ClusterAdministration {
            group: group.clone(),
            registrar: base.registrar.clone(),
            network: base.network.clone(),
        }),
        clock,
        ids: ids()?,
        metrics: group.metrics().clone(),
    };
    let api_options = ApiOptions {
        root: base.root.clone(),
        testing: options.testing,
        wakes_hosts,
    };
    let api = Arc::new(Api::new(api_options, api_parts));
    if let Some(network) = &base.network {
        network.answer_with(Arc::clone(&api));
    }
    port.serve(api);
    Ok(leader)
}

/// Whether a data directory has a store.
#[must_use]
pub fn has_store(data_dir: &Path) -> bool {
    data_dir.join(STORE_FOLDER).exists()
}

/// Removes the store of a member that has promised nothing yet.
fn remove_store(data_dir: &Path) -> Result<(), ControllerError> {
    let path = data_dir.join(STORE_FOLDER);
    std::fs::remove_dir_all(&path).map_err(|error| {
        let path = path.display();
        ControllerError::Ended(format!(
            "{path}, where a member was begun and not finished, cannot be removed: {error}"
        ))
    })
}

/// Opens the store of a data directory, and the member of the group in it.
async fn open_group(
    data_dir: &Path,
    options: RaftOptions,
    transport: impl Transport,
) -> Result<StateGroup, ControllerError> {
    let path = data_dir.join(STORE_FOLDER);
    // Opening reads the disk, so it gets a thread that may block.
    let starting = tokio::task::spawn_blocking(move || {
        let store = SledStorage::open(&path)?;
        let machine = ReplicatedState::default();
        Ok(StateGroup::start_with(Arc::new(store), machine, options, transport)?)
    });
    starting
        .await
        .unwrap_or_else(|error| Err(ControllerError::Ended(format!("opening the store failed: {error}"))))
}

/// Waits until this member has replayed its log and the group has a leader, so that nobody who comes early is sent away.
async fn caught_up(group: &StateGroup, data_dir: &Path) -> Result<(), ControllerError> {
    loop {
        match group.read().await {
            Ok(_) => return Ok(()),
            Err(error @ ReadError::Timeout { .. }) => tracing::warn!(%error, "the controller does not serve yet"),
            Err(_) if group.status().run == RunState::Removed => {
                return Err(ControllerError::MemberRemoved(data_dir.to_owned()));
            }
            Err(error @ (ReadError::Overloaded | ReadError::Stopped)) => {
                return Err(ControllerError::Ended(format!("the controller cannot serve: {error}")));
            }
        }
    }
}

async fn bind(wanted: SocketAddr, what: &'static str) -> Result<TcpListener, ControllerError> {
    TcpListener::bind(wanted)
        .await
        .map_err(|source| ControllerError::Listen {
            address: wanted,
            what,
            source,
        })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ControllerError> {
    listener
        .local_addr()
        .map_err(|error| ControllerError::Ended(format!("a listener has no address: {error}")))
}

fn ids() -> Result<IdSource, ControllerError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| ControllerError::Random(error.to_string()))?;
    Ok(IdSource::from_seed(u64::from_le_bytes(seed)))
}

#[cfg(test)]
mod tests {
    use berth_core::model::AccountId;

    use super::*;
    use crate::api::RootCredentials;
    use crate::backup::ScheduleOptions;

    fn options(data_dir: PathBuf) -> ControllerOptions {
        let root = RootCredentials {
            account: AccountId::from("123456789012"),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        ControllerOptions {
            data_dir,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            agent_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            cluster: None,
            root: Some(root),
            api_tls: ApiTls::Plain,
            testing: false,
            wake_command: None,
            backups: None,
        }
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("berth-node-{name}-{}", std::process::id()))
    }

    #[tokio::test]
    async fn controller_stopped_can_be_started_again_on_its_data() {
        let data_dir = directory("again");
        for _ in 0..2 {
            let controller = Controller::start(options(data_dir.clone())).await.expect("started");
            assert_ne!(controller.listen().port(), 0);
            controller.stop().await;
        }
        std::fs::remove_dir_all(data_dir).expect("removed");
    }

    #[tokio::test]
    async fn controller_with_an_open_agent_port_is_refused() {
        let mut wanted = options(directory("open"));
        wanted.agent_listen = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
        let error = Controller::start(wanted).await.expect_err("refused");
        assert!(error.to_string().contains("loopback"), "{error}");
    }

    #[tokio::test]
    async fn controller_whose_folder_for_backups_is_on_a_disk_that_is_not_mounted_does_not_start() {
        let mut wanted = options(directory("unmounted"));
        let directory = wanted.data_dir.join("mnt/backups");
        wanted.backups = Some(ScheduleOptions {
            directory: directory.clone(),
            every: Duration::from_secs(3600),
            keep: 1,
        });
        let error = Controller::start(wanted.clone()).await.expect_err("refused");
        assert!(crate::errors::chain(&error).contains("mount that"), "{error}");
        assert!(!wanted.data_dir.exists(), "nothing was written");
    }

    #[tokio::test]
    async fn controller_on_a_port_in_use_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut wanted = options(directory("taken"));
        wanted.listen = taken.local_addr().expect("its address");
        let error = Controller::start(wanted.clone()).await.expect_err("refused");
        assert!(error.to_string().contains(&wanted.listen.to_string()), "{error}");
    }
}
