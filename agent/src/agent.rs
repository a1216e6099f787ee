//! An agent, put together: ledger, supervisor and session, started and stopped as one.
//!
//! Usable alone in a process and many at a time in one. Shell.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::AgentId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::controllers::{AddressError, Controllers, Scheme};
use crate::departure::Departure;
use crate::dialer::Dialer;
use crate::fence::Fence;
use crate::foreign_ports::ForeignPorts;
use crate::host;
use crate::ledger::{Contents, Ledger, LedgerError};
use crate::log_source::LogSource;
use crate::membership::{self, Begun, Membership, MembershipError};
use crate::reports::ReportBoard;
use crate::runtime::Runtime;
use crate::session::{End, Session};
use crate::supervisor::{ORDER_QUEUE, Order, Supervisor, Tools};

/// Why an agent could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// What the agent does would not be remembered.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No controller is named.
    #[error("no address of a controller is given; name at least one")]
    NoController,
    /// A controller's address cannot be gone to.
    #[error("{0}")]
    Address(String),
    /// The agent is not part of a cluster.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The host is no longer one of the cluster; its tasks have been stopped.
    #[error(
        "this host was removed from the cluster, and has stopped its tasks: {0}. To bring it back, make a token with `berth token create \
         --role agent` and start the agent with it"
    )]
    Removed(String),
    /// The host was started for another account than that of the cluster; its tasks run on.
    #[error("the cluster does not take this host: {0}")]
    OtherAccount(String),
    /// The operating system has no randomness for the agent's identity.
    #[error("an identity for the agent cannot be drawn: {0}")]
    Identity(getrandom::Error),
    /// The machine does not say which boot it is in.
    #[error(
        "it cannot be told when this machine was booted, without which the agent cannot count how long it is cut off"
    )]
    Boot(#[source] std::io::Error),
    /// The ledger has failed while the agent ran.
    #[error("the agent's ledger has failed, as was logged; its containers run on, and the next start takes them up")]
    LedgerFailed,
    /// A part of the agent has panicked.
    #[error("the agent has failed")]
    Failed(#[from] tokio::task::JoinError),
}

/// An agent that runs one host.
#[derive(Debug)]
pub struct Agent;

/// A running agent.
#[derive(Debug)]
pub struct AgentHandle {
    orders: mpsc::Sender<Order>,
    board: Arc<ReportBoard>,
    registration: watch::Receiver<Option<String>>,
    recovered: watch::Receiver<bool>,
    departure: Departure,
    running: JoinHandle<Result<(), AgentError>>,
}

impl Agent {
    /// Starts an agent: takes up the tasks of its ledger and keeps a session with a controller until `shutdown`.
    ///
    /// Containers run on after `shutdown`, for the next start to find; see [`AgentHandle::stop_tasks`].
    ///
    /// # Errors
    /// Any [`AgentError`] but [`AgentError::Removed`], [`AgentError::OtherAccount`], [`AgentError::LedgerFailed`] and [`AgentError::Failed`].
    pub async fn start(
        config: AgentConfig,
        runtime: Arc<dyn Runtime>,
        logs: Arc<dyn LogSource>,
        shutdown: CancellationToken,
    ) -> Result<AgentHandle, AgentError> {
        let (ledger, contents) = open_ledger(config.data_dir.as_deref()).await?;
        let Parties {
            agent,
            controllers,
            dialer,
            membership,
        } = parties(&config, &ledger, &contents).await?;
        let fence = open_fence(config.data_dir.as_deref()).await?;
        let board = Arc::new(ReportBoard::new());
        let departure = Departure::new(board.clone());
        let foreign_ports = Arc::new(ForeignPorts::default());
        let (orders, received) = mpsc::channel(ORDER_QUEUE);
        let (registration, registered) = watch::channel(None);
        let host = host::describe(&config, runtime.offered());
        let session = Session {
            agent,
            cluster: config.cluster,
            host,
            controllers: controllers.clone(),
            dialer,
            membership: membership.clone(),
            ledger: ledger.clone(),
            board: board.clone(),
            logs,
            orders: orders.clone(),
            fence: fence.clone(),
            foreign_ports: foreign_ports.watch(),
            departure: departure.clone(),
            sleep_command: config.sleep_command,
            not_asleep: None,
            withheld: None,
            seen: contents.seen,
            was: None,
            registration,
        };
        let tools = Tools {
            runtime: runtime.clone(),
            ledger: ledger.clone(),
            board: board.clone(),
            foreign_ports: foreign_ports.clone(),
        };
        let (tasks, fence_orders) = (contents.tasks, orders.clone());
        let (has_recovered, recovered) = watch::channel(false);
        let running = tokio::spawn(async move {
            let work = async {
                let supervisor = Supervisor::recover(tools, tasks).await;
                has_recovered.send_replace(true);
                // The session begins once the board says what became of every task, so that a registration is complete.
                let upkeep = async {
                    if let Some(membership) = membership {
                        membership::keep_up(membership, controllers).await;
                    }
                };
                let ports = foreign_ports.look(&*runtime);
                let others = async { tokio::join!(supervisor.run(received), fence.watch(fence_orders), upkeep, ports) };
                tokio::select! {
                    end = session.run() => Err(match end {
                        End::Removed(why) => AgentError::Removed(why),
                        End::OtherAccount(why) => AgentError::OtherAccount(why),
                    }),
                    _ = others => std::future::pending().await,
                }
            };
            let outcome = until_stopped(work, &shutdown, &ledger).await;
            ledger.close().await;
            outcome
        });
        Ok(AgentHandle {
            orders,
            board,
            registration: registered,
            recovered,
            departure,
            running,
        })
    }
}

/// Who the agent is, and with whom it speaks.
struct Parties {
    agent: AgentId,
    controllers: Controllers,
    dialer: Dialer,
    membership: Option<Membership>,
}

/// Finds out who the agent is: by its certificate where it has joined a cluster, or joins one now, else by its ledger.
async fn parties(config: &AgentConfig, ledger: &Ledger, contents: &Contents) -> Result<Parties, AgentError> {
    let fresh = new_identity()?;
    let begun = match &config.membership {
        None => None,
        Some(membership) => {
            let peers: Vec<String> = config
                .controllers
                .iter()
                .chain(&contents.controllers)
                .cloned()
                .collect();
            let (agent, joined) = (contents.agent.clone(), contents.joined.as_ref());
            let draw = || new_identity().unwrap_or_else(|_| fresh.clone());
            let account = config.cluster.scope.account.as_str();
            membership::begin(membership, &peers, account, agent, joined, ledger, draw).await?
        }
    };
    let (agent, dialer, membership, told) = match begun {
        Some(Begun {
            membership,
            agent,
            controllers,
        }) => {
            let dialer = Dialer::Tls(Box::new(membership.connector()));
            (agent, dialer, Some(membership), controllers)
        }
        None => {
            let agent = contents.agent.clone().unwrap_or(fresh);
            (agent, Dialer::Plain, None, vec![])
        }
    };
    if contents.agent.as_ref() != Some(&agent) {
        ledger.put_agent(&agent).await?;
    }
    let scheme = dialer.scheme();
    let checked = config.controllers.iter().try_for_each(|uri| scheme.check(uri));
    checked.map_err(|error| match (&config.membership, error, scheme) {
        (Some(kept), AddressError::Malformed(uri, _), Scheme::Tls) if uri.starts_with("http://") => {
            AgentError::Membership(MembershipError::PlainText(kept.folder.clone()))
        }
        (_, error, _) => AgentError::Address(error.to_string()),
    })?;
    let controllers = Controllers::new(
        scheme,
        config.controllers.clone(),
        contents.controllers.clone(),
        ledger.clone(),
    );
    controllers.tell(told).await?;
    if controllers.all().is_empty() {
        return Err(AgentError::NoController);
    }
    Ok(Parties {
        agent,
        controllers,
        dialer,
        membership,
    })
}

/// Drops the agent's work when it is to stop: every runner and the session with it.
async fn until_stopped(
    work: impl Future<Output = Result<(), AgentError>>,
    shutdown: &CancellationToken,
    ledger: &Ledger,
) -> Result<(), AgentError> {
    let work = pin!(work);
    tokio::select! {
        outcome = work => outcome,
        () = shutdown.cancelled() => Ok(()),
        () = ledger.failed() => Err(AgentError::LedgerFailed),
    }
}

async fn open_ledger(data_dir: Option<&Path>) -> Result<(Ledger, Contents), AgentError> {
    let Some(data_dir) = data_dir.map(Path::to_owned) else {
        return Ok((Ledger::volatile(), Contents::default()));
    };
    Ok(tokio::task::spawn_blocking(move || Ledger::open(&data_dir)).await??)
}

async fn open_fence(data_dir: Option<&Path>) -> Result<Fence, AgentError> {
    let data_dir = data_dir.map(Path::to_owned);
    let opened = tokio::task::spawn_blocking(move || Fence::open(data_dir.as_deref())).await?;
    opened.map_err(AgentError::Boot)
}

/// 128 random bits, in hexadecimal.
fn new_identity() -> Result<AgentId, AgentError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(AgentError::Identity)?;
    Ok(AgentId::from(hex::encode(bytes)))
}

impl AgentHandle {
    /// ARN of the host's container instance while a session is open.
    #[must_use]
    pub fn registration(&self) -> watch::Receiver<Option<String>> {
        self.registration.clone()
    }

    /// Becomes `true` once the agent has taken up the tasks that it had.
    #[must_use]
    pub fn recovered(&self) -> watch::Receiver<bool> {
        self.recovered.clone()
    }

    /// What the host's tasks do when this machine shuts down.
    #[must_use]
    pub fn departure(&self) -> Departure {
        self.departure.clone()
    }

    /// Ends every task of the host, takes no more, and waits until they have ended and their containers are removed.
    /// Returns the number of tasks that have not by the deadline.
    pub async fn stop_tasks(&self, deadline: Duration) -> usize {
        let mut changes = self.board.changes();
        let all_ended = async {
            let (told, all_told) = oneshot::channel();
            if self.orders.send(Order::StopAll { told }).await.is_err() || all_told.await.is_err() {
                return;
            }
            while self.board.unfinished() > 0 && changes.changed().await.is_ok() {}
        };
        // Whether in time or not, the board says what is left.
        tokio::time::timeout(deadline, all_ended).await.ok();
        self.board.unfinished()
    }

    /// Waits until the agent has stopped, after its `shutdown` or by its own failure, and has released its ledger.
    ///
    /// # Errors
    /// Why the agent had to stop.
    pub async fn join(self) -> Result<(), AgentError> {
        let Self { running, orders, .. } = self;
        drop(orders);
        running.await?
    }
}
