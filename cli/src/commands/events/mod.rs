//! `berth events`: what a cluster announces of its tasks, hosts, services and deployments.
//!
//! Owns the flags, and where it goes on after a controller is lost. Shell.

mod line;

use anyhow::{Context, Result, bail};
use berth_aws::Timestamp;
use berth_aws::berth::operations::GetEvents;
use berth_aws::berth::{EventType, GetEventsRequest};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{hosts, values};
use crate::age;
use crate::cluster::{Cluster, last_part};
use crate::following::{Follower, OtherControllers, WAIT_MS, tell_gap};
use crate::output::{self, Format};
use crate::short_id;
use crate::target::TargetArguments;

/// Events of one question: as many as an answer has room for.
const PAGE: i32 = 1_000;

/// Flags of `berth events`.
#[derive(Args, Debug)]
#[command(
    after_help = "Without --follow, what the controller still has is printed; with it, what happens from now on, or since --since or --position.\n\
                        With -o json, each line is an event as ECS sends it to EventBridge; a line {\"gap\": ...} says that events are missing there."
)]
pub(crate) struct Arguments {
    /// Go on printing what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Only what this service says, its deployments and its tasks
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only events of this task: its id, its first digits (4 at least) or its ARN
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only events of this host and of tasks on it: its name; or the id of its container instance, its first digits (4 at least) or its ARN
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only events of this type; can be given several times
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    types: Vec<Type>,
    /// Begin with what happened since then: so long ago, such as 10m, or a time such as 2026-11-27T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "position")]
    since: Option<Timestamp>,
    /// Go on after a position that --bookmarks printed
    #[arg(long, value_name = "POSITION")]
    position: Option<String>,
    /// Print a line {"position": ...} after each answer, from which --position goes on, also at another controller
    #[arg(long)]
    bookmarks: bool,
    #[command(flatten)]
    others: OtherControllers,
    #[command(flatten)]
    target: TargetArguments,
    /// In words, or as EventBridge delivers them
    #[arg(long, short = 'o', value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// "ECS Task State Change"
    Task,
    /// "ECS Container Instance State Change"
    Host,
    /// "ECS Service Action"
    Service,
    /// "ECS Deployment State Change"
    Deployment,
    /// "ECS Hook State Change"
    Hook,
    /// "ECS Daemon Service Action"
    Daemon,
    /// "ECS Daemon Deployment State Change"
    DaemonDeployment,
}

impl From<Type> for EventType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Task => Self::EcsTaskStateChange,
            Type::Host => Self::EcsContainerInstanceStateChange,
            Type::Service => Self::EcsServiceAction,
            Type::Deployment => Self::EcsDeploymentStateChange,
            Type::Hook => Self::EcsHookStateChange,
            Type::Daemon => Self::EcsDaemonServiceAction,
            Type::DaemonDeployment => Self::EcsDaemonDeploymentStateChange,
        }
    }
}

/// Prints the events.
///
/// # Errors
/// If the cluster cannot be asked, or has no such service, task or host.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let target = arguments.target.find()?;
    let mut follower = Follower::of(&target, &arguments.others)?;
    let task = match &arguments.task {
        Some(text) => Some(task_id(follower.cluster(), text).await?),
        None => None,
    };
    let host = match &arguments.host {
        Some(text) => Some(hosts::id_of(follower.cluster(), text).await?),
        None => None,
    };
    // What there is, unless it is to be followed from now on.
    let everything = (!arguments.follow && arguments.position.is_none()).then_some(Timestamp(0));
    let mut request = GetEventsRequest {
        cluster: follower.cluster().named(),
        service: arguments.service,
        task,
        container_instance: host,
        detail_types: Some(arguments.types.into_iter().map(EventType::from).collect()),
        position: arguments.position,
        since: arguments.since.or(everything),
        max_events: Some(PAGE),
        wait_ms: arguments.follow.then_some(WAIT_MS),
    };
    // That some are not kept any more is no news to whoever asks for what there is.
    let mut tells_gaps = arguments.since.is_some() || request.position.is_some();
    loop {
        let answer = follower.call::<GetEvents>(&request).await?;
        if let Some(gap) = answer.gap.filter(|_| tells_gaps) {
            tell_gap(&gap, arguments.format, "events are missing here.")?;
        }
        let events = answer.events.unwrap_or_default();
        for event in &events {
            output::line(&match arguments.format {
                Format::Json => event.to_string(),
                Format::Table => line::of(event),
            })?;
        }
        let position = answer.position.context("the controller does not say where to go on")?;
        if arguments.bookmarks && arguments.format == Format::Json {
            output::line(&json!({"position": position}).to_string())?;
        }
        if events.is_empty() && !arguments.follow {
            return Ok(());
        }
        (request.position, request.since, tells_gaps) = (Some(position), None, true);
    }
}

async fn task_id(cluster: &Cluster, text: &str) -> Result<String> {
    if text.contains(":task/") || short_id::is_whole(text) {
        return Ok(text.to_owned());
    }
    let arns = cluster.all_task_arns(None).await?;
    match short_id::complete(text, arns.iter().map(|arn| last_part(arn)))? {
        Some(id) => Ok(id.to_owned()),
        None => bail!(
            "cluster {} has no task whose id begins with {text}; `berth ps --all` lists its tasks",
            cluster.name()
        ),
    }
}

/// Reads since when.
fn since(text: &str) -> Result<Timestamp> {
    if let Some(at) = Timestamp::from_iso8601(text) {
        return Ok(at);
    }
    let ago = values::patience(text)
        .with_context(|| format!("{text:?} is no time, such as 10m for ten minutes ago or 2026-11-27T18:00:00Z"))?;
    let ago_ms = i64::try_from(ago.as_millis()).context("that is too long ago")?;
    Ok(Timestamp(age::now().0.saturating_sub(ago_ms).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_is_a_time_or_so_long_ago() {
        let at = since("2026-11-27T18:00:00Z").expect("a time");
        assert_eq!(at.iso8601(), "2026-11-27T18:00:00.000Z");
        let begins = since("10m").expect("a time");
        let ago = age::now().0 - begins.0;
        assert!((600_000..660_000).contains(&ago), "{ago}");
        let error = since("yesterday").expect_err("no time").to_string();
        assert!(error.contains("\"yesterday\" is no time"), "{error}");
    }
}
