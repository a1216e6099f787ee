//! The port for agents. Shell.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_core::ids::IdSource;
use berth_core::model::{AccountId, ContainerInstanceId};
use berth_proto::v1::agent_sessions_server::{AgentSessions, AgentSessionsServer};
use berth_proto::v1::{FromAgent, ToAgent};
use berth_trust::tls::Peer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::context::Context;
use super::logs::{LogError, LogPage, LogQuery};
use super::registry::Registry;
use super::reports::Recorder;
use super::{absent, feed, session};
use crate::clock::Clock;
use crate::replica::StateGroup;

/// Largest message of an agent: a registration with a report of each task that its host remembers.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Sessions of one controller, beyond which agents are turned away: each costs some tens of KiB.
const MAX_SESSIONS: usize = 20_000;

/// Between two signs of life on a connection; one that is silent for twice that is closed.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Why agents cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The port without TLS would be open to other machines.
    #[error(
        "the port for agents is bound to {0}, which is not a loopback address: agents show no certificate at a port without TLS, so it \
         must not be reachable from other machines"
    )]
    NotLoopback(SocketAddr),
    /// The listener has no address.
    #[error("the listener for agents has no address")]
    Listener(#[source] io::Error),
    /// The server ended.
    #[error("the server for agents failed")]
    Serve(#[source] tonic::transport::Error),
}

/// What the rest of the controller holds of the sessions with agents.
#[derive(Clone)]
pub struct AgentsHandle {
    registry: Arc<Registry>,
    service: Sessions,
}

impl std::fmt::Debug for AgentsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentsHandle").finish_non_exhaustive()
    }
}

impl AgentsHandle {
    /// The service for agents, for a server of whoever holds this. Where connections have certificates, an agent is held to its own.
    #[must_use]
    pub fn service(&self) -> AgentSessionsServer<Sessions> {
        AgentSessionsServer::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.service.context
    }

    /// Number of agents that have a session.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.registry.session_count()
    }

    /// Asks a host for a piece of a container's log, and waits for it for as long as `deadline`.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn fetch_logs(
        &self,
        host: ContainerInstanceId,
        query: LogQuery,
        deadline: Duration,
    ) -> Result<LogPage, LogError> {
        self.registry.fetch_logs(host, query, deadline).await
    }
}

/// Serves agents without TLS on `listener`, which must be bound to a loopback address: for tests and measurements of what agents make
/// controllers do. It ends after `stop` is cancelled. `ids` must be seeded by the operating system, since ids must not repeat.
///
/// # Errors
/// [`AgentsError`] where the listener may not be used.
pub fn start(
    listener: TcpListener,
    group: StateGroup,
    clock: Arc<dyn Clock>,
    ids: IdSource,
    stop: CancellationToken,
) -> Result<(AgentsHandle, JoinHandle<Result<(), AgentsError>>), AgentsError> {
    let address = listener.local_addr().map_err(AgentsError::Listener)?;
    if !address.ip().is_loopback() {
        return Err(AgentsError::NotLoopback(address));
    }
    let (handle, helpers) = begin(group, clock, ids, None, stop.clone());
    let service = handle.service();
    let serving = async move {
        let served = serve_plain(listener, service, stop.clone()).await;
        stop.cancel();
        if let Err(panic) = helpers.await {
            tracing::error!(%panic, "a part of the server for agents panicked");
        }
        served
    };
    Ok((handle, tokio::spawn(serving)))
}

/// Makes what sessions need, for servers that serve [`AgentsHandle::service`]; the task ends after `stop` is cancelled. `ids` must be
/// seeded by the operating system, since ids must not repeat. Hosts must be of `account`, or else of that of the root user in the state.
pub fn begin(
    group: StateGroup,
    clock: Arc<dyn Clock>,
    ids: IdSource,
    account: Option<AccountId>,
    stop: CancellationToken,
) -> (AgentsHandle, JoinHandle<()>) {
    let registry = Arc::new(Registry::default());
    let applied = group.subscribe();
    let (recorder, recording) = Recorder::new(group.clone());
    let context = Arc::new(Context {
        group,
        clock,
        ids: Mutex::new(ids),
        registry: Arc::clone(&registry),
        recorder,
        account,
        stop: stop.clone(),
    });
    let service = Sessions {
        places: Arc::new(tokio::sync::Semaphore::new(MAX_SESSIONS)),
        context: Arc::clone(&context),
        runtime: Handle::current(),
    };
    let helpers = async move {
        tokio::join!(
            feed::follow(Arc::clone(&context), applied),
            absent::look_out(Arc::clone(&context)),
            stop.run_until_cancelled(recording)
        );
    };
    (AgentsHandle { registry, service }, tokio::spawn(helpers))
}

/// Serves agents without TLS until `stop` is cancelled.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    service: AgentSessionsServer<Sessions>,
    stop: CancellationToken,
) -> Result<(), AgentsError> {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY))
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
        .map_err(AgentsError::Serve)
}

/// The service for agents.
#[derive(Clone)]
pub struct Sessions {
    context: Arc<Context>,
    places: Arc<tokio::sync::Semaphore>,
    /// Where sessions run, wherever their connections are looked after.
    runtime: Handle,
}

#[tonic::async_trait]
impl AgentSessions for Sessions {
    type SessionStream = Map<ReceiverStream<Box<ToAgent>>, fn(Box<ToAgent>) -> Result<ToAgent, Status>>;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::SessionStream>, Status> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("this controller has {MAX_SESSIONS} sessions already")))?;
        let (outgoing, queue) = mpsc::channel(session::SEND_QUEUE);
        let identity = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.identity.clone());
        let (context, incoming) = (Arc::clone(&self.context), request.into_inner());
        self.runtime.spawn(async move {
            session::serve(context, identity, incoming, outgoing).await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(queue).map(|message| Ok(*message))))
    }
}
