//! The first certificate of a host. It believes whoever shows the authority that its token names, and tells the token to nobody else. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_core::model::AgentId;
use berth_proto::v1::joining_client::JoiningClient;
use berth_proto::v1::{ClusterNews, JoinAnswer, JoinRequest};
use berth_trust::identity::Identity;
use berth_trust::join::{JoinResponse, Joiner};
use berth_trust::keeper::Kept;
use berth_trust::tls::connect::ConnectError;
use berth_trust::tls::{Connection, Connector, HandshakeError};
use berth_trust::{DefaultTimeProvider, UnixTime};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::MembershipError;
use crate::dialer::chain;

/// How long it is tried to reach a controller that can answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wait between two rounds of all controllers.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long a controller may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What a host got that was let in.
pub(super) struct First {
    pub(super) kept: Kept,
    pub(super) controllers: Vec<String>,
    /// Id of the token.
    pub(super) token: String,
}

enum Failure {
    ForNow(String),
    /// A controller of the cluster has decided.
    ForGood(String),
    /// Who answers at this address is no controller of the cluster; one may be at another.
    Stranger(String),
    /// The id cannot be this host's.
    OtherId(String),
}

/// Why there is no certificate.
pub(super) enum NotFirst {
    /// Under another id there may be one.
    OtherId {
        peer: String,
        reason: String,
    },
    Error(MembershipError),
}

impl<E: Into<MembershipError>> From<E> for NotFirst {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Joins with a token as `agent`, by the first of `peers` that can answer.
pub(super) async fn get(joiner: Joiner, peers: &[String], agent: &AgentId) -> Result<First, NotFirst> {
    let connector = Connector::pinned(joiner.token().authority(), Arc::new(DefaultTimeProvider));
    let until = Instant::now() + PATIENCE;
    loop {
        let mut last = ("no controller".to_owned(), "none is named".to_owned());
        let mut strangers = Vec::new();
        for peer in peers {
            let reason = match ask(&connector, peer, &joiner, agent).await {
                Ok((answer, server)) => return Ok(complete(joiner, answer, &server)?),
                Err(Failure::OtherId(reason)) => {
                    let peer = peer.clone();
                    return Err(NotFirst::OtherId { peer, reason });
                }
                Err(Failure::ForGood(reason)) => {
                    let peer = peer.clone();
                    return Err(MembershipError::Refused { peer, reason }.into());
                }
                Err(Failure::Stranger(reason)) => {
                    strangers.push((peer.clone(), reason.clone()));
                    reason
                }
                Err(Failure::ForNow(reason)) => reason,
            };
            tracing::warn!(peer, reason, "could not join yet");
            last = (peer.clone(), reason);
        }
        let (peer, reason) = last;
        if strangers.len() == peers.len() && !peers.is_empty() {
            return Err(MembershipError::Refused { peer, reason }.into());
        }
        if Instant::now() >= until || peers.is_empty() {
            let within_s = PATIENCE.as_secs();
            return Err(MembershipError::NoAnswer { peer, reason, within_s }.into());
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

async fn ask(
    connector: &Connector,
    peer: &str,
    joiner: &Joiner,
    agent: &AgentId,
) -> Result<(JoinAnswer, Identity), Failure> {
    let for_now = |error: &dyn std::error::Error| Failure::ForNow(chain(error));
    let uri: Uri = peer.parse().map_err(|error| for_now(&error))?;
    let connection = connector.connect_to(&uri).await.map_err(not_connected)?;
    let server = connection.peer().identity.clone();
    let server = server.ok_or_else(|| Failure::ForNow("it is not known who answered".to_owned()))?;
    let mut client = JoiningClient::new(channel_over(connection).await.map_err(|error| for_now(&error))?);
    let request = joiner.request().map_err(|error| for_now(&error))?;
    let request = JoinRequest {
        token: request.token,
        request: request.request,
        id: agent.to_string(),
    };
    match timeout(ANSWER_WITHIN, client.join(request)).await {
        Ok(Ok(answer)) => Ok((answer.into_inner(), server)),
        Ok(Err(status)) => {
            let reason = status.message().to_owned();
            Err(match status.code() {
                Code::AlreadyExists => Failure::OtherId(reason),
                Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition => Failure::ForGood(reason),
                _ => Failure::ForNow(reason),
            })
        }
        Err(_) => Err(Failure::ForNow("it did not answer in time".to_owned())),
    }
}

/// Somebody who is another one stays that; where nobody is, somebody may be later, and clocks may be set.
fn not_connected(error: ConnectError) -> Failure {
    let reason = chain(&error);
    match error {
        ConnectError::Handshake {
            source: HandshakeError::Refused(refusal),
            ..
        } if refusal.is_about_time() => Failure::ForNow(reason),
        ConnectError::Handshake {
            source: HandshakeError::Refused(_) | HandshakeError::NotTls | HandshakeError::Incompatible(_),
            ..
        } => Failure::Stranger(reason),
        _ => Failure::ForNow(reason),
    }
}

/// A channel over this one connection, whose other end was checked: a token is not told to whoever answers a second time.
async fn channel_over(connection: Connection<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let mut connection = Some(TokioIo::new(connection));
    let connect = tower::service_fn(move |_: Uri| {
        let connection = connection.take();
        async move { connection.ok_or_else(|| std::io::Error::other("the connection has ended")) }
    });
    Endpoint::from_static("http://controller.invalid")
        .connect_with_connector(connect)
        .await
}

fn complete(joiner: Joiner, answer: JoinAnswer, server: &Identity) -> Result<First, MembershipError> {
    let ClusterNews {
        authorities,
        controllers,
        ..
    } = answer.news.unwrap_or_default();
    let token = joiner.token().id().to_string();
    let response = JoinResponse {
        chain: answer.chain,
        authorities,
    };
    let kept = joiner.complete(&response, server, UnixTime::now())?;
    Ok(First {
        kept,
        controllers,
        token,
    })
}
