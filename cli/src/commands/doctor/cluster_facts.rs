//! Asks a controller how it and its cluster are. Shell.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_aws::berth::ListMembersRequest;
use berth_aws::berth::operations::ListMembers;
use berth_aws::ecs::Task;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::cluster::{ClusterFacts, Inside, NotSeen};
use crate::cluster::{Cluster, NoCluster};
use crate::https::Connector;
use crate::target::Target;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Services that are looked at; more would take long.
const MAX_SERVICES: usize = 500;
/// Tasks that are looked at, the same.
const MAX_TASKS: usize = 2_000;
/// Time after which a task that is neither up nor down is stuck: longer than most images take to pull.
const STUCK_AFTER_MS: i64 = 5 * 60 * 1000;

/// An answer to a question without a signature.
struct Answer {
    is_success: bool,
    date: Option<jiff::Timestamp>,
    text: String,
}

/// Asks.
pub(super) async fn collect(target: &Target) -> ClusterFacts {
    let endpoint = target.endpoint.trim_end_matches('/').to_owned();
    let ready = get(&format!("{endpoint}/readyz")).await;
    let now = jiff::Timestamp::now();
    let mut facts = ClusterFacts {
        endpoint: endpoint.clone(),
        clock_ahead_secs: None,
        ready: Err(String::new()),
        samples: vec![],
        controllers: None,
        inside: None,
    };
    match ready {
        Ok(answer) => {
            facts.clock_ahead_secs = answer.date.map(|date| date.as_second() - now.as_second());
            facts.ready = Ok((answer.is_success, answer.text.trim().to_owned()));
        }
        Err(error) => {
            facts.ready = Err(format!("{error:#}"));
            return facts;
        }
    }
    if let Ok(answer) = get(&format!("{endpoint}/metrics")).await {
        facts.samples = samples(&answer.text);
    }
    if facts.ready.as_ref().is_ok_and(|(ready, _)| *ready) {
        // Why the API does not say it is found out below.
        facts.controllers = controllers(target).await.ok();
        facts.inside = Some(inside(target, now).await.map_err(not_seen));
    }
    facts
}

fn not_seen(error: anyhow::Error) -> NotSeen {
    match error.downcast::<NoCluster>() {
        Ok(missing) => NotSeen::NoCluster(missing),
        Err(error) => NotSeen::Refused(format!("{error:#}")),
    }
}

async fn get(url: &str) -> Result<Answer> {
    let request = http::Request::get(url)
        .body(Empty::<Bytes>::new())
        .context("not a URL")?;
    let client = Client::builder(TokioExecutor::new()).build(Connector::for_endpoint(request.uri())?);
    let asking = async {
        let answer = client.request(request).await.context("cannot connect")?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let date = parts
            .headers
            .get(http::header::DATE)
            .and_then(|date| date.to_str().ok());
        anyhow::Ok(Answer {
            is_success: parts.status.is_success(),
            date: date
                .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
                .map(|date| date.timestamp()),
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .with_context(|| format!("no answer within {} s", DEADLINE.as_secs()))?
}

/// Samples with their labels as they are written.
fn samples(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    samples.collect()
}

async fn inside(target: &Target, now: jiff::Timestamp) -> Result<Inside> {
    let cluster = Cluster::of(target)?;
    let mut found = Inside {
        name: cluster.name().to_owned(),
        ..Inside::default()
    };
    let hosts = cluster.hosts(&cluster.host_arns().await?).await?;
    for host in hosts
        .into_iter()
        .filter(|host| host.status.as_deref() != Some("INACTIVE"))
    {
        if host.agent_connected.unwrap_or(false) {
            found.connected += 1;
        } else {
            found.away.push(host.ec2_instance_id.unwrap_or_default());
        }
    }
    let mut arns = cluster.all_task_arns(None).await?;
    arns.truncate(MAX_TASKS);
    for task in cluster.tasks(&arns).await? {
        found.stuck.extend(stuck(&task, now.as_millisecond()));
    }
    let services = cluster.services(&cluster.service_arns(MAX_SERVICES).await?).await?;
    for service in services {
        let (running, desired) = (service.running_count.unwrap_or(0), service.desired_count.unwrap_or(0));
        if running < desired && service.status.as_deref() == Some("ACTIVE") {
            let name = service.service_name.unwrap_or_default();
            found.short.push((name, running.into(), desired.into()));
        }
    }
    Ok(found)
}

/// How many there are, and the names of those that are not in touch with the leader.
async fn controllers(target: &Target) -> Result<(usize, Vec<String>)> {
    let listed = target.client()?.call::<ListMembers>(&ListMembersRequest {}).await?;
    let members = listed.members.unwrap_or_default();
    let away = members.iter().filter(|member| member.connected == Some(false));
    let names = away.map(|member| member.name.clone().or(member.member_id.clone()).unwrap_or_default());
    Ok((members.len(), names.collect()))
}

/// A task that is neither running nor over, with its status and for how many minutes. One that waits for a host of its capacity provider is not stuck: it
/// ends by itself if none comes.
fn stuck(task: &Task, now_ms: i64) -> Option<(String, String, i64)> {
    let status = task.last_status.as_deref().unwrap_or_default();
    if ["RUNNING", "STOPPED", "PROVISIONING"].contains(&status) {
        return None;
    }
    // Not before it had a host that was there.
    let since = task.stopping_at.or(task.connectivity_at.max(task.created_at))?.0;
    let age = now_ms - since;
    let id = task
        .task_arn
        .as_deref()
        .unwrap_or_default()
        .rsplit('/')
        .next()
        .unwrap_or_default();
    (age >= STUCK_AFTER_MS).then(|| (id.to_owned(), status.to_owned(), age / 60_000))
}

#[cfg(test)]
mod tests {
    use berth_aws::Timestamp;

    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# TYPE a gauge\na 3\nb{role=\"x y\"} 1.5\n# EOF\n";
        assert_eq!(
            samples(text),
            [("a".to_owned(), 3.0), ("b{role=\"x y\"}".to_owned(), 1.5)]
        );
    }

    #[test]
    fn task_is_stuck_when_it_is_neither_up_nor_down_for_long() {
        let task = |status: &str, stopping_at: Option<i64>| Task {
            task_arn: Some("arn:aws:ecs:r:1:task/c/abc".to_owned()),
            last_status: Some(status.to_owned()),
            created_at: Some(Timestamp(0)),
            stopping_at: stopping_at.map(Timestamp),
            ..Task::default()
        };
        let now = 20 * 60_000;
        let found = stuck(&task("PENDING", None), now).expect("stuck");
        assert_eq!(found, ("abc".to_owned(), "PENDING".to_owned(), 20));
        assert_eq!(stuck(&task("RUNNING", None), now), None);
        assert_eq!(stuck(&task("STOPPED", None), now), None);
        assert_eq!(stuck(&task("DEACTIVATING", Some(now - 60_000)), now), None);
    }
}
