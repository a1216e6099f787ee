//! The client's end: a handshake with a server that must be the expected one. Shell.
//!
//! Owns the client's part of handshakes, and the connector that a gRPC channel connects with. It must not know what is called.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{DnsName, ServerName};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::bundle::CaDigest;
use crate::tls::verify::PeerVerifier;
use crate::tls::{
    Connection, Expected, HANDSHAKE_DEADLINE, HandshakeError, LiveCredentials, LiveTrust, Protocol, crypto_provider,
};

/// Port of an address that names none.
const DEFAULT_PORT: u16 = 443;

/// The client's end of handshakes.
///
/// As a tower service it takes the address of a gRPC channel, which must have the scheme `http`, since tonic is not to add TLS of its
/// own: `Endpoint::from_shared("http://10.0.0.1:7481")?.connect_with_connector(connector)`.
#[derive(Clone, Debug)]
pub struct Connector {
    server: Server,
    own: Option<LiveCredentials>,
    protocol: Protocol,
    time: Arc<dyn TimeProvider>,
}

#[derive(Clone, Debug)]
enum Server {
    Trusted(LiveTrust, Expected),
    Pinned(CaDigest),
}

impl Connector {
    /// Connects to servers that are `expected`, and shows `own`, if anything.
    #[must_use]
    pub fn new(
        own: Option<LiveCredentials>,
        trust: LiveTrust,
        expected: Expected,
        protocol: Protocol,
        time: Arc<dyn TimeProvider>,
    ) -> Self {
        Self {
            server: Server::Trusted(trust, expected),
            own,
            protocol,
            time,
        }
    }

    /// Connects to controllers of the cluster whose authority has this digest, and shows nothing: for joining with a token.
    #[must_use]
    pub fn pinned(authority: CaDigest, time: Arc<dyn TimeProvider>) -> Self {
        Self {
            server: Server::Pinned(authority),
            own: None,
            protocol: Protocol::Http2,
            time,
        }
    }

    /// The client's part of one handshake. Whether the server accepts this end is known after the first read only: then the error
    /// contains the reason, which [`HandshakeError::reason_in`] finds.
    ///
    /// # Errors
    /// Any [`HandshakeError`]; the other end is told in TLS's words.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Connection<S>, HandshakeError> {
        let (verifier, trust) = match &self.server {
            Server::Trusted(trust, expected) => {
                let verifier = PeerVerifier::trusted(trust.clone(), expected.clone(), false);
                (Arc::new(verifier), Some(trust))
            }
            Server::Pinned(digest) => (Arc::new(PeerVerifier::pinned(*digest)), None),
        };
        let config = self.config(Arc::clone(&verifier))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(self.server_name(), stream);
        match timeout(HANDSHAKE_DEADLINE, handshake).await {
            Ok(Ok(stream)) => Ok(Connection::new(stream.into(), verifier.identity(), trust)),
            Ok(Err(error)) => Err(HandshakeError::of_io(error, verifier.refusal())),
            Err(_) => Err(HandshakeError::Deadline),
        }
    }

    fn config(&self, verifier: Arc<PeerVerifier>) -> Result<ClientConfig, HandshakeError> {
        let builder = ClientConfig::builder_with_details(crypto_provider(), Arc::clone(&self.time))
            .with_protocol_versions(&[&TLS13])
            .map_err(HandshakeError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(own.clone())),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocol.alpn();
        config.resumption = Resumption::disabled();
        // Servers are known by their identity; their names would only tell onlookers something.
        config.enable_sni = matches!(&self.server, Server::Trusted(_, Expected::Named(..)));
        Ok(config)
    }

    /// What TLS calls the server. Matters to the check only where a name is expected.
    fn server_name(&self) -> ServerName<'static> {
        match &self.server {
            Server::Trusted(_, Expected::Named(_, name)) => name.clone(),
            _ => ServerName::DnsName(
                DnsName::try_from_str("berth.invalid")
                    .expect("it is a DNS name")
                    .to_owned(),
            ),
        }
    }
}

/// Why there is no connection to an address.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not an address.
    #[error("{0} is no address of a server: it must have the form http://HOST:PORT")]
    Address(Uri),
    /// Nobody there.
    #[error("cannot connect to {address}")]
    Tcp {
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody there with whom there is no connection.
    #[error("no connection to {address}")]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: HandshakeError,
    },
}

impl Connector {
    /// Connects to an address within [`HANDSHAKE_DEADLINE`] for each of TCP and TLS.
    ///
    /// # Errors
    /// Any [`ConnectError`].
    pub async fn connect_to(&self, uri: &Uri) -> Result<Connection<TcpStream>, ConnectError> {
        let host = uri.host().ok_or_else(|| ConnectError::Address(uri.clone()))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let address = format!("{host}:{port}");
        let tcp_error = |source| ConnectError::Tcp {
            address: address.clone(),
            source,
        };
        let connecting = timeout(HANDSHAKE_DEADLINE, TcpStream::connect((bare, port)));
        let stream = connecting
            .await
            .map_err(|_| tcp_error(io::ErrorKind::TimedOut.into()))?
            .map_err(tcp_error)?;
        stream.set_nodelay(true).map_err(tcp_error)?;
        let at = stream.peer_addr().ok();
        match self.connect(stream).await {
            Ok(connection) => Ok(connection.at(at)),
            Err(source) => Err(ConnectError::Handshake { address, source }),
        }
    }
}

type Connected = Result<TokioIo<Connection<TcpStream>>, ConnectError>;

/// A connection under way.
pub struct Connecting(Pin<Box<dyn Future<Output = Connected> + Send>>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection<TcpStream>>;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connector = self.clone();
        Connecting(Box::pin(
            async move { connector.connect_to(&uri).await.map(TokioIo::new) },
        ))
    }
}

impl Future for Connecting {
    type Output = Connected;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Connected> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connecting")
    }
}
