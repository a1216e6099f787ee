//! `berth hosts`: lists the hosts of a cluster, and takes some out of service or back.
//!
//! Owns the flags and the choice of a host by what people call it. Shell, but for that choice, which is pure.

mod drain;
mod power;
mod row;
mod settings;
mod waiting;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use berth_aws::Timestamp;
use berth_aws::berth::RemoveHostRequest;
use berth_aws::berth::operations::RemoveHost;
use berth_aws::ecs::operations::UpdateContainerInstancesState;
use berth_aws::ecs::{ContainerInstance, ContainerInstanceStatus, UpdateContainerInstancesStateRequest};
use clap::{Args, Subcommand};

use self::row::Row;
use crate::cluster::{Cluster, last_part};
use crate::host_names::{self, id, name};
use crate::output::{self, Format};
use crate::short_id;
use crate::table::Table;
use crate::target::TargetArguments;

/// Container instances whose state ECS changes in one call.
const UPDATE_LIMIT: usize = 10;

/// Flags of `berth hosts`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<HostsCommand>,
    #[command(flatten)]
    target: TargetArguments,
    /// As a table, or as a JSON array with one object per host
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Subcommand, Debug)]
enum HostsCommand {
    /// Have no new tasks go to these hosts, and the tasks of services move away
    Drain(drain::Arguments),
    /// Have tasks go to these hosts again
    Activate(ChangeArguments),
    /// Have these hosts sleep once their tasks have left, until somebody wakes them
    Sleep(power::SleepArguments),
    /// Have these hosts woken that sleep
    Wake(power::WakeArguments),
    /// Show how the cluster keeps in touch with its hosts and what becomes of those that are cut off, or change it
    Settings(settings::Arguments),
    /// Take these hosts out of the cluster for good, and refuse their agents from now on
    Remove(RemoveArguments),
}

/// Which hosts `berth hosts drain`, `activate`, `sleep` and `wake` change.
#[derive(Args, Debug)]
struct ChangeArguments {
    /// Name of a host; or the id of its container instance, its first digits (4 at least) or its ARN
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
    #[command(flatten)]
    target: TargetArguments,
}

/// Flags of `berth hosts remove`.
#[derive(Args, Debug)]
struct RemoveArguments {
    /// Name of a host; the id of its container instance, its first digits (4 at least) or its ARN; or the identity (berth://.../agent/ID) or
    /// the id of an agent, also of one that is a host elsewhere or none at all
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
    #[command(flatten)]
    target: TargetArguments,
    /// Even if they have tasks, which then count as stopped
    #[arg(long)]
    force: bool,
}

/// Prints the hosts, or changes what was asked for.
///
/// # Errors
/// If the cluster cannot be asked, or a host is not known.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        None => list(&Cluster::of(&arguments.target.find()?)?, arguments.format).await?,
        Some(HostsCommand::Drain(arguments)) => return drain::run(arguments).await,
        Some(HostsCommand::Activate(change)) => {
            let cluster = Cluster::of(&change.target.find()?)?;
            set(&cluster, &change.hosts, ContainerInstanceStatus::Active).await?;
        }
        Some(HostsCommand::Sleep(arguments)) => return power::sleep(arguments).await,
        Some(HostsCommand::Wake(arguments)) => return power::wake(arguments).await,
        Some(HostsCommand::Settings(arguments)) => settings::run(arguments).await?,
        Some(HostsCommand::Remove(removal)) => remove(removal).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Drains hosts, as `berth hosts drain` does that does not wait.
///
/// # Errors
/// As [`run`].
pub(super) async fn drain(hosts: Vec<String>, target: TargetArguments) -> Result<()> {
    let cluster = Cluster::of(&target.find()?)?;
    set(&cluster, &hosts, ContainerInstanceStatus::Draining).await.map(drop)
}

async fn list(cluster: &Cluster, format: Format) -> Result<()> {
    let arns = cluster.host_arns().await?;
    let (hosts, details) = (cluster.hosts(&arns).await?, cluster.host_details(&arns).await?);
    let details: BTreeMap<_, _> = details
        .into_iter()
        .filter_map(|host| Some((host.container_instance_arn.clone()?, host)))
        .collect();
    let details_of = |host: &ContainerInstance| details.get(host.container_instance_arn.as_deref()?);
    let mut rows: Vec<Row> = hosts.iter().map(|host| Row::of(host, details_of(host))).collect();
    rows.sort_by(|a, b| a.order().cmp(&b.order()));
    if format == Format::Json {
        return output::line(&serde_json::to_string_pretty(&rows)?);
    }
    output::line(&table(&rows, crate::age::now()).render(output::width()))?;
    if rows.is_empty() {
        output::complain(&format!(
            "cluster {name} has no hosts; `berth agent --cluster {name} --join-file FILE --peer HOST:PORT` makes a machine one, with a token from \
             `berth token create --role agent`",
            name = cluster.name()
        ));
    }
    Ok(())
}

fn table(rows: &[Row], now: Timestamp) -> Table {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let length = short_id::length(&ids);
    let mut headings = vec![
        "HOST", "ID", "ZONE", "POOL", "STATUS", "AGENT", "CPU", "MEMORY", "TASKS", "AGE", "VERSION",
    ];
    // A column for what few clusters have.
    let offers_fargate = rows.iter().any(|row| !row.fargate().is_empty());
    if offers_fargate {
        headings.push("FARGATE");
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let fargate = offers_fargate.then(|| row.fargate());
        table.row(row.cells(length, now).into_iter().chain(fargate));
    }
    table
}

/// The hosts that are wanted. All are looked up before any is changed, so that a mistyped name changes nothing.
fn choose_all<'a>(
    cluster: &Cluster,
    hosts: &'a [ContainerInstance],
    wanted: &[String],
) -> Result<Vec<&'a ContainerInstance>> {
    let found = wanted
        .iter()
        .map(|wanted| choose(hosts, wanted)?.with_context(|| unknown(cluster, hosts, wanted)));
    found.collect()
}

/// The hosts that are wanted, as [`choose_all`] finds them.
async fn chosen(cluster: &Cluster, wanted: &[String]) -> Result<Vec<ContainerInstance>> {
    let hosts = cluster.hosts(&cluster.host_arns().await?).await?;
    let chosen = choose_all(cluster, &hosts, wanted)?;
    Ok(chosen.into_iter().cloned().collect())
}

/// The id of the container instance of a host by what people call it.
///
/// # Errors
/// If the cluster cannot be asked, or has no such host or several.
pub(super) async fn id_of(cluster: &Cluster, wanted: &str) -> Result<String> {
    let hosts = cluster.hosts(&cluster.host_arns().await?).await?;
    let chosen = choose(&hosts, wanted)?.with_context(|| unknown(cluster, &hosts, wanted))?;
    Ok(id(chosen).to_owned())
}

async fn remove(removal: RemoveArguments) -> Result<()> {
    let cluster = Cluster::of(&removal.target.find()?)?;
    // Agents need not be in any cluster.
    let hosts = match removal.hosts.iter().all(|wanted| is_identity(wanted)) {
        true => vec![],
        false => cluster.hosts(&cluster.host_arns().await?).await?,
    };
    let chosen = removal.hosts.iter().map(|wanted| removed(&cluster, &hosts, wanted));
    for (id, name) in chosen.collect::<Result<Vec<_>>>()? {
        let request = RemoveHostRequest {
            cluster: cluster.named(),
            container_instance: Some(id),
            force: Some(removal.force),
        };
        cluster.call::<RemoveHost>(&request).await?;
        output::line(&format!("{name}: removed; its agent needs a new token to join again"))?;
    }
    Ok(())
}

/// Who is to be removed, as requests and as people call it: a host of the cluster, or an agent that the controller knows.
fn removed(cluster: &Cluster, hosts: &[ContainerInstance], wanted: &str) -> Result<(String, String)> {
    if is_identity(wanted) {
        return Ok((wanted.to_owned(), wanted.to_owned()));
    }
    match choose(hosts, wanted)? {
        Some(host) => Ok((id(host).to_owned(), name(host))),
        None if short_id::is_whole(wanted) => Ok((wanted.to_owned(), wanted.to_owned())),
        None => bail!(unknown(cluster, hosts, wanted)),
    }
}

/// Whether that is who a certificate speaks for, as `berth ca rotate` names it.
fn is_identity(wanted: &str) -> bool {
    wanted.starts_with("berth://")
}

/// Gives hosts a status, and says how they are; returns them as they are now.
async fn set(cluster: &Cluster, wanted: &[String], status: ContainerInstanceStatus) -> Result<Vec<ContainerInstance>> {
    let chosen = chosen(cluster, wanted).await?;
    let mut changed = vec![];
    for some in chosen.chunks(UPDATE_LIMIT) {
        let request = UpdateContainerInstancesStateRequest {
            cluster: cluster.named(),
            container_instances: Some(some.iter().map(|host| id(host).to_owned()).collect()),
            status: Some(status),
        };
        let answer = cluster.call::<UpdateContainerInstancesState>(&request).await?;
        for host in answer.container_instances.iter().flatten() {
            output::line(&outcome(host))?;
        }
        if let Some(failure) = answer.failures.iter().flatten().next() {
            bail!(
                "container instance {} was not changed: {}",
                failure.arn.as_deref().map(last_part).unwrap_or_default(),
                failure.reason.as_deref().unwrap_or("no reason is known")
            );
        }
        changed.extend(answer.container_instances.into_iter().flatten());
    }
    Ok(changed)
}

/// The host of that name, else the one whose id is or begins so. `None` if there is none.
///
/// # Errors
/// If several are meant; their ids are named.
fn choose<'a>(hosts: &'a [ContainerInstance], wanted: &str) -> Result<Option<&'a ContainerInstance>> {
    let named: Vec<&ContainerInstance> = hosts.iter().filter(|host| name(host) == wanted).collect();
    match named.as_slice() {
        [only] => return Ok(Some(only)),
        [] => {}
        several => {
            let ids: Vec<&str> = several.iter().map(|host| id(host)).collect();
            let length = short_id::length(&ids);
            let ids: Vec<&str> = ids.iter().map(|id| short_id::cut(id, length)).collect();
            bail!(
                "{} hosts are called {wanted}; name one by its id: {}",
                ids.len(),
                ids.join(", ")
            );
        }
    }
    let wanted = last_part(wanted);
    if !short_id::is_prefix(wanted) {
        return Ok(None);
    }
    let found = short_id::complete(wanted, hosts.iter().map(id))?;
    Ok(found.and_then(|found| hosts.iter().find(|host| id(host) == found)))
}

fn unknown(cluster: &Cluster, hosts: &[ContainerInstance], wanted: &str) -> String {
    /// Names that a message lists; of more, `berth hosts` tells.
    const LISTED: usize = 10;
    let mut names: Vec<String> = hosts.iter().map(name).collect();
    names.sort_by(|a, b| host_names::order(a).cmp(&host_names::order(b)));
    names.truncate(LISTED);
    let others = match (names.as_slice(), hosts.len() > LISTED) {
        ([], _) => "it has none".to_owned(),
        (names, false) => format!("it has {}", names.join(", ")),
        (_, true) => "`berth hosts` lists those that it has".to_owned(),
    };
    format!("cluster {} has no host {wanted}; {others}", cluster.name())
}

fn outcome(host: &ContainerInstance) -> String {
    let (name, tasks) = (
        name(host),
        host.running_tasks_count.unwrap_or(0) + host.pending_tasks_count.unwrap_or(0),
    );
    match (host.status.as_deref().unwrap_or_default(), tasks) {
        ("DRAINING", 0) => format!("{name} is DRAINING and has no tasks; `berth hosts activate {name}` takes it back"),
        ("DRAINING", tasks) => format!(
            "{name} is DRAINING with {tasks} {}: those of services move to other hosts, others stay until they end. `berth hosts drain {name} \
             --wait` says which are left and why; `berth hosts activate {name}` takes it back",
            if tasks == 1 { "task" } else { "tasks" }
        ),
        ("REGISTERING", _) => format!(
            "{name} is REGISTERING: it takes no other task until each critical daemon of its capacity provider serves there. `berth why-not SERVICE \
             --host {name}` says which does not, and why if its deployment failed"
        ),
        (status, _) => format!("{name} is {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, id: &str) -> ContainerInstance {
        ContainerInstance {
            container_instance_arn: Some(format!(
                "arn:aws:ecs:us-east-1:123456789012:container-instance/shop/{id}"
            )),
            ec2_instance_id: Some(name.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn host_is_found_by_name_id_and_beginning_of_its_id() {
        let hosts = [host("host-1", "aaaa0001"), host("host-2", "bbbb0002")];
        for wanted in [
            "host-2",
            "bbbb0002",
            "bbbb",
            hosts[1].container_instance_arn.as_ref().expect("an ARN"),
        ] {
            let found = choose(&hosts, wanted).expect("one").expect(wanted);
            assert_eq!(name(found), "host-2");
        }
        assert!(choose(&hosts, "host-3").expect("none").is_none());
    }

    #[test]
    fn name_that_two_hosts_share_is_refused_with_their_ids() {
        let hosts = [host("rack", "aaaa0001ff"), host("rack", "bbbb0002ff")];
        let error = choose(&hosts, "rack").expect_err("ambiguous");
        assert_eq!(
            error.to_string(),
            "2 hosts are called rack; name one by its id: aaaa0001, bbbb0002"
        );
    }

    #[test]
    fn drained_host_says_what_becomes_of_its_tasks() {
        let mut drained = host("host-1", "aaaa0001");
        drained.status = Some("DRAINING".to_owned());
        drained.running_tasks_count = Some(2);
        let text = outcome(&drained);
        assert!(
            text.starts_with("host-1 is DRAINING with 2 tasks: those of services move"),
            "{text}"
        );
        assert!(text.contains("`berth hosts activate host-1`"), "{text}");
    }
}
