//! Bounds on connections that show no certificate: a joiner needs one for a moment, and nobody is to keep others from it. Shell.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use berth_trust::tls::{Connection, Peer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

/// Connections without a certificate at a time: more hosts than join in one moment, each of which comes again if it is turned away.
const MAX_STRANGERS: usize = 256;

/// How long one may last: longer than a call to join may take, its wait for a leader included.
const STRANGER_LIFETIME: Duration = Duration::from_secs(60);

/// What may be read from one: one call to join takes some two thousand bytes, and whoever was refused connects again if there is a reason
/// to. Without it, one connection could go on asking for as long as it lasts.
const STRANGER_BYTES: u64 = 16 * 1024;

/// A connection, with the bounds on it if it shows no certificate.
pub(super) struct Admitted {
    connection: Connection<TcpStream>,
    stranger: Option<Stranger>,
}

struct Stranger {
    _place: OwnedSemaphorePermit,
    ends: Pin<Box<Sleep>>,
    bytes_left: u64,
}

/// The connections, without those strangers for whom there is no place.
pub(super) fn bounded(
    incoming: impl Stream<Item = io::Result<Connection<TcpStream>>>,
) -> impl Stream<Item = io::Result<Admitted>> {
    let places = Arc::new(Semaphore::new(MAX_STRANGERS));
    incoming.filter_map(move |accepted| match accepted {
        Ok(connection) => admit(connection, &places).map(Ok),
        Err(error) => Some(Err(error)),
    })
}

fn admit(connection: Connection<TcpStream>, places: &Arc<Semaphore>) -> Option<Admitted> {
    if connection.peer().identity.is_some() {
        return Some(Admitted {
            connection,
            stranger: None,
        });
    }
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        tracing::warn!(
            address = ?connection.peer().address,
            "turned a connection without a certificate away: there are {MAX_STRANGERS} already"
        );
        return None;
    };
    Some(Admitted {
        connection,
        stranger: Some(Stranger {
            _place: place,
            ends: Box::pin(sleep(STRANGER_LIFETIME)),
            bytes_left: STRANGER_BYTES,
        }),
    })
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(stranger) = &mut self.stranger
            && stranger.ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.connection).poll_read(cx, buffer));
        if let Some(stranger) = &mut self.stranger {
            let count = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
            let Some(left) = stranger.bytes_left.checked_sub(count) else {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            };
            stranger.bytes_left = left;
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl Connected for Admitted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.connection.peer().clone()
    }
}
