//! The server's end: handshakes with those who connect, many at a time. Shell.
//!
//! Owns who is let in at a port, and the bounds on handshakes. It must not know what is served.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ConfigBuilder, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

use crate::identity::Role;
use crate::tls::verify::PeerVerifier;
use crate::tls::{
    Connection, Expected, HANDSHAKE_DEADLINE, HandshakeError, LiveCredentials, LiveTrust, Protocol, crypto_provider,
};

/// Handshakes at a time on one port: each takes some 20 KiB and a quarter of a millisecond of cpu, and all hosts may return at
/// once. Further connections wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 1024;

/// How long a handshake is left alone that others wait for: one takes milliseconds, and some round trips. After that, the oldest gives way to
/// the next that connects, so that nobody keeps all others out by saying nothing.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(1);

/// How long one that was refused is still heard, and how much: its first words were on their way.
const PARTING_DEADLINE: Duration = Duration::from_millis(500);
const PARTING_BYTES: u64 = 64 * 1024;

/// Wait for a handshake that gives way to have ended.
const ABORT_PAUSE: Duration = Duration::from_millis(1);

/// Wait after the system could not accept a connection, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who is let in at a port.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Holders of one of these roles.
    Required(LiveTrust, Vec<Role>),
    /// Holders of one of these roles, and those who show no certificate: a joiner has none. Whoever shows one is held to it.
    Optional(LiveTrust, Vec<Role>),
    /// Anyone; certificates are not asked for, and clients prove otherwise who they are.
    Anyone,
}

/// The server's end of handshakes.
#[derive(Clone, Debug)]
pub struct Acceptor {
    own: LiveCredentials,
    clients: Clients,
    protocol: Protocol,
    time: Arc<dyn TimeProvider>,
}

/// A port with its handshakes under way: the stream that a gRPC server serves.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    acceptor: Acceptor,
    handshakes: JoinSet<Option<Connection<TcpStream>>>,
    most: usize,
    /// Handshakes in the order in which they began; some that have ended among them.
    begun: VecDeque<(Instant, AbortHandle)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Acceptor {
    /// Shows `own`, lets in `clients`, and knows the time from `time`.
    #[must_use]
    pub fn new(own: LiveCredentials, clients: Clients, protocol: Protocol, time: Arc<dyn TimeProvider>) -> Self {
        Self {
            own,
            clients,
            protocol,
            time,
        }
    }

    /// The server's part of one handshake.
    ///
    /// # Errors
    /// Any [`HandshakeError`]; the other end is told in TLS's words.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Connection<S>, HandshakeError> {
        let (trust, verifier) = match &self.clients {
            Clients::Required(trust, roles) => (Some(trust), Some(verifier(trust, roles, false))),
            Clients::Optional(trust, roles) => (Some(trust), Some(verifier(trust, roles, true))),
            Clients::Anyone => (None, None),
        };
        let config = self.config(verifier.clone())?;
        let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible();
        match timeout(HANDSHAKE_DEADLINE, handshake).await {
            Ok(Ok(stream)) => {
                let identity = verifier.as_ref().and_then(|one| one.identity());
                Ok(Connection::new(stream.into(), identity, trust))
            }
            Ok(Err((error, stream))) => {
                part(stream).await;
                let refusal = verifier.as_ref().and_then(|one| one.refusal());
                Err(HandshakeError::of_io(error, refusal))
            }
            Err(_) => Err(HandshakeError::Deadline),
        }
    }

    /// Accepts connections at a port.
    #[must_use]
    pub fn incoming(self, listener: TcpListener) -> Incoming {
        Incoming {
            listener,
            acceptor: self,
            handshakes: JoinSet::new(),
            most: MAX_HANDSHAKES,
            begun: VecDeque::new(),
            pause: None,
        }
    }

    fn config(&self, verifier: Option<Arc<PeerVerifier>>) -> Result<ServerConfig, HandshakeError> {
        let builder: ConfigBuilder<ServerConfig, _> =
            ServerConfig::builder_with_details(crypto_provider(), Arc::clone(&self.time));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(HandshakeError::Tls)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        };
        let mut config = builder.with_cert_resolver(Arc::new(self.own.clone()));
        config.alpn_protocols = self.protocol.alpn();
        // A resumed session would not be checked again: not for removal, not for expiry.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn verifier(trust: &LiveTrust, roles: &[Role], is_optional: bool) -> Arc<PeerVerifier> {
    let expected = Expected::Roles(roles.to_vec());
    Arc::new(PeerVerifier::trusted(trust.clone(), expected, is_optional))
}

impl Incoming {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// With so many handshakes at a time instead of some thousand.
    #[must_use]
    pub fn at_most(self, handshakes: usize) -> Self {
        Self {
            most: handshakes.max(1),
            ..self
        }
    }

    /// The next connection that was let in, for servers that accept one by one. Nothing is lost if it is dropped while it waits.
    pub async fn accept(&mut self) -> Connection<TcpStream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection<TcpStream>> {
        loop {
            // Handshakes first, so that those who are let in are served before more are begun.
            match self.handshakes.poll_join_next(cx) {
                Poll::Ready(Some(Ok(Some(connection)))) => return Poll::Ready(connection),
                Poll::Ready(Some(Ok(None))) => continue,
                // It gave way.
                Poll::Ready(Some(Err(error))) if error.is_cancelled() => continue,
                Poll::Ready(Some(Err(error))) => {
                    tracing::error!("a handshake ended early: {error}");
                    continue;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if self.handshakes.len() >= self.most {
                self.make_room();
                continue;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, address)) => self.begin(stream, address),
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }

    /// Ends the oldest handshake if it had its time, or waits until it has.
    fn make_room(&mut self) {
        while self.begun.front().is_some_and(|(_, oldest)| oldest.is_finished()) {
            self.begun.pop_front();
        }
        let left = self.begun.front().map_or(Duration::ZERO, |(began, _)| {
            GIVES_WAY_AFTER.saturating_sub(began.elapsed())
        });
        if left.is_zero()
            && let Some((_, oldest)) = self.begun.pop_front()
        {
            tracing::debug!("a handshake gave way to another: there are {} under way", self.most);
            oldest.abort();
        }
        self.pause = Some(Box::pin(sleep(left.max(ABORT_PAUSE))));
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        if self.begun.len() >= 2 * self.most {
            self.begun.retain(|(_, handshake)| !handshake.is_finished());
        }
        let acceptor = self.acceptor.clone();
        let handshake = self.handshakes.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%address, "cannot set TCP_NODELAY: {error}");
            }
            match acceptor.accept(stream).await {
                Ok(connection) => Some(connection.at(Some(address))),
                Err(error) => {
                    log_failure(address, &error);
                    None
                }
            }
        });
        self.begun.push_back((Instant::now(), handshake));
    }
}

/// Closes a connection so that the other end hears why: were it dropped while the other end still writes, the kernel would answer
/// with a reset, which overtakes what TLS said.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let hears_out = async {
        if stream.shutdown().await.is_ok() {
            let mut rest = stream.take(PARTING_BYTES);
            // Whether that succeeds matters to nobody any more.
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.ok();
        }
    };
    timeout(PARTING_DEADLINE, hears_out).await.ok();
}

fn log_failure(address: SocketAddr, error: &HandshakeError) {
    match error {
        // Port scans and health checks of load balancers do that all day.
        HandshakeError::Io(_) | HandshakeError::Deadline => tracing::debug!(%address, "no handshake: {error}"),
        _ => tracing::warn!(%address, "connection refused: {}", with_sources(error)),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

impl Stream for Incoming {
    type Item = io::Result<Connection<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(|connection| Some(Ok(connection)))
    }
}
