//! `berth wait`: waits until services and daemons are stable. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::apply::CANNOT_BE_PLACED;
use super::values;
use crate::cluster::{Cluster, last_part};
use crate::daemons;
use crate::declared::files::FileArguments;
use crate::declared::resource::{Kind, Resource};
use crate::declared::settling::{self, Awaited, Patience, Settled};
use crate::declared::settling_daemons::{self, AwaitedDaemon};
use crate::target::TargetArguments;

/// Flags of `berth wait`.
#[derive(Args, Debug)]
#[command(
    after_help = "A service is stable once it has one deployment, which is completed, and all tasks that are wanted run; a daemon once its deployment is \
                        successful.\n\
                        Exit codes: 0 all are stable, 3 the time is over and tasks of a service found no host, 1 an error, a newest deployment that failed, \
                        was stopped or rolled back, or another reason why the time is over."
)]
pub(crate) struct Arguments {
    /// Services to wait for, and managed daemons by `daemon:NAME`
    #[arg(value_name = "SERVICE|daemon:NAME")]
    services: Vec<String>,
    #[command(flatten)]
    files: FileArguments,
    /// Wait no longer than this, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::patience)]
    timeout: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

/// Waits for the services that are named, and those of the files.
///
/// # Errors
/// If none are named, one does not exist, or the controller cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    ensure!(
        !arguments.services.is_empty() || !arguments.files.files.is_empty(),
        "wait for what? Name services, or files that declare some with -f"
    );
    let declared = match arguments.files.files.is_empty() {
        true => vec![],
        false => arguments.files.read()?.resources,
    };
    let target = arguments.target.find()?;
    let patience = Patience::of(arguments.timeout);
    let awaited_daemons = daemons_of(&arguments, &declared, &target.cluster);
    let cluster = Cluster::of(&target)?;
    let awaited = |cluster: &str, service: &str| Awaited {
        cluster: last_part(cluster).to_owned(),
        service: service.to_owned(),
        revision: None,
        over_before: None,
    };
    let named = arguments
        .services
        .iter()
        .filter(|service| daemons::named(service).is_none())
        .map(|service| awaited(&target.cluster, service));
    let declared = declared.iter().filter(|resource| resource.kind == Kind::Service);
    let declared = declared.map(|resource| awaited(resource.cluster().unwrap_or(&target.cluster), &resource.name));
    let all: Vec<Awaited> = named.chain(declared).collect();
    ensure!(
        !all.is_empty() || !awaited_daemons.is_empty(),
        "the files declare no service and no daemon"
    );
    // Before services, since hosts take no other task before daemons that are critical.
    if settling_daemons::wait(&cluster, &awaited_daemons, patience).await? != Settled::Stable {
        return Ok(ExitCode::FAILURE);
    }
    Ok(match settling::wait(&cluster, &all, patience).await? {
        Settled::Stable => ExitCode::SUCCESS,
        Settled::CannotBePlaced => ExitCode::from(CANNOT_BE_PLACED),
        Settled::Failed => ExitCode::FAILURE,
    })
}

/// The daemons that are named, and those of files.
fn daemons_of(arguments: &Arguments, declared: &[Resource], default: &str) -> Vec<AwaitedDaemon> {
    let awaited = |cluster: &str, name: &str| AwaitedDaemon {
        cluster: last_part(cluster).to_owned(),
        name: name.to_owned(),
    };
    let named = arguments.services.iter().filter_map(|service| daemons::named(service));
    let named = named.map(|name| awaited(default, name));
    let declared = declared.iter().filter(|resource| resource.kind == Kind::Daemon);
    named
        .chain(declared.map(|daemon| awaited(daemon.cluster().unwrap_or(default), &daemon.name)))
        .collect()
}
