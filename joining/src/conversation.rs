//! One attempt: a connection to whoever is at an address, and one call over it. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::joining_client::JoiningClient;
use berth_proto::v1::{JoinAnswer, JoinRequest};
use berth_trust::DefaultTimeProvider;
use berth_trust::identity::Identity;
use berth_trust::join::Joiner;
use berth_trust::tls::connect::ConnectError;
use berth_trust::tls::{Connection, Connector, HandshakeError};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::Who;

/// How long a controller may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Why an attempt came to nothing.
pub(super) enum Failure {
    ForNow(String),
    /// A controller of the cluster has decided.
    ForGood(String),
    /// Who answers at this address is no controller of the cluster; one may be at another.
    Stranger(String),
    /// The id cannot be that of the joiner.
    OtherId(String),
}

/// Somebody who wants to join.
pub(super) struct Conversation<'a> {
    connector: Connector,
    joiner: &'a Joiner,
    who: &'a Who<'a>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(joiner: &'a Joiner, who: &'a Who<'a>) -> Self {
        let connector = Connector::pinned(joiner.token().authority(), Arc::new(DefaultTimeProvider));
        Self { connector, joiner, who }
    }

    /// Asks whoever is there; returns the answer, and who gave it.
    pub(super) async fn with(&self, uri: &str) -> Result<(JoinAnswer, Identity), Failure> {
        let uri: Uri = uri.parse().map_err(|error| for_now(&error))?;
        let connection = self.connector.connect_to(&uri).await.map_err(not_connected)?;
        let server = connection.peer().identity.clone();
        let server = server.ok_or_else(|| Failure::ForNow("it is not known who answered".to_owned()))?;
        let mut client = JoiningClient::new(channel_over(connection).await.map_err(|error| for_now(&error))?);
        let request = self.joiner.request().map_err(|error| for_now(&error))?;
        let request = JoinRequest {
            token: request.token,
            request: request.request,
            id: self.who.id.to_owned(),
            account: self.who.account.unwrap_or_default().to_owned(),
        };
        match timeout(ANSWER_WITHIN, client.join(request)).await {
            Ok(Ok(answer)) => Ok((answer.into_inner(), server)),
            Ok(Err(status)) => Err(refused(status.code(), status.message().to_owned())),
            Err(_) => Err(Failure::ForNow("it did not answer in time".to_owned())),
        }
    }
}

fn for_now(error: &dyn std::error::Error) -> Failure {
    Failure::ForNow(chain(error))
}

fn refused(code: Code, reason: String) -> Failure {
    match code {
        Code::AlreadyExists => Failure::OtherId(reason),
        Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition => Failure::ForGood(reason),
        _ => Failure::ForNow(reason),
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

/// An error with all of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_final_unless_another_id_or_another_time_may_help() {
        let of = |code| match refused(code, String::new()) {
            Failure::ForNow(_) => "again",
            Failure::ForGood(_) => "never",
            Failure::Stranger(_) => "elsewhere",
            Failure::OtherId(_) => "under another id",
        };
        assert_eq!(of(Code::PermissionDenied), "never");
        assert_eq!(of(Code::FailedPrecondition), "never");
        assert_eq!(of(Code::AlreadyExists), "under another id");
        assert_eq!(of(Code::Unavailable), "again");
        assert_eq!(of(Code::Internal), "again");
    }
}
