//! `berth what-if`: what would become of a cluster if hosts were lost, drained or added, or services changed.
//!
//! Owns the flags. Shell.

mod answer;
mod sentence;
mod values;

pub(super) use answer::{label, more_tasks, text};

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use berth_aws::berth::operations::PredictChanges;
use berth_aws::berth::{HostToAdd, PredictChangesRequest, ServiceChange};
use clap::Args;

use super::hosts;
use crate::cluster::Cluster;
use crate::output::{self, Format};
use crate::target::TargetArguments;

/// Flags of `berth what-if`. What several of them say happens at once.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Nothing is heard of this host any more: its name; or the id of its container instance, its first digits (4 at least) or its ARN
    #[arg(long, value_name = "HOST")]
    lose_host: Vec<String>,
    /// All hosts of this availability zone are lost
    #[arg(long, value_name = "ZONE")]
    lose_az: Vec<String>,
    /// This host is drained
    #[arg(long, value_name = "HOST")]
    drain: Vec<String>,
    /// A host joins: cpu=UNITS (1024 for a core),memory=MIB, and name=NAME, az=ZONE, capacity-provider=NAME, fargate, fargate-spot and
    /// attribute:NAME=VALUE if they matter
    #[arg(long, value_name = "SPEC", value_parser = values::new_host)]
    add_host: Vec<HostToAdd>,
    /// A service gets another desired count
    #[arg(long, value_name = "SERVICE=COUNT", value_parser = values::scale)]
    scale: Vec<ServiceChange>,
    /// A service gets another placement strategy and is deployed anew: TYPE or TYPE:FIELD, several with commas between, such as
    /// web=spread:attribute:ecs.availability-zone,binpack:memory
    #[arg(long, value_name = "SERVICE=STRATEGY", value_parser = values::strategy)]
    strategy: Vec<ServiceChange>,
    #[command(flatten)]
    target: TargetArguments,
    /// In words and tables, or as the API answers
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints what would happen.
///
/// # Errors
/// If nothing is asked about, the cluster cannot be asked, or has no such host or service.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    for (flag, changes) in [("--scale", &arguments.scale), ("--strategy", &arguments.strategy)] {
        let mut seen = BTreeSet::new();
        let twice = changes
            .iter()
            .filter_map(|change| change.service.as_deref())
            .find(|name| !seen.insert(*name));
        if let Some(service) = twice {
            bail!("{flag} says two things of service {service}: say one");
        }
    }
    let services = [arguments.scale, arguments.strategy].concat();
    let asks = [
        arguments.lose_host.len(),
        arguments.lose_az.len(),
        arguments.drain.len(),
        arguments.add_host.len(),
        services.len(),
    ];
    ensure!(
        asks.iter().any(|number| *number > 0),
        "what if what? Name at least one change: --lose-host, --lose-az, --drain, --add-host, --scale or --strategy"
    );
    let loses_hosts = asks[0] + asks[1] > 0;
    let cluster = Cluster::of(&arguments.target.find()?)?;
    let request = PredictChangesRequest {
        cluster: cluster.named(),
        lose_hosts: Some(ids_of(&cluster, &arguments.lose_host).await?),
        lose_zones: Some(arguments.lose_az),
        drain_hosts: Some(ids_of(&cluster, &arguments.drain).await?),
        add_hosts: Some(arguments.add_host),
        services: Some(services),
        requests: None,
    };
    let answer = cluster.call::<PredictChanges>(&request).await?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&answer)?),
        Format::Table => output::line(&answer::text(&answer, loses_hosts)),
    }
}

async fn ids_of(cluster: &Cluster, hosts: &[String]) -> Result<Vec<String>> {
    let mut ids = vec![];
    for wanted in hosts {
        ids.push(hosts::id_of(cluster, wanted).await?);
    }
    Ok(ids)
}
