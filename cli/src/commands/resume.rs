//! `berth continue`: answers the hooks that a deployment of a service waits at. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_aws::ecs::operations::ContinueServiceDeployment;
use berth_aws::ecs::{ContinueServiceDeploymentRequest, DeploymentLifecycleHookAction};
use clap::Args;

use super::apply::CANNOT_BE_PLACED;
use super::values;
use crate::cluster::{Cluster, last_part};
use crate::declared::settling::{self, Awaited, Patience, Settled};
use crate::output;
use crate::paused::{self, Waiting};
use crate::target::TargetArguments;

/// Flags of `berth continue`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 it was told, and with --wait the service is stable, 3 with --wait the time is over and tasks found no host, 1 an error, \
                  a deployment that failed, or another reason why the time is over."
)]
pub(crate) struct Arguments {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The hook to answer [default: all that the deployment waits at]
    #[arg(long, value_name = "ID")]
    hook: Option<String>,
    /// Have the service return to the revision before, instead of going on
    #[arg(long)]
    rollback: bool,
    /// Wait until the service is stable, and say how it comes along
    #[arg(long, conflicts_with = "rollback")]
    wait: bool,
    /// Wait no longer than this, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::patience)]
    timeout: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

/// Answers the hooks.
///
/// # Errors
/// If there is no such service, its deployment waits at no such hook, or the controller cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.target.find()?)?;
    let name = last_part(&arguments.service);
    let Some(service) = cluster.service(name).await? else {
        return Err(cluster.no_service(name));
    };
    let Some(deployment) = paused::deployment(&cluster, &service).await? else {
        bail!("service {name} in cluster {} has no deployment", cluster.name());
    };
    let status = deployment.status.as_ref().map_or("?", |status| status.as_str());
    let chosen = choose(name, status, paused::hooks(&deployment), arguments.hook.as_deref())?;
    let (action, what) = match arguments.rollback {
        true => (DeploymentLifecycleHookAction::Rollback, "is rolled back"),
        false => (DeploymentLifecycleHookAction::Continue, "goes on"),
    };
    for waiting in &chosen {
        let request = ContinueServiceDeploymentRequest {
            service_deployment_arn: Some(waiting.service_deployment.clone()),
            hook_id: Some(waiting.hook.clone()),
            action: Some(action),
        };
        cluster.call::<ContinueServiceDeployment>(&request).await?;
        output::line(&format!(
            "service {name} in cluster {}: {what} at hook {} of {}",
            cluster.name(),
            waiting.hook,
            waiting.stage
        ))?;
        // One that rolls back is enough, and the others no longer wait.
        if arguments.rollback {
            break;
        }
    }
    if !arguments.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let awaited = Awaited {
        cluster: cluster.name().to_owned(),
        service: name.to_owned(),
        revision: None,
        over_before: None,
    };
    let patience = Patience::of(arguments.timeout);
    Ok(match settling::wait(&cluster, &[awaited], patience).await? {
        Settled::Stable => ExitCode::SUCCESS,
        Settled::CannotBePlaced => ExitCode::from(CANNOT_BE_PLACED),
        Settled::Failed => ExitCode::FAILURE,
    })
}

/// Of the hooks that wait, the one that is wanted, or all.
fn choose(service: &str, status: &str, waiting: Vec<Waiting>, wanted: Option<&str>) -> Result<Vec<Waiting>> {
    if waiting.is_empty() {
        bail!("the deployment of service {service} waits at no hook: it is {status}");
    }
    let Some(wanted) = wanted else { return Ok(waiting) };
    let ids: Vec<String> = waiting.iter().map(|waiting| waiting.hook.clone()).collect();
    let chosen: Vec<Waiting> = waiting.into_iter().filter(|waiting| waiting.hook == wanted).collect();
    match chosen.is_empty() {
        true => bail!(
            "the deployment of service {service} does not wait at hook {wanted}; it waits at {}",
            ids.join(", ")
        ),
        false => Ok(chosen),
    }
}
