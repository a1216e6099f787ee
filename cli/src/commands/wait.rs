//! `berth wait`: waits until services are stable. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::apply::CANNOT_BE_PLACED;
use super::values;
use crate::cluster::{Cluster, last_part};
use crate::declared::files::FileArguments;
use crate::declared::resource::Kind;
use crate::declared::settling::{self, Awaited, Settled};
use crate::target::TargetArguments;

/// Flags of `berth wait`.
#[derive(Args, Debug)]
#[command(
    after_help = "A service is stable once it has one deployment, which is completed, and all tasks that are wanted run.\n\
                        Exit codes: 0 all are stable, 3 the time is over and tasks of a service found no host, 1 an error, a newest deployment that failed, \
                        was stopped or rolled back, or another reason why the time is over."
)]
pub(crate) struct Arguments {
    /// Services to wait for
    #[arg(value_name = "SERVICE")]
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
    let awaited = |cluster: &str, service: &str| Awaited {
        cluster: last_part(cluster).to_owned(),
        service: service.to_owned(),
        revision: None,
        over_before: None,
    };
    let named = arguments
        .services
        .iter()
        .map(|service| awaited(&target.cluster, service));
    let declared = declared.iter().filter(|resource| resource.kind == Kind::Service);
    let declared = declared.map(|resource| awaited(resource.cluster().unwrap_or(&target.cluster), &resource.name));
    let all: Vec<Awaited> = named.chain(declared).collect();
    ensure!(!all.is_empty(), "the files declare no service");
    Ok(
        match settling::wait(&Cluster::of(&target)?, &all, arguments.timeout).await? {
            Settled::Stable => ExitCode::SUCCESS,
            Settled::CannotBePlaced => ExitCode::from(CANNOT_BE_PLACED),
            Settled::Failed => ExitCode::FAILURE,
        },
    )
}
