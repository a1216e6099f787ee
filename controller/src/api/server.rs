//! The HTTP server: takes connections and requests of bounded size and number, hands them to [`super::front`], and ends gracefully.
//!
//! Owns what a client may cost before it is known: nothing that a stranger does, or leaves undone, keeps others from being
//! answered. Connections, bodies and requests have bounds of their own, and a request has its place among those that are served
//! only from when all of it has come. Shell.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use berth_aws::error::common;
use berth_aws::route;
use berth_trust::tls::Acceptor;
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::bodies::{self, Bodies};
use super::connections::{Connections, Place};
use super::context::Api;
use super::front::{self, Admitted};
use super::opening::Opening;

/// How long a client may take from one request to the whole head of the next.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Largest head of a request, and what is read ahead of a connection.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long requests under way may take to end once the server is told to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Between two attempts to accept a connection where one has failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failures in a row after which the listener is taken for broken: about a minute of them.
const MAX_ACCEPT_FAILURES: u32 = 600;

/// What the server holds at most.
#[derive(Clone, Copy)]
struct Bounds {
    connections: usize,
    requests: usize,
    body_bytes: usize,
}

/// Connections: well below the 1,024 files that a process may have open by default. Requests that are served at once: more would
/// only wait for the same disk. Bytes of bodies: 64 of the largest kind, or a thousand large task definitions.
const BOUNDS: Bounds = Bounds {
    connections: 512,
    requests: 256,
    body_bytes: 64 * 1024 * 1024,
};

/// Why the server ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the API server on {address} failed")]
pub struct ServeError {
    address: String,
    #[source]
    source: io::Error,
}

/// What every connection works with.
struct Server {
    opening: Opening,
    connections: Arc<Connections>,
    bodies: Bodies,
    /// Requests that may still be served.
    slots: Semaphore,
    bounds: Bounds,
}

/// Serves the API on `listener` until `stop`, then lets the requests under way end. `others` are paths that are not AWS's. Until
/// `opening` has the API, its requests are refused at once, as those of a service that is not available; until it knows how
/// connections are secured, they are closed.
///
/// # Errors
/// [`ServeError`] if connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    opening: Opening,
    others: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve_with(Server::new(opening, BOUNDS), listener, others, stop).await
}

async fn serve_with(
    server: Arc<Server>,
    listener: TcpListener,
    others: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let router = server.router(others);
    let mut conversations = JoinSet::new();
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = conversations.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(%panic, "a connection of a client panicked");
                }
                continue;
            }
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                failures = 0;
                // Without it a connection works all the same, a little slower.
                stream.set_nodelay(true).ok();
                let Some(tls) = server.opening.tls() else {
                    continue;
                };
                if let Some(place) = server.enter(stop.child_token()) {
                    let (router, stop) = (router.clone(), stop.clone());
                    match tls.clone() {
                        Some(tls) => conversations.spawn(converse_over_tls(stream, tls, router, place, stop)),
                        None => conversations.spawn(converse(stream, router, place, stop)),
                    };
                }
            }
            Err(source) if failures >= MAX_ACCEPT_FAILURES => return Err(ServeError { address, source }),
            Err(error) => {
                failures += 1;
                server.connections.drop_one();
                tracing::warn!(%error, failures, "a connection of a client could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while conversations.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_DEADLINE, ended).await.is_err() {
        tracing::warn!(%address, "requests were still under way when the API server stopped");
    }
    Ok(())
}

/// Answers one client over TLS; until the handshake has ended, its place can be given to another one like that of any client that has not
/// asked for anything.
async fn converse_over_tls(
    stream: TcpStream,
    tls: Acceptor,
    router: Router,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = place.ended() => return,
    };
    match accepted {
        Ok(stream) => converse(stream, router, place, stop).await,
        Err(error) => tracing::debug!(%error, "no TLS with a client"),
    }
}

/// Answers one client until it leaves, is dropped for another one, or the server stops.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let (asked, here) = (Arc::clone(&has_asked), Arc::clone(&place));
    let service = service_fn(move |request: http::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&here));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.ended() => {
            if !stop.is_cancelled() {
                tracing::debug!("dropped a connection that was waited for, for another one");
                return;
            }
            // Shutting down gracefully would wait for the first request.
            if !has_asked.load(Ordering::Relaxed) {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the connection of a client ended");
    }
}

impl Server {
    fn new(opening: Opening, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            opening,
            connections: Connections::new(bounds.connections),
            bodies: Bodies::new(bounds.body_bytes),
            slots: Semaphore::new(bounds.requests),
            bounds,
        })
    }

    fn router(self: &Arc<Self>, others: Router) -> Router {
        let server = Arc::clone(self);
        others.fallback_service(tower::service_fn(move |request: Request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(server.handle(request).await.map(Body::from)) }
        }))
    }

    fn enter(&self, end: CancellationToken) -> Option<Arc<Place>> {
        let place = self.connections.enter(end).map(Arc::new);
        if place.is_none() {
            tracing::warn!(
                "turned a client away: every one of {} connections has a request that is being served",
                self.bounds.connections
            );
        }
        place
    }

    async fn handle(&self, request: Request) -> Response<Bytes> {
        let (mut parts, body) = request.into_parts();
        let place = parts.extensions.remove::<Arc<Place>>();
        let screened = match self.opening.api() {
            Some(api) => front::screen(api, &parts).map(|admitted| (api, admitted)),
            None => Err(Box::new(self.not_yet(&parts))),
        };
        let response = match screened {
            Ok((api, admitted)) => self.take(api, admitted, parts, body, place.as_deref()).await,
            Err(refusal) => {
                bodies::discard(body).await;
                *refusal
            }
        };
        if let Some(place) = place {
            place.waits_for_request();
        }
        response
    }

    /// Refuses a request that comes before the controller serves.
    fn not_yet(&self, parts: &http::request::Parts) -> Response<Bytes> {
        let error = common::SERVICE_UNAVAILABLE.error(
            "This controller does not serve yet; /readyz says what it waits for. Try again, or ask another one.",
        );
        route::refuse(parts, &error, &self.opening.request_id())
    }

    /// Reads and answers a request that is not refused beforehand.
    async fn take(
        &self,
        api: &Arc<Api>,
        admitted: Admitted,
        parts: http::request::Parts,
        body: Body,
        place: Option<&Place>,
    ) -> Response<Bytes> {
        let make_room = || _ = self.connections.drop_one_with_body();
        let mut reading = std::pin::pin!(self.bodies.read(body, make_room));
        // As a rule it has come with its head, and nothing is waited for.
        let read = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => {
                if let Some(place) = place {
                    place.waits_for_body();
                }
                reading.await
            }
        };
        let body = match read {
            Ok(body) => body,
            Err(error) => return front::refuse_unserved(api, &parts, &error),
        };
        let slot = self.slots.try_acquire();
        if slot.is_err() || place.is_some_and(|place| !place.stays()) {
            let error = common::THROTTLING.error(format!(
                "Rate exceeded: {} requests are being served already.",
                self.bounds.requests
            ));
            return front::refuse_unserved(api, &parts, &error);
        }
        let answer = front::answer(Arc::clone(api), admitted, parts, body.bytes.clone()).await;
        if let Some(place) = place.filter(|_| answer.is_signed) {
            place.make_known();
        }
        answer.response
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
