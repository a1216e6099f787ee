//! `berth rollback`: gives a service an earlier revision of its task definition. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_aws::ecs::UpdateServiceRequest;
use berth_aws::ecs::operations::UpdateService;
use clap::Args;

use super::apply::{CANNOT_BE_PLACED, CHANGES};
use super::values;
use crate::cluster::{Cluster, last_part};
use crate::declared::live::Live;
use crate::declared::settling::{self, Awaited, Patience, Settled};
use crate::output;
use crate::target::TargetArguments;

/// Flags of `berth rollback`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 the service has that revision already, 2 it was given it, 3 it was, and with --wait tasks found no host, 1 an error."
)]
pub(crate) struct Arguments {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The revision to go back to [default: the newest active one before that which the service has]
    #[arg(long, value_name = "REVISION")]
    to: Option<u32>,
    /// Wait until the service is stable, and say how it comes along
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::patience)]
    timeout: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

/// Deploys the earlier revision.
///
/// # Errors
/// If there is no such service or revision, or the controller cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let target = arguments.target.find()?;
    let (cluster, live) = (Cluster::of(&target)?, Live::new(target.client()?));
    let name = last_part(&arguments.service);
    let Some(service) = cluster.service(name).await? else {
        return Err(cluster.no_service(name));
    };
    let has = service.task_definition.as_deref().map(last_part).unwrap_or_default();
    let (family, revision) = has.rsplit_once(':').context("the service has no task definition")?;
    let active = live.revisions(family).await?;
    let wanted = choose(family, revision.parse()?, arguments.to, &active)?;
    if wanted == has {
        output::line(&format!(
            "service {name} in cluster {}: has {has} already",
            cluster.name()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = UpdateServiceRequest {
        cluster: cluster.named(),
        service: Some(name.to_owned()),
        task_definition: Some(wanted.clone()),
        ..Default::default()
    };
    cluster.call::<UpdateService>(&request).await?;
    output::line(&format!(
        "service {name} in cluster {}: from {has} to {wanted}",
        cluster.name()
    ))?;
    if !arguments.wait {
        return Ok(ExitCode::from(CHANGES));
    }
    let awaited = Awaited {
        cluster: cluster.name().to_owned(),
        service: name.to_owned(),
        revision: Some(wanted),
        over_before: None,
    };
    let patience = Patience::of(arguments.timeout);
    Ok(match settling::wait(&cluster, &[awaited], patience).await? {
        Settled::Stable => ExitCode::from(CHANGES),
        Settled::CannotBePlaced => ExitCode::from(CANNOT_BE_PLACED),
        Settled::Failed => ExitCode::FAILURE,
    })
}

/// The revision to go to, as `family:revision`; `active` are those that there are, in the same form.
fn choose(family: &str, current: u32, to: Option<u32>, active: &[String]) -> Result<String> {
    let revisions = active
        .iter()
        .filter_map(|revision| revision.rsplit_once(':')?.1.parse::<u32>().ok());
    let revisions: Vec<u32> = revisions.collect();
    let listed = || {
        let numbers: Vec<String> = revisions.iter().map(u32::to_string).collect();
        match numbers.as_slice() {
            [] => "none is active".to_owned(),
            numbers => format!("active are {}", numbers.join(", ")),
        }
    };
    let wanted = match to {
        Some(wanted) if wanted == current || revisions.contains(&wanted) => Some(wanted),
        Some(wanted) => bail!("{family} has no active revision {wanted}; {}", listed()),
        None => revisions.iter().copied().filter(|revision| *revision < current).max(),
    };
    match wanted {
        Some(wanted) => Ok(format!("{family}:{wanted}")),
        None => bail!("{family} has no active revision before {current}; {}", listed()),
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn revision_before_the_current_one_is_taken_unless_another_is_named() {
        let active: Vec<String> = ["web:7", "web:5", "web:2"].map(str::to_owned).to_vec();
        let chosen = |current, to| choose("web", current, to, &active).map_err(|error| error.to_string());
        assert_eq!(chosen(7, None), Ok("web:5".to_owned()));
        assert_eq!(chosen(6, None), Ok("web:5".to_owned()), "6 is no longer active");
        assert_eq!(chosen(7, Some(2)), Ok("web:2".to_owned()));
        assert_eq!(chosen(7, Some(7)), Ok("web:7".to_owned()));
        assert_eq!(
            chosen(2, None),
            Err("web has no active revision before 2; active are 7, 5, 2".to_owned())
        );
        assert_eq!(
            chosen(7, Some(3)),
            Err("web has no active revision 3; active are 7, 5, 2".to_owned())
        );
    }
}
