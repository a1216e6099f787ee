//! The paths for operators and their tools, beside AWS's on the API's port. They are not signed, as such tools expect, and tell counts
//! but no names. Shell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Response, StatusCode, header};

use super::{Metrics, readings};
use crate::agents::AgentsHandle;
use crate::replica::StateGroup;

/// How long a controller may take to be ready: longer than a slow sync, shorter than the patience of what asks.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The media type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the paths tell of, as it comes to be while a controller starts. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    member: OnceLock<(StateGroup, AgentsHandle)>,
    serves: AtomicBool,
}

impl Watched {
    /// The controller is a member of its group from now on.
    pub(crate) fn begin(&self, group: StateGroup, sessions: AgentsHandle) {
        self.0.member.get_or_init(|| (group, sessions));
    }

    /// It serves the API from now on.
    pub(crate) fn serves(&self) {
        self.0.serves.store(true, Ordering::Release);
    }

    fn member(&self) -> Option<&(StateGroup, AgentsHandle)> {
        self.0.member.get()
    }
}

/// `/healthz`: the process lives. `/readyz`: it serves, and can answer a linearizable read now. `/metrics`: its metrics.
pub fn routes(watched: Watched) -> Router {
    let asked = watched.clone();
    Router::new()
        .route(
            "/healthz",
            get(|| async { answer(StatusCode::OK, "text/plain", "ok\n".to_owned()) }),
        )
        .route("/readyz", get(move || ready(asked.clone())))
        .route("/metrics", get(move || metrics(watched.clone())))
}

/// While there is no store, or it is being read.
fn starting() -> Response<String> {
    let text = "not ready: the controller opens its store, or asks to be let into its cluster\n";
    answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text.to_owned())
}

async fn ready(watched: Watched) -> Response<String> {
    let Some((group, _)) = watched.member() else {
        return starting();
    };
    let why_not = if watched.0.serves.load(Ordering::Acquire) {
        match tokio::time::timeout(READY_WITHIN, group.read()).await {
            Ok(Ok(_)) => return answer(StatusCode::OK, "text/plain", "ready\n".to_owned()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no linearizable read was confirmed within {} s", READY_WITHIN.as_secs()),
        }
    } else {
        "it starts, and waits until a majority of the members confirms what it has".to_owned()
    };
    let status = group.status();
    let leader = match status.leader {
        Some(leader) => format!("member {leader} leads"),
        None => "its group has no leader".to_owned(),
    };
    let text = format!(
        "not ready: {why_not}; this is member {}, and {leader} in term {}\n",
        status.member_id, status.term
    );
    answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
}

async fn metrics(watched: Watched) -> Response<String> {
    let Some((group, sessions)) = watched.member() else {
        return starting();
    };
    let metrics: Metrics = group.metrics().clone();
    readings::take(&metrics, group, sessions.session_count());
    answer(StatusCode::OK, OPEN_METRICS, metrics.text())
}

fn answer(status: StatusCode, media_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let media_type = header::HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use berth_core::ids::IdSource;
    use berth_raft::RaftOptions;
    use berth_storage::MemoryStorage;
    use http::Request;
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;
    use crate::agents;
    use crate::clock::SystemClock;
    use crate::replica::ReplicatedState;

    #[tokio::test]
    async fn controller_that_cannot_read_lives_but_is_not_ready_and_says_why() {
        let group = StateGroup::start(
            Arc::new(MemoryStorage::default()),
            ReplicatedState::default(),
            RaftOptions {
                member_id: Some(1),
                ..RaftOptions::default()
            },
        )
        .expect("started");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stop = CancellationToken::new();
        let (sessions, _) = agents::start(
            listener,
            group.clone(),
            Arc::new(SystemClock),
            IdSource::from_seed(1),
            stop.clone(),
        )
        .expect("agents are served");
        let watched = Watched::default();
        let routes = routes(watched.clone());
        let ask = |path: &'static str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let routes = routes.clone();
            async move {
                let response = routes.oneshot(request).await.expect("answered");
                let status = response.status();
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                (status, String::from_utf8_lossy(&body).into_owned())
            }
        };
        assert_eq!(ask("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        for path in ["/readyz", "/metrics"] {
            let (status, why) = ask(path).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(why.contains("opens its store"), "{why}");
        }
        watched.begin(group.clone(), sessions);
        let (status, why) = ask("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.contains("it starts") && why.contains("member 1"), "{why}");
        watched.serves();
        group.shutdown().await;
        let (status, why) = ask("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.starts_with("not ready: ") && why.contains("member 1"), "{why}");
        stop.cancel();
    }
}
