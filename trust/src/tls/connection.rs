//! An established connection, which ends when the one at its other end is removed from the cluster. Shell.
//!
//! Owns that check, and who the other end is. It must not know what is said.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::server::Connected;

use crate::identity::Identity;
use crate::tls::{HandshakeError, LiveTrust, Refusal};

/// Who is at the other end of a connection; a gRPC server finds it in the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is; nobody in particular if the port lets in clients without a certificate and this is one.
    pub identity: Option<Identity>,
    /// Where it is.
    pub address: Option<SocketAddr>,
}

/// A connection whose other end was accepted.
#[derive(Debug)]
pub struct Connection<S> {
    stream: TlsStream<S>,
    peer: Peer,
    watch: Option<TrustWatch>,
}

/// The trust on which a connection was accepted, and its changes.
struct TrustWatch {
    trust: LiveTrust,
    changes: WatchStream<()>,
    ended: Option<Refusal>,
}

impl<S> Connection<S> {
    /// `trust` is followed from now on; a removal during the handshake is seen by the first read or write.
    pub(crate) fn new(stream: TlsStream<S>, identity: Option<Identity>, trust: Option<&LiveTrust>) -> Self {
        let watch = trust.filter(|_| identity.is_some()).map(|trust| TrustWatch {
            trust: trust.clone(),
            changes: WatchStream::new(trust.changes()),
            ended: None,
        });
        let peer = Peer {
            identity,
            address: None,
        };
        Self { stream, peer, watch }
    }

    pub(crate) fn at(mut self, address: Option<SocketAddr>) -> Self {
        self.peer.address = address;
        self
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Fails once the other end has been removed; otherwise arranges that the task is woken when that happens.
    fn poll_admission(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (Some(watch), Some(identity)) = (&mut self.watch, &self.peer.identity) else {
            return Ok(());
        };
        while watch.ended.is_none() {
            let Poll::Ready(Some(())) = Pin::new(&mut watch.changes).poll_next(cx) else {
                return Ok(());
            };
            // The authorities may be others by now, which does not end what they vouched for.
            watch.ended = watch.trust.now().admit(identity).err();
            if let Some(refusal) = &watch.ended {
                tracing::warn!(peer = %identity, "closing a connection: {refusal}");
            }
        }
        match &watch.ended {
            Some(refusal) => Err(HandshakeError::Refused(refusal.clone()).into_io()),
            None => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_admission(cx)?;
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        // A client learns here, after its own part of the handshake, whether the server accepts it.
        read.map_err(explained)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_admission(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_admission(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection<TcpStream> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

fn explained(error: io::Error) -> io::Error {
    match HandshakeError::of_io(error, None) {
        HandshakeError::Io(error) => error,
        other => other.into_io(),
    }
}

impl std::fmt::Debug for TrustWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrustWatch")
    }
}
