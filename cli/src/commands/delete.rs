//! `berth delete`: takes away what files declare. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_aws::cloudwatch::operations::DeleteAlarms;
use berth_aws::ecs::operations::{
    DeleteCapacityProvider, DeleteCluster, DeleteDaemon, DeleteDaemonTaskDefinition, DeleteService,
    DeregisterTaskDefinition, UpdateService,
};
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::apply::CHANGES;
use super::values;
use crate::cluster::{Cluster, last_part};
use crate::declared::files::FileArguments;
use crate::declared::live::Live;
use crate::declared::resource::{Kind, Resource};
use crate::target::TargetArguments;
use crate::{output, protected};

/// How often a service that is being deleted is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Flags of `berth delete`.
#[derive(Args, Debug)]
#[command(
    after_help = "Services go first: they are drained, and their tasks stop. Daemons follow. Then all active revisions of the families of the files are \
                        deregistered, and alarms, clusters and capacity providers deleted.\nExit codes: 0 nothing of the files was there, 2 something was deleted, 1 an error."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Stop protected tasks too, instead of waiting until their protection ends
    #[arg(long)]
    force: bool,
    /// Wait no longer than this for the tasks of services to stop, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::patience)]
    timeout: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

/// Deletes what the files declare, in the reverse order of its making.
///
/// # Errors
/// If the files are refused, the controller refuses something, or tasks do not stop in time.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let declared = arguments.files.read()?;
    let target = arguments.target.find()?;
    let live = Live::new(target.client()?);
    let (services, others): (Vec<_>, Vec<_>) = declared
        .resources
        .into_iter()
        .rev()
        .partition(|resource| resource.kind == Kind::Service);
    let (daemons, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|resource| resource.kind == Kind::Daemon);
    let cluster = Cluster::of(&target)?;
    let mut has_deleted = drain(&live, &cluster, &services, &arguments).await?;
    has_deleted |= delete_daemons(&live, cluster.name(), &daemons, arguments.timeout).await?;
    for resource in others {
        has_deleted |= delete(&live, &resource).await.map_err(|error| at(&resource, error))?;
    }
    if !has_deleted {
        output::line("Nothing of it is there.")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(CHANGES))
}

/// Deletes services and waits until their tasks have stopped; false if there were none.
async fn drain(live: &Live, default: &Cluster, services: &[Resource], arguments: &Arguments) -> Result<bool> {
    let mut draining = vec![];
    for service in services {
        let cluster = last_part(service.cluster().unwrap_or(default.name())).to_owned();
        let Some(there) = live.service(&cluster, &service.name).await? else {
            continue;
        };
        if there["status"] != "DRAINING" || arguments.force {
            let is_daemon = there["schedulingStrategy"] == "DAEMON";
            begin(live, &cluster, &service.name, is_daemon, arguments.force)
                .await
                .map_err(|error| at(service, error))?;
        }
        draining.push((service, cluster));
    }
    let has_services = !draining.is_empty();
    let deadline = Instant::now() + arguments.timeout;
    while let Some((service, cluster)) = draining.last() {
        if live.service(cluster, &service.name).await?.is_none() {
            output::line(&format!("{} in cluster {cluster}: deleted", service.subject()))?;
            draining.pop();
            continue;
        }
        if Instant::now() >= deadline {
            let of = default.beside(cluster);
            let tasks = of.tasks(&of.all_task_arns(Some(&service.name)).await?).await?;
            let held = protected::sentences(&of, &tasks).await?;
            let why = match held.as_slice() {
                [] => "`berth ps` shows the tasks".to_owned(),
                held => format!("{}; --force stops them", held.join(", ")),
            };
            bail!(
                "{} in cluster {cluster} still has tasks after {} s, and only services have been deleted: {why}",
                service.subject(),
                arguments.timeout.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(has_services)
}

/// Begins to delete a service. Without `force` its protected tasks run on until their protection ends.
async fn begin(live: &Live, cluster: &str, service: &str, is_daemon: bool, force: bool) -> Result<()> {
    if !force && !is_daemon {
        let input = json!({"cluster": cluster, "service": service, "desiredCount": 0});
        live.call::<UpdateService>(&input).await?;
    }
    let input = json!({"cluster": cluster, "service": service, "force": force});
    live.call::<DeleteService>(&input).await?;
    Ok(())
}

/// Deletes daemons and waits until their tasks have stopped; false if there were none.
async fn delete_daemons(live: &Live, default: &str, daemons: &[Resource], timeout: Duration) -> Result<bool> {
    let mut deleting = vec![];
    for daemon in daemons {
        let cluster = last_part(daemon.cluster().unwrap_or(default)).to_owned();
        let Some(there) = live.daemon(&cluster, &daemon.name).await? else {
            continue;
        };
        if there["status"] != "DELETE_IN_PROGRESS" {
            let input = json!({"daemonArn": there["daemonArn"]});
            let deleted = live.call::<DeleteDaemon>(&input).await;
            deleted.map_err(|error| at(daemon, error))?;
        }
        deleting.push((daemon, cluster));
    }
    let has_daemons = !deleting.is_empty();
    let deadline = Instant::now() + timeout;
    while let Some((daemon, cluster)) = deleting.last() {
        if live.daemon(cluster, &daemon.name).await?.is_none() {
            output::line(&format!("{} in cluster {cluster}: deleted", daemon.subject()))?;
            deleting.pop();
            continue;
        }
        if Instant::now() >= deadline {
            bail!(
                "{} in cluster {cluster} still has tasks after {} s, and only services and daemons have been deleted: `berth ps` shows the tasks",
                daemon.subject(),
                timeout.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(has_daemons)
}

/// Deletes something else than a service or daemon; false if it is not there.
async fn delete(live: &Live, resource: &Resource) -> Result<bool> {
    let name = &resource.name;
    match resource.kind {
        Kind::TaskDefinition => {
            let revisions = live.revisions(name).await?;
            for revision in &revisions {
                live.call::<DeregisterTaskDefinition>(&json!({"taskDefinition": revision}))
                    .await?;
                output::line(&format!("task definition {revision}: deregistered"))?;
            }
            return Ok(!revisions.is_empty());
        }
        Kind::Alarm if live.alarm(name).await?.is_none() => return Ok(false),
        Kind::Alarm => live.call::<DeleteAlarms>(&json!({"AlarmNames": [name]})).await?,
        Kind::DaemonTaskDefinition => {
            let revisions = live.daemon_revisions(name).await?;
            for revision in &revisions {
                let input = json!({"daemonTaskDefinition": revision});
                live.call::<DeleteDaemonTaskDefinition>(&input).await?;
                output::line(&format!("daemon task definition {revision}: deleted"))?;
            }
            return Ok(!revisions.is_empty());
        }
        Kind::Cluster if live.cluster(name).await?.is_none() => return Ok(false),
        Kind::CapacityProvider if live.capacity_provider(name).await?.is_none() => return Ok(false),
        Kind::Cluster => live.call::<DeleteCluster>(&json!({"cluster": name})).await?,
        Kind::CapacityProvider => {
            live.call::<DeleteCapacityProvider>(&json!({"capacityProvider": name}))
                .await?
        }
        Kind::Service | Kind::Daemon => return Ok(false),
    };
    output::line(&format!("{}: deleted", resource.subject()))?;
    Ok(true)
}

/// The error, with where the thing stands in the files.
fn at(resource: &Resource, error: anyhow::Error) -> anyhow::Error {
    error.context(resource.problem("", "was not deleted").to_string())
}
