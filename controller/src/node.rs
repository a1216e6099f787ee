//! One controller: its store, its member of the Raft group and its servers, started and stopped in order.
//!
//! Owns what runs in a controller's process and for how long. It must not know what any of the parts does. Shell.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::IdSource;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::agents::{self, AgentsError};
use crate::api::{self, Api, ApiOptions, ApiParts, ServeError};
use crate::backup::{self, BackupStreams, ScheduleOptions};
use crate::clock::{Clock, SystemClock};
use crate::features;
use crate::leader;
use crate::monitoring;
use crate::replica::{ReplicatedState, StateGroup};
use berth_raft::{RaftFault, RaftOptions, ReadError, Role, RunState};
use berth_storage::{SledStorage, StorageError};

/// The folder of the store in the data directory.
pub(crate) const STORE_FOLDER: &str = "store";

/// How long a leader that is well takes to confirm that it leads: longer than any sync of a disk that works.
const HEALTHY_WITHIN: Duration = Duration::from_secs(8);

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// Where its state is kept.
    pub data_dir: PathBuf,
    /// Where clients reach the AWS-compatible API.
    pub listen: SocketAddr,
    /// Where agents reach it; a loopback address, since agents do not authenticate themselves yet.
    pub agent_listen: SocketAddr,
    /// How the API behaves.
    pub api: ApiOptions,
    /// When backups are written by themselves, if at all.
    pub backups: Option<ScheduleOptions>,
}

/// Why a controller cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Something else has the port, or the address is not this machine's.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// Who would connect there.
        what: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The port for agents would be open to other machines.
    #[error(
        "--agent-listen {0} is not a loopback address: agents do not authenticate themselves yet, so their port must not be \
         reachable from other machines"
    )]
    AgentPortNotLoopback(SocketAddr),
    /// The store does not open.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The stored state cannot be used.
    #[error("cannot start from the stored state")]
    Raft(#[from] RaftFault),
    /// The operating system gave no random bytes, which ids are drawn from.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
    /// The API server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Agents cannot be served.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// A part ended that should run for as long as the controller.
    #[error("{0}")]
    Ended(String),
}

/// A controller that runs; dropping it stops it without waiting.
#[derive(Debug)]
pub struct Controller {
    listen: SocketAddr,
    agent_listen: SocketAddr,
    group: StateGroup,
    /// Ends when the group does.
    leader: JoinHandle<()>,
    parts: JoinSet<Result<(), ControllerError>>,
    stop: CancellationToken,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.cancel();
    }
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
    /// Opens the store, replays the log and begins to serve.
    ///
    /// # Errors
    /// [`ControllerError`], saying what to do.
    pub async fn start(options: ControllerOptions) -> Result<Self, ControllerError> {
        if !options.agent_listen.ip().is_loopback() {
            return Err(ControllerError::AgentPortNotLoopback(options.agent_listen));
        }
        let clients = bind(options.listen, "clients").await?;
        let agents = bind(options.agent_listen, "agents").await?;
        let group = start_group(&options).await?;
        caught_up(&group).await?;
        features::raise(&group).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        let (listen, agent_listen) = (address(&clients)?, address(&agents)?);
        let (sessions, serving) = agents::start(agents, group.clone(), Arc::clone(&clock), ids()?, stop.clone())?;
        parts.spawn(async move {
            let ended = serving.await;
            let ended = ended.map_err(|error| ControllerError::Ended(format!("serving agents failed: {error}")))?;
            Ok(ended?)
        });
        if let Some(schedule) = options.backups {
            let writing = backup::run_schedule(group.clone(), Arc::clone(&clock), schedule, stop.clone());
            parts.spawn(async move {
                writing.await;
                Ok(())
            });
        }
        let (runner, leader) = leader::start(group.clone(), Arc::clone(&clock), ids()?);
        let api_parts = ApiParts {
            replica: Arc::new(group.clone()),
            runner: Arc::new(runner),
            logs: Arc::new(sessions.clone()),
            backups: Arc::new(BackupStreams::new(group.clone(), Arc::clone(&clock))),
            clock,
            ids: ids()?,
            metrics: group.metrics().clone(),
        };
        let routes = monitoring::routes(group.clone(), sessions);
        let api = Api::new(options.api, api_parts);
        let stopping = stop.clone();
        parts.spawn(async move { Ok(api::serve(clients, Arc::new(api), routes, stopping).await?) });
        Ok(Self {
            listen,
            agent_listen,
            group,
            leader,
            parts,
            stop,
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

    /// Where agents reach it.
    #[must_use]
    pub fn agent_listen(&self) -> SocketAddr {
        self.agent_listen
    }

    /// Waits until a part ends that should not.
    pub async fn failed(&mut self) -> ControllerError {
        let ended = tokio::select! {
            ended = self.parts.join_next() => ended,
            ended = &mut self.leader => Some(ended.map(Ok)),
        };
        match ended {
            Some(Ok(Ok(()))) | None => ControllerError::Ended("a part of the controller ended".to_owned()),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => ControllerError::Ended(format!("a part of the controller failed: {error}")),
        }
    }

    /// Lets requests under way end, then closes the store.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.parts.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(error = %chain(&error), "a part of the controller failed while it stopped");
            }
        }
        if let RunState::Failed(why) = self.group.shutdown().await {
            tracing::warn!(%why, "the Raft group failed while it stopped");
        }
        if !self.leader.is_finished() && (&mut self.leader).await.is_err() {
            tracing::warn!("the leader's loop failed while it stopped");
        }
    }
}

async fn start_group(options: &ControllerOptions) -> Result<StateGroup, ControllerError> {
    let path = options.data_dir.join(STORE_FOLDER);
    // Opening reads the disk, so it gets a thread that may block.
    let starting = tokio::task::spawn_blocking(move || {
        let store = SledStorage::open(&path)?;
        Ok(StateGroup::start(
            Arc::new(store),
            ReplicatedState::default(),
            RaftOptions::default(),
        )?)
    });
    starting
        .await
        .unwrap_or_else(|error| Err(ControllerError::Ended(format!("opening the store failed: {error}"))))
}

/// Waits until this member has replayed its log and the group has a leader, so that nobody who comes early is sent away.
async fn caught_up(group: &StateGroup) -> Result<(), ControllerError> {
    loop {
        match group.read().await {
            Ok(_) => return Ok(()),
            Err(error @ ReadError::Timeout { .. }) => tracing::warn!(%error, "the controller does not serve yet"),
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

/// An error with all of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use berth_core::model::AccountId;

    use super::*;
    use crate::api::RootCredentials;

    fn options(data_dir: PathBuf) -> ControllerOptions {
        let root = RootCredentials {
            account: AccountId::from("123456789012"),
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        ControllerOptions {
            data_dir,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            agent_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            api: ApiOptions { root, testing: false },
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
        wanted.agent_listen = SocketAddr::from(([0, 0, 0, 0], 0));
        let error = Controller::start(wanted).await.expect_err("refused");
        assert!(error.to_string().contains("loopback"), "{error}");
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
