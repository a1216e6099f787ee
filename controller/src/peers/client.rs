//! Connects to another member, which must prove to be that member. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::peers_client::PeersClient;
use berth_trust::identity::{Identity, Role};
use berth_trust::tls::{Connector, Expected, HandshakeError, LiveCredentials, LiveTrust, Protocol};
use berth_trust::{DefaultTimeProvider, TimeProvider};
use tonic::transport::{Channel, Endpoint};

/// Between two signs of life on a connection; one that is silent for so long after one is closed. Short, since a host whose network is
/// gone answers nothing, and long beside a pause of a busy process.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// What may be under way unread on a stream: large appends are not to wait for each other.
pub(super) const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// What this member shows to others, and whom it trusts.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// What it shows.
    pub own: LiveCredentials,
    /// Whom it trusts.
    pub trust: LiveTrust,
}

/// Why there is no connection to a member.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address of the member is none.
    #[error("{address:?} is no address: it must be HOST:PORT")]
    Address {
        /// What is said to be its address.
        address: String,
    },
    /// Nobody there, or somebody else.
    #[error("{reason}")]
    Connect {
        /// Why.
        reason: String,
    },
}

impl PeerTls {
    /// Connects to the member of that id, or to any controller.
    pub(super) async fn connect(&self, address: &str, member: Option<u64>) -> Result<PeersClient<Channel>, PeerError> {
        let expected = match member {
            Some(member) => {
                let trust = self.trust.now();
                Expected::Exactly(Identity::controller(trust.bundle().cluster().clone(), member))
            }
            None => Expected::Roles(vec![Role::Controller]),
        };
        let time: Arc<dyn TimeProvider> = Arc::new(DefaultTimeProvider);
        let (own, trust) = (Some(self.own.clone()), self.trust.clone());
        let connector = Connector::new(own, trust, expected, Protocol::Http2, time);
        let no_address = || PeerError::Address {
            address: address.to_owned(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| no_address())?;
        let endpoint = endpoint
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES);
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| PeerError::Connect { reason: reason(&error) })?;
        Ok(PeersClient::new(channel))
    }
}

/// Whether a reason says that the other end refuses this member since it was removed. It was checked who says so.
pub(super) fn says_removed(reason: &str) -> bool {
    // What TLS says is all that is left of an error once it has gone through HTTP.
    reason.contains("CertificateRevoked")
}

/// What a member answered instead, or why it could not, in the words of TLS where it has some.
pub(super) fn status_text(status: &tonic::Status) -> String {
    match HandshakeError::reason_in(status) {
        Some(reason) => reason,
        None if status.message().is_empty() => format!("{:?}", status.code()),
        None => status.message().to_owned(),
    }
}

/// Why a connection failed or broke, in the words of TLS where it has some.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    HandshakeError::reason_in(error).unwrap_or_else(|| crate::errors::chain(error))
}
