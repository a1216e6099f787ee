//! How a controller that wants to join gets its first certificate from a member: it believes whoever shows the authority that its token
//! names, and nobody else. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::joining_client::JoiningClient;
use berth_proto::v1::{ClusterNews, JoinAnswer, JoinRequest};
use berth_raft::ClusterId;
use berth_trust::identity::Role;
use berth_trust::join::{JoinError, JoinResponse, Joiner};
use berth_trust::keeper::{Keeper, KeeperError, Kept};
use berth_trust::tls::connect::ConnectError;
use berth_trust::tls::{Connection, Connector, HandshakeError};
use berth_trust::token::JoinToken;
use berth_trust::{DefaultTimeProvider, TimeProvider, UnixTime};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

/// How long it is tried to reach a member that can answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wait between two attempts.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long a member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What a controller got that was let in.
#[derive(Debug)]
pub(super) struct LetIn {
    /// Its certificate, and whom it is to trust.
    pub(super) kept: Kept,
    /// The group that it will be a member of.
    pub(super) raft_cluster: ClusterId,
    /// Where the members are, as HOST:PORT.
    pub(super) contacts: Vec<String>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum FirstCertificateError {
    /// The token is for something else.
    #[error("the join token is for the role {0}: make one with `berth token create --role controller`")]
    OtherRole(Role),
    /// Not an address.
    #[error("--peer {0:?} is no address of a member: it must be HOST:PORT")]
    Address(String),
    /// The member refused.
    #[error("{peer} does not let this controller join: {reason}")]
    Refused {
        /// Which member.
        peer: String,
        /// In its words.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer from {peer} within {} s: {reason}", PATIENCE.as_secs())]
    NoAnswer {
        /// Which member.
        peer: String,
        /// What went wrong last.
        reason: String,
    },
    /// Token or answer are no good.
    #[error("this controller cannot join")]
    Join(#[from] JoinError),
    /// Its key cannot be kept.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl FirstCertificateError {
    /// Whether starting the controller again, as it is, changes nothing.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Keeper(_) => false,
            Self::Join(error) => !matches!(error, JoinError::Refused(refusal) if refusal.is_about_time()),
            _ => true,
        }
    }
}

/// Gets a certificate for a member of that id from the member at `peer`. The key for it is kept before anybody is asked, so that one that
/// stopped before it had its answer is let in with the same token when it starts again.
pub(super) async fn get(token: &str, peer: &str, member: u64, keeper: &Keeper) -> Result<LetIn, FirstCertificateError> {
    let token: JoinToken = token.parse().map_err(JoinError::from)?;
    if token.role() != Role::Controller {
        return Err(FirstCertificateError::OtherRole(token.role()));
    }
    let joiner = Joiner::with_key(token, keeper.joining_key()?);
    let outcome = ask_for_a_while(joiner, peer, member).await;
    if outcome.as_ref().is_err_and(FirstCertificateError::is_final) {
        keeper.forget_joining_key()?;
    }
    outcome
}

async fn ask_for_a_while(joiner: Joiner, peer: &str, member: u64) -> Result<LetIn, FirstCertificateError> {
    let uri: Uri = format!("http://{peer}")
        .parse()
        .map_err(|_| FirstCertificateError::Address(peer.to_owned()))?;
    let time: Arc<dyn TimeProvider> = Arc::new(DefaultTimeProvider);
    let connector = Connector::pinned(joiner.token().authority(), time);
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let reason = match ask(&connector, &uri, &joiner, member).await {
            Ok((answer, server)) => return complete(joiner, answer, &server, peer),
            Err(Failure::ForGood(reason)) => {
                let peer = peer.to_owned();
                return Err(FirstCertificateError::Refused { peer, reason });
            }
            Err(Failure::ForNow(reason)) => reason,
        };
        if tokio::time::Instant::now() >= until {
            let peer = peer.to_owned();
            return Err(FirstCertificateError::NoAnswer { peer, reason });
        }
        tracing::warn!(peer, reason, "could not join yet: trying again");
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

enum Failure {
    ForNow(String),
    ForGood(String),
}

type Server = berth_trust::identity::Identity;

async fn ask(connector: &Connector, uri: &Uri, joiner: &Joiner, member: u64) -> Result<(JoinAnswer, Server), Failure> {
    let for_now = |error: &dyn std::error::Error| Failure::ForNow(crate::errors::chain(error));
    let connection = connector.connect_to(uri).await.map_err(not_connected)?;
    let server = connection.peer().identity.clone();
    let server = server.ok_or_else(|| Failure::ForNow("it is not known who answered".to_owned()))?;
    let mut client = JoiningClient::new(channel_over(connection, uri).await.map_err(|error| for_now(&error))?);
    let request = joiner.request().map_err(|error| for_now(&error))?;
    let request = JoinRequest {
        token: request.token,
        request: request.request,
        id: member.to_string(),
    };
    match tokio::time::timeout(ANSWER_WITHIN, client.join(request)).await {
        Ok(Ok(answer)) => Ok((answer.into_inner(), server)),
        Ok(Err(status)) => {
            let reason = status.message().to_owned();
            Err(match status.code() {
                Code::InvalidArgument | Code::PermissionDenied | Code::AlreadyExists | Code::FailedPrecondition => {
                    Failure::ForGood(reason)
                }
                _ => Failure::ForNow(reason),
            })
        }
        Err(_) => Err(Failure::ForNow("it did not answer in time".to_owned())),
    }
}

/// Somebody who is another one stays that; nobody may be there later, and clocks may be set.
fn not_connected(error: ConnectError) -> Failure {
    let reason = crate::errors::chain(&error);
    match error {
        ConnectError::Handshake {
            source: HandshakeError::Refused(refusal),
            ..
        } if refusal.is_about_time() => Failure::ForNow(reason),
        ConnectError::Handshake {
            source: HandshakeError::Refused(_) | HandshakeError::NotTls | HandshakeError::Incompatible(_),
            ..
        } => Failure::ForGood(reason),
        _ => Failure::ForNow(reason),
    }
}

/// A channel over this one connection, whose other end was checked.
async fn channel_over(connection: Connection<TcpStream>, uri: &Uri) -> Result<Channel, tonic::transport::Error> {
    let mut connection = Some(TokioIo::new(connection));
    let endpoint = Endpoint::from(uri.clone());
    let connect = tower::service_fn(move |_: Uri| {
        let connection = connection.take();
        async move { connection.ok_or_else(|| std::io::Error::other("the connection has ended")) }
    });
    endpoint.connect_with_connector(connect).await
}

fn complete(joiner: Joiner, answer: JoinAnswer, server: &Server, peer: &str) -> Result<LetIn, FirstCertificateError> {
    let unusable = |reason: &str| FirstCertificateError::Refused {
        peer: peer.to_owned(),
        reason: reason.to_owned(),
    };
    let raft_cluster = <[u8; 16]>::try_from(answer.raft_cluster_id.as_slice());
    let raft_cluster = raft_cluster.map_err(|_| unusable("its answer does not say which group it is of"))?;
    let ClusterNews {
        authorities,
        controllers,
        ..
    } = answer.news.unwrap_or_default();
    let response = JoinResponse {
        chain: answer.chain,
        authorities,
    };
    let kept = joiner.complete(&response, server, UnixTime::now())?;
    let known = controllers.iter().filter_map(|uri| uri.strip_prefix("https://"));
    let mut contacts: Vec<String> = known.map(str::to_owned).collect();
    if !contacts.iter().any(|contact| contact == peer) {
        contacts.push(peer.to_owned());
    }
    Ok(LetIn {
        kept,
        raft_cluster: ClusterId(raft_cluster),
        contacts,
    })
}
