//! Connecting to controllers, with TLS where the agent has joined a cluster. Shell.

use std::error::Error;
use std::time::Duration;

use berth_trust::tls::{Connector, HandshakeError};
use tonic::transport::{Channel, Endpoint};

use crate::controllers::Scheme;

/// Between two signs of life on a connection; one without any for twice that is closed.
const PING_EVERY: Duration = Duration::from_secs(10);

/// How controllers are connected to.
#[derive(Clone, Debug)]
pub(crate) enum Dialer {
    /// Without TLS.
    Plain,
    /// With TLS, as this connector says.
    Tls(Box<Connector>),
}

/// Why a connection was not made, or has broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// One of the two ends does not let the other in.
    #[error("{0}")]
    NotLetIn(String),
    /// This host has been removed from the cluster.
    #[error("{0}")]
    Removed(String),
    #[error("{uri} is not an address: {reason}")]
    Address { uri: String, reason: String },
    #[error("cannot be reached: {0}")]
    Connect(String),
    #[error("no connection within {0:?}")]
    Deadline(Duration),
}

impl Dialer {
    /// How addresses begin that are connected to in this way.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain => Scheme::Plain,
            Self::Tls(_) => Scheme::Tls,
        }
    }

    /// A connection to the controller at `uri`, which is not made anew when it breaks.
    pub(crate) async fn connect(&self, uri: &str, limit: Duration) -> Result<Channel, LinkError> {
        // tonic is not to add TLS of its own.
        let address = match uri.strip_prefix("https://") {
            Some(rest) => format!("http://{rest}"),
            None => uri.to_owned(),
        };
        let endpoint = Endpoint::from_shared(address).map_err(|error| LinkError::Address {
            uri: uri.to_owned(),
            reason: chain(&error),
        })?;
        let endpoint = endpoint
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .keep_alive_while_idle(true);
        let connecting = async {
            match self {
                Self::Plain => endpoint.connect().await,
                Self::Tls(connector) => endpoint.connect_with_connector(Connector::clone(connector)).await,
            }
        };
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(refusal_in(&error).unwrap_or_else(|| LinkError::Connect(chain(&error)))),
            Err(_) => Err(LinkError::Deadline(limit)),
        }
    }
}

/// What a refused handshake said, if that is why a call failed: a server may refuse a certificate once the connection seems to stand.
pub(crate) fn refusal_in(error: &(dyn Error + 'static)) -> Option<LinkError> {
    let reason = HandshakeError::reason_in(error)?;
    if HandshakeError::says_that_this_end_was_removed(&reason) {
        Some(LinkError::Removed(reason))
    } else {
        Some(LinkError::NotLetIn(reason))
    }
}

/// An error with all of its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
