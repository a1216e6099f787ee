//! Gives the leader a moment to look at a service that was changed before the next is: it places what it finds at the same time together, and a plan
//! has it look at one service after the other. Shell.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// How long a look is waited for: a leader that is not overloaded needs some milliseconds, and may find nothing to say.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the service is asked for news.
const PAUSE: Duration = Duration::from_millis(10);

/// The newest of the service's events, by its id; none of a service that is not there.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn newest_event(cluster: &Cluster, service: &str) -> Result<Option<String>> {
    let events = cluster.service(service).await?.and_then(|service| service.events);
    Ok(events.into_iter().flatten().next().and_then(|event| event.id))
}

/// Waits until the service has another event than `before`, for a moment at most.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn wait(cluster: &Cluster, service: &str, before: Option<&str>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while newest_event(cluster, service).await?.as_deref() == before && Instant::now() < deadline {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
