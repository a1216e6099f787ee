//! The HTTP server: takes requests of bounded size and number, hands them to [`super::front`], and ends gracefully. Shell.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use berth_aws::error::common;
use berth_aws::{AwsError, route};
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::context::Api;
use super::front;

/// Largest body: no ECS request is larger than a task definition, 64 KiB; one change of the state has at most 1 MiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
/// Requests served at once; each may hold a body in memory, so together they hold at most a quarter GiB.
const MAX_REQUESTS: usize = 256;
/// How long requests under way may take to end once the server is told to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Why the server ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the API server on {address} failed")]
pub struct ServeError {
    address: String,
    #[source]
    source: std::io::Error,
}

/// Serves the API on `listener` until `stop`, then lets the requests under way end. `others` are paths that are not AWS's.
///
/// # Errors
/// [`ServeError`] if connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    others: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
    let service = service_fn(move |request: Request| {
        let (api, slots) = (Arc::clone(&api), Arc::clone(&slots));
        async move { Ok::<_, Infallible>(handle(api, &slots, request).await.map(Body::from)) }
    });
    let server =
        axum::serve(listener, others.fallback_service(service)).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = async { server.await } => ended.map_err(|source| ServeError { address, source }),
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN_DEADLINE).await } => {
            tracing::warn!(%address, "requests were still under way when the API server stopped");
            Ok(())
        }
    }
}

async fn handle(api: Arc<Api>, slots: &Semaphore, request: Request) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let Ok(_slot) = slots.try_acquire() else {
        let error = common::THROTTLING.error(format!(
            "Rate exceeded: {MAX_REQUESTS} requests are being served already."
        ));
        return route::refuse(&parts, &error, "");
    };
    match read_body(body).await {
        Ok(body) => front::answer(api, parts, body).await,
        Err(error) => route::refuse(&parts, &error, ""),
    }
}

async fn read_body(body: Body) -> Result<Bytes, AwsError> {
    let reading = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_DEADLINE, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(common::SERIALIZATION.error(format!("The request body is larger than {MAX_BODY_BYTES} bytes.")))
        }
        Ok(Err(error)) => Err(common::SERIALIZATION.error(format!("The request body could not be read: {error}"))),
        Err(_) => Err(common::SERIALIZATION.error(format!(
            "The request body did not arrive within {} s.",
            BODY_DEADLINE.as_secs()
        ))),
    }
}
