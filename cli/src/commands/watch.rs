//! `berth watch`: all resources of a cluster, and then those that change, for tools that keep themselves up to date without asking for everything
//! again and again. Shell, but for the words, which are pure.

use anyhow::{Context, Result};
use berth_aws::berth::operations::WatchResources;
use berth_aws::berth::{ResourceChange, ResourceKind, WatchResourcesRequest};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cluster::last_part;
use crate::counted;
use crate::following::{Follower, OtherControllers, WAIT_MS, tell_gap};
use crate::output::{self, Format};
use crate::target::TargetArguments;

/// Resources of one question: as many as an answer has room for.
const PAGE: i32 = 1_000;

/// Flags of `berth watch`.
#[derive(Args, Debug)]
#[command(
    after_help = "With -o json, a line is {\"kind\", \"arn\", \"resource\"}, the resource as ECS's Describe operation shows it, or \
                        {\"kind\", \"arn\", \"gone\": true}; {\"position\", \"listing\"} follows each answer, and --position goes on from there; \
                        {\"gap\"} says that changes were missed: all resources are listed again, and what is not among them is gone."
)]
pub(crate) struct Arguments {
    /// Only resources of this kind; can be given several times
    #[arg(long = "kind", value_enum, value_name = "KIND")]
    kinds: Vec<Kind>,
    /// End once all resources are listed
    #[arg(long)]
    list: bool,
    /// Go on from a position that was printed before, without a list
    #[arg(long, value_name = "POSITION")]
    position: Option<String>,
    #[command(flatten)]
    others: OtherControllers,
    #[command(flatten)]
    target: TargetArguments,
    /// In words, or in JSON, a line each
    #[arg(long, short = 'o', value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    CapacityProvider,
    Cluster,
    TaskDefinition,
    Host,
    Service,
    Task,
}

impl From<Kind> for ResourceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::CapacityProvider => Self::CapacityProvider,
            Kind::Cluster => Self::Cluster,
            Kind::TaskDefinition => Self::TaskDefinition,
            Kind::Host => Self::ContainerInstance,
            Kind::Service => Self::Service,
            Kind::Task => Self::Task,
        }
    }
}

/// Prints the resources, and their changes.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let mut follower = Follower::of(&arguments.target.find()?, &arguments.others)?;
    let mut request = WatchResourcesRequest {
        cluster: follower.cluster().named(),
        kinds: Some(arguments.kinds.into_iter().map(ResourceKind::from).collect()),
        position: arguments.position,
        max_results: Some(PAGE),
        wait_ms: Some(if arguments.list { 0 } else { WAIT_MS }),
    };
    loop {
        let answer = follower.call::<WatchResources>(&request).await?;
        if let Some(gap) = &answer.gap {
            tell_gap(gap, arguments.format, "changes were missed.")?;
        }
        let changes = answer.changes.unwrap_or_default();
        for change in &changes {
            output::line(&match arguments.format {
                Format::Json => serde_json::to_string(change)?,
                Format::Table => line(change),
            })?;
        }
        let position = answer.position.context("the controller does not say where to go on")?;
        let listing = answer.listing.unwrap_or(false);
        if arguments.format == Format::Json && (listing || !changes.is_empty()) {
            output::line(&json!({"position": position, "listing": listing}).to_string())?;
        }
        if arguments.list && !listing {
            return Ok(());
        }
        request.position = Some(position);
    }
}

/// A resource in a line.
fn line(change: &ResourceChange) -> String {
    let kind = match change.kind {
        Some(ResourceKind::CapacityProvider) => "capacity provider",
        Some(ResourceKind::Cluster) => "cluster",
        Some(ResourceKind::TaskDefinition) => "task definition",
        Some(ResourceKind::ContainerInstance) => "host",
        Some(ResourceKind::Service) => "service",
        Some(ResourceKind::Task) => "task",
        None => "resource",
    };
    let name = last_part(change.arn.as_deref().unwrap_or_default());
    let Some(resource) = &change.resource else {
        return format!("{kind} {name}: gone");
    };
    let text = |member: &str| resource[member].as_str().unwrap_or_default().to_owned();
    let count = |member: &str| resource[member].as_i64().unwrap_or_default();
    let (running, pending) = (count("runningCount"), count("pendingCount"));
    let tasks = || {
        format!(
            "{}, {} are on their way",
            counted::tasks_run(count("runningTasksCount")),
            count("pendingTasksCount")
        )
    };
    let what = match change.kind {
        Some(ResourceKind::Service) => {
            let desired = count("desiredCount");
            format!(
                "{}, {running} of {desired} tasks run, {pending} are on their way",
                text("status")
            )
        }
        Some(ResourceKind::Task) => format!("{}, wanted {}", text("lastStatus"), text("desiredStatus")),
        Some(ResourceKind::ContainerInstance) => {
            let host = resource
                .get("ec2InstanceId")
                .and_then(Value::as_str)
                .unwrap_or_default();
            return format!("{kind} {host} ({name}): {}, {}", text("status"), tasks());
        }
        Some(ResourceKind::Cluster) => format!("{}, {}", text("status"), tasks()),
        _ => text("status"),
    };
    format!("{kind} {name}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_is_told_with_how_it_is_or_that_it_is_gone() {
        let change = |kind, name: &str, resource| ResourceChange {
            kind: Some(kind),
            arn: Some(format!("arn:aws:ecs:us-east-1:123456789012:{name}")),
            gone: None,
            resource,
        };
        let service = json!({"status": "ACTIVE", "desiredCount": 3, "runningCount": 2, "pendingCount": 1});
        assert_eq!(
            line(&change(ResourceKind::Service, "service/shop/web", Some(service))),
            "service web: ACTIVE, 2 of 3 tasks run, 1 are on their way"
        );
        let host =
            json!({"ec2InstanceId": "host-1", "status": "DRAINING", "runningTasksCount": 4, "pendingTasksCount": 0});
        assert_eq!(
            line(&change(
                ResourceKind::ContainerInstance,
                "container-instance/shop/ab",
                Some(host)
            )),
            "host host-1 (ab): DRAINING, 4 tasks run, 0 are on their way"
        );
        assert_eq!(line(&change(ResourceKind::Task, "task/shop/ab", None)), "task ab: gone");
    }
}
