//! `berth why-not`: what every host says to a service's next task, and what would make it fit.
//!
//! Owns the flags and the layout of the answer. Shell, but for the layout, which is pure.

use anyhow::{Context, Result};
use berth_aws::berth::operations::ExplainPlacement;
use berth_aws::berth::{ExplainPlacementRequest, HostFit, Remedy, ResourceAmounts, ServiceFit};
use clap::Args;

use super::hosts;
use crate::cluster::{Cluster, is_refusal, last_part};
use crate::daemons;
use crate::output::{self, Format};
use crate::table::Table;
use crate::target::TargetArguments;

/// Flags of `berth why-not`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Name or ARN of a service; or `daemon:NAME` or the ARN of a managed daemon
    #[arg(value_name = "SERVICE|daemon:NAME")]
    service: String,
    /// Only this host: its name; or the id of its container instance, its first digits (4 at least) or its ARN
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    target: TargetArguments,
    /// In words and tables, or as the API answers
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints what the hosts say.
///
/// # Errors
/// If the cluster cannot be asked, or has no such service or host.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let cluster = Cluster::of(&arguments.target.find()?)?;
    let host = match &arguments.host {
        Some(wanted) => Some(hosts::id_of(&cluster, wanted).await?),
        None => None,
    };
    let request = ExplainPlacementRequest {
        cluster: cluster.named(),
        service: Some(arguments.service.clone()),
        container_instance: host,
        ..Default::default()
    };
    let answer = cluster.call::<ExplainPlacement>(&request).await;
    let answer = answer.map_err(|error| match is_refusal(&error, "ServiceNotFoundException") {
        true => cluster.no_service(&arguments.service),
        false => error,
    })?;
    let fit = answer.fit.context("the controller explained nothing")?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&fit)?),
        Format::Table => output::line(&text(&fit)),
    }
}

/// The answer in words and tables, to the next task of a service or to one that waits for a host.
pub(super) fn text(fit: &ServiceFit) -> String {
    let sentence = fit.sentence.clone().unwrap_or_default();
    let mut parts = vec![format!("{} {}. {sentence}", subject(fit), needs(fit))];
    let hosts = fit.hosts.as_deref().unwrap_or_default();
    if !hosts.is_empty() {
        parts.push(table(hosts).render(output::width()));
    }
    let more = usize::try_from(fit.hosts_asked.unwrap_or(0))
        .unwrap_or(0)
        .saturating_sub(hosts.len());
    if more > 0 {
        parts.push(format!("and {more} more; --host asks one of them"));
    }
    let remedies = fit.remedies.as_deref().unwrap_or_default();
    if !remedies.is_empty() {
        parts.push(format!(
            "What would make it fit, what costs least first:\n{}",
            list(remedies)
        ));
    }
    parts.join("\n\n")
}

/// Whom the answer is about, up to what it needs.
fn subject(fit: &ServiceFit) -> String {
    if let Some(task) = fit.task_arn.as_deref() {
        return format!("Task {} has no host yet. It needs", last_part(task));
    }
    let arn = fit.service_arn.as_deref().unwrap_or_default();
    let noun = daemons::named(arn).map_or("Service", |_| "Daemon");
    let (desired, wanted) = (fit.desired_count.unwrap_or(0), fit.wanted_tasks.unwrap_or(0));
    let name = last_part(arn);
    format!("{noun} {name} wants {desired} and has {wanted}. Its next task needs")
}

fn needs(fit: &ServiceFit) -> String {
    let ports = fit.host_ports.as_deref().unwrap_or_default();
    let amounts = fit.needs.as_ref().map(amounts).unwrap_or_default();
    match ports {
        [] => amounts,
        ports => format!("{amounts} and host ports {}", ports.join(", ")),
    }
}

pub(super) fn amounts(amounts: &ResourceAmounts) -> String {
    let (cpu, memory) = (amounts.cpu.unwrap_or(0), amounts.memory.unwrap_or(0));
    format!("{cpu} CPU units and {memory} MiB")
}

pub(super) fn list(remedies: &[Remedy]) -> String {
    let numbered = remedies.iter().enumerate().map(|(place, remedy)| {
        let sentence = remedy.sentence.as_deref().unwrap_or_default();
        format!("{:>3}. {sentence}", place + 1)
    });
    numbered.collect::<Vec<_>>().join("\n")
}

/// Hosts in the order in which the API tells them: those that take it, the best first, then the closest match first.
fn table(hosts: &[HostFit]) -> Table {
    let mut table = Table::new(&["HOST", "ZONE", "CPU FREE", "RESERVED", "MIB FREE", "RESERVED", "ANSWER"]);
    for host in hosts {
        let id = host.container_instance_arn.as_deref().map(last_part);
        let name = host.host_name.as_deref().or(id).unwrap_or_default();
        let amount = |of: &Option<ResourceAmounts>, what: fn(&ResourceAmounts) -> Option<i32>| {
            of.as_ref().and_then(what).unwrap_or(0).to_string()
        };
        table.row(vec![
            name.to_owned(),
            host.availability_zone.clone().unwrap_or_default(),
            amount(&host.free, |amounts| amounts.cpu),
            amount(&host.reserved, |amounts| amounts.cpu),
            amount(&host.free, |amounts| amounts.memory),
            amount(&host.reserved, |amounts| amounts.memory),
            answer(host),
        ]);
    }
    table
}

fn answer(host: &HostFit) -> String {
    if host.fits.unwrap_or(false) {
        return "takes it".to_owned();
    }
    let refusals = host.refusals.iter().flatten();
    let sentences: Vec<&str> = refusals.filter_map(|refusal| refusal.sentence.as_deref()).collect();
    sentences.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_aws::berth::HostRefusal;

    #[test]
    fn hosts_stay_in_the_order_of_the_answer() {
        let host = |name: &str| HostFit {
            host_name: Some(name.to_owned()),
            ..Default::default()
        };
        let text = table(&[host("host-3"), host("host-1"), host("host-2")]).render(None);
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["HOST", "host-3", "host-1", "host-2"]);
    }

    #[test]
    fn task_that_waits_for_a_host_is_named_instead_of_a_service() {
        let fit = ServiceFit {
            task_arn: Some("arn:aws:ecs:us-east-1:123456789012:task/shop/0123".to_owned()),
            needs: Some(ResourceAmounts {
                cpu: Some(256),
                memory: Some(512),
            }),
            sentence: Some("There is no host that could be asked.".to_owned()),
            ..Default::default()
        };
        assert_eq!(
            text(&fit),
            "Task 0123 has no host yet. It needs 256 CPU units and 512 MiB. There is no host that could be asked."
        );
    }

    #[test]
    fn answer_has_a_line_for_each_host_and_for_each_remedy() {
        let amounts = |cpu, memory| {
            Some(ResourceAmounts {
                cpu: Some(cpu),
                memory: Some(memory),
            })
        };
        let fit = ServiceFit {
            service_arn: Some("arn:aws:ecs:us-east-1:123456789012:service/shop/web".to_owned()),
            desired_count: Some(3),
            wanted_tasks: Some(2),
            needs: amounts(256, 512),
            host_ports: Some(vec!["8080/tcp".to_owned()]),
            sentence: Some("None of 2 hosts would take a task now.".to_owned()),
            hosts_asked: Some(2),
            hosts: Some(vec![HostFit {
                host_name: Some("host-1".to_owned()),
                availability_zone: Some("a".to_owned()),
                fits: Some(false),
                free: amounts(128, 100),
                reserved: amounts(896, 900),
                refusals: Some(vec![HostRefusal {
                    sentence: Some("needs 512 MiB, free 100 of 1000 MiB, short by 412 MiB".to_owned()),
                    ..Default::default()
                }]),
                ..Default::default()
            }]),
            remedies: Some(vec![Remedy {
                sentence: Some("on host-1: lower the task's memory by 412 MiB".to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let lines = text(&fit);
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "Service web wants 3 and has 2. Its next task needs 256 CPU units and 512 MiB and host ports 8080/tcp. None of 2 hosts would \
                 take a task now.",
                "",
                "HOST    ZONE  CPU FREE  RESERVED  MIB FREE  RESERVED  ANSWER",
                "host-1  a     128       896       100       900       needs 512 MiB, free 100 of 1000 MiB, short by 412 MiB",
                "",
                "and 1 more; --host asks one of them",
                "",
                "What would make it fit, what costs least first:",
                "  1. on host-1: lower the task's memory by 412 MiB",
            ]
        );
    }
}
