//! `berth apply`: makes a cluster what files say. Shell.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::values;
use crate::cluster::Cluster;
use crate::declared::carry_out::Worker;
use crate::declared::ended;
use crate::declared::files::FileArguments;
use crate::declared::live::Live;
use crate::declared::looked;
use crate::declared::plan::{Plan, Step, Verb};
use crate::declared::resource::Kind;
use crate::declared::settling::{self, Awaited, Patience, Settled};
use crate::declared::settling_daemons::{self, AwaitedDaemon};
use crate::output;
use crate::target::TargetArguments;

/// Exit code: something was to be changed.
pub(super) const CHANGES: u8 = 2;

/// Exit code: tasks found no host.
pub(super) const CANNOT_BE_PLACED: u8 = 3;

/// Flags of `berth apply`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 nothing was to be done, 2 something was changed, 3 it was, and with --wait tasks of a service found no host, \
                        1 an error.\nThe form of the files: docs/declarative.md"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Wait until the daemons and services of the files are stable, and say how they come along
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this for all of them together, from the first change on, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::patience)]
    timeout: Duration,
    #[command(flatten)]
    target: TargetArguments,
}

/// Makes what is missing and changes what is different.
///
/// # Errors
/// If the files are refused, before anything is changed; if the controller refuses something.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let declared = arguments.files.read()?;
    let target = arguments.target.find()?;
    let live = Live::new(target.client()?);
    let plan = Plan::make(&live, declared, &target.cluster).await?;
    let cluster = Cluster::of(&target)?;
    let past = match arguments.wait {
        true => past(&cluster, &plan).await?,
        false => BTreeMap::new(),
    };
    let mut worker = Worker::new(&live);
    // One for all that is waited for, the services before others included.
    let patience = Patience::of(arguments.timeout);
    for (place, step) in plan.steps.iter().enumerate() {
        // Without --wait the services wait for each other by themselves.
        let after = step.resource.after.as_slice();
        if arguments.wait && !after.is_empty() && step.verb != Verb::Leave {
            let settled = settling::wait(&cluster, &before(step, after, &past), patience).await?;
            if settled != Settled::Stable {
                return Ok(code(&plan, settled));
            }
        }
        carry_out(&mut worker, &cluster, step, &plan.steps[place + 1..]).await?;
    }
    if !arguments.wait {
        return Ok(code(&plan, Settled::Stable));
    }
    let daemons = plan.steps.iter().filter(|step| step.resource.kind == Kind::Daemon);
    let daemons: Vec<AwaitedDaemon> = daemons.map(awaited_daemon).collect();
    let settled = settling_daemons::wait(&cluster, &daemons, patience).await?;
    if settled != Settled::Stable {
        return Ok(code(&plan, settled));
    }
    let services = plan.steps.iter().filter(|step| step.resource.kind == Kind::Service);
    let awaited: Vec<Awaited> = services
        .map(|step| Awaited {
            revision: worker.revision_given(step),
            ..awaited(step, &step.resource.name, &past)
        })
        .collect();
    let settled = settling::wait(&cluster, &awaited, patience).await?;
    Ok(code(&plan, settled))
}

/// Carries out a step, and says so. Where another service of the cluster is changed after this one, the leader is to look at this one first.
async fn carry_out(worker: &mut Worker<'_>, cluster: &Cluster, step: &Step, later: &[Step]) -> Result<()> {
    let is_of_service = step.resource.kind == Kind::Service && step.verb != Verb::Leave;
    let mut others = later.iter().filter(|other| other.verb != Verb::Leave);
    let is_followed = others.any(|other| other.cluster == step.cluster);
    let Some(name) = step.cluster.as_ref().filter(|_| is_of_service && is_followed) else {
        return output::line(&worker.carry_out(step).await?);
    };
    let (of, service) = (cluster.beside(name), &step.resource.name);
    let before = match step.verb {
        Verb::Create => None,
        _ => looked::newest_event(&of, service).await?,
    };
    output::line(&worker.carry_out(step).await?)?;
    looked::wait(&of, service, before.as_deref()).await
}

/// What was over before anything was changed, by cluster and service: the services' newest deployments, however they ended.
type Past = BTreeMap<(String, String), String>;

async fn past(cluster: &Cluster, plan: &Plan) -> Result<Past> {
    let mut past = Past::new();
    let services = plan.steps.iter().filter(|step| step.resource.kind == Kind::Service);
    for step in services.filter(|step| step.verb != Verb::Create) {
        let Some(name) = &step.cluster else { continue };
        let over = ended::over_before(&cluster.beside(name), &step.resource.name).await?;
        past.extend(over.map(|arn| ((name.clone(), step.resource.name.clone()), arn)));
    }
    Ok(past)
}

/// The services that come before the one of a step.
fn before(step: &Step, names: &[String], past: &Past) -> Vec<Awaited> {
    names.iter().map(|name| awaited(step, name, past)).collect()
}

/// A service of the cluster that a step is about.
fn awaited(step: &Step, service: &str, past: &Past) -> Awaited {
    let cluster = step.cluster.clone().unwrap_or_default();
    Awaited {
        over_before: past.get(&(cluster.clone(), service.to_owned())).cloned(),
        cluster,
        service: service.to_owned(),
        revision: None,
    }
}

/// The daemon that a step is about.
fn awaited_daemon(step: &Step) -> AwaitedDaemon {
    AwaitedDaemon {
        cluster: step.cluster.clone().unwrap_or_default(),
        name: step.resource.name.clone(),
    }
}

fn code(plan: &Plan, settled: Settled) -> ExitCode {
    match settled {
        Settled::Stable if plan.has_changes() => ExitCode::from(CHANGES),
        Settled::Stable => ExitCode::SUCCESS,
        Settled::CannotBePlaced => ExitCode::from(CANNOT_BE_PLACED),
        Settled::Failed => ExitCode::FAILURE,
    }
}
