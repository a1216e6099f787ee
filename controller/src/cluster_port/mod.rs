//! The one port where members, agents and those who want to join reach a controller, over TLS 1.3.
//!
//! Owns who may call what there: the role in the certificate of a connection decides, service by service; without a certificate one may
//! join, and nothing else. It must not know what is said. Shell.

mod strangers;

use std::time::Duration;

use berth_proto::v1::joining_server::JoiningServer;
use berth_proto::v1::peers_server::PeersServer;
use berth_trust::DefaultTimeProvider;
use berth_trust::identity::Role;
use berth_trust::tls::{Acceptor, Clients, Peer, Protocol};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use crate::agents::AgentsHandle;
use crate::peers::{PeerTls, PeersService};
use crate::registrar::JoiningService;

/// Between two signs of life on a connection; one that is silent for twice that is closed.
const PING_EVERY: Duration = Duration::from_secs(10);

/// What may be under way unread: large appends of a leader are not to wait for each other.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// What is served.
pub(crate) struct Services {
    pub(crate) peers: PeersService,
    pub(crate) agents: AgentsHandle,
    pub(crate) joining: JoiningService,
}

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: PeerTls,
    services: Services,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let clients = Clients::Optional(tls.trust, vec![Role::Controller, Role::Agent]);
    let acceptor = Acceptor::new(
        tls.own,
        clients,
        Protocol::Http2,
        std::sync::Arc::new(DefaultTimeProvider),
    );
    let peers = PeersServer::new(services.peers).max_decoding_message_size(PeersService::MAX_MESSAGE_BYTES);
    let joining = JoiningServer::new(services.joining).max_decoding_message_size(JoiningService::MAX_MESSAGE_BYTES);
    let agents = services.agents.service();
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
        .add_service(InterceptedService::new(peers, only(Role::Controller)))
        .add_service(InterceptedService::new(agents, only(Role::Agent)))
        .add_service(joining)
        .serve_with_incoming_shutdown(strangers::bounded(acceptor.incoming(listener)), stop.cancelled_owned())
        .await
}

/// Lets calls of holders of this role through.
fn only(role: Role) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| {
        let peer = request.extensions().get::<Peer>();
        let Some(peer) = peer else {
            return Err(Status::internal(
                "it is not known who is at the other end of the connection",
            ));
        };
        match &peer.identity {
            Some(identity) if identity.role() == role => Ok(request),
            Some(identity) => {
                tracing::warn!(%identity, address = ?peer.address, "refused a call that is not for its role");
                let text = format!("{identity} may not call this: only the role {role} may");
                Err(Status::permission_denied(text))
            }
            None => Err(Status::unauthenticated(format!(
                "this needs a certificate for the role {role}, and the connection shows none: join the cluster first"
            ))),
        }
    }
}
