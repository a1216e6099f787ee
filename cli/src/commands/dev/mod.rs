//! `berth dev`: a controller and its hosts in one process, for development and tests.
//!
//! Owns the order in which things are started and stopped, so that nothing is left behind. Shell.

mod banner;
mod control;
mod engine;
mod host_commands;
mod hosts;
mod leftovers;
mod orders;
mod plan;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use berth_agent::host;
use berth_aws::ecs::CreateClusterRequest;
use berth_aws::ecs::operations::CreateCluster;
use berth_controller::api::RootCredentials;
use berth_controller::node::{ApiTls, Controller, ControllerOptions};
use berth_core::model::{CapacityProviderName, Resources, Scope};
use clap::{Args, Subcommand};
use tempfile::TempDir;

use self::control::Control;
use self::engine::{Engine, WantedEngine};
use self::hosts::{HostSettings, Hosts, Names};
use self::leftovers::{Claim, Records};
use self::orders::Changeable;
use self::plan::PlannedHost;
use super::values;
use crate::fargate::FargateArguments;
use crate::running::{self, Containerd, RunningCluster};
use crate::signals::StopSignals;
use crate::target::Target;
use crate::{address, listen_failure, logging, output, root_keys};

/// Flags of `berth dev`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<DevCommand>,
    /// Where clients reach the AWS-compatible API
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDRESS:PORT", value_parser = address::parse)]
    listen: SocketAddr,
    /// Where agents reach the controller, a loopback address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7481", value_name = "ADDRESS:PORT", value_parser = address::parse)]
    agent_listen: SocketAddr,
    /// Keep the state here; without it, nothing is left when the command ends
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many hosts to start; 0 starts the controller alone
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1000))]
    hosts: u32,
    /// Over how many availability zones the hosts are spread
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(plan::MAX_ZONES)))]
    azs: u32,
    /// A capacity provider; may be given several times, and each gets as many of the hosts as the others
    #[arg(long, value_name = "NAME", value_parser = values::capacity_provider)]
    capacity_provider: Vec<CapacityProviderName>,
    #[command(flatten)]
    fargate: FargateArguments,
    /// What runs the containers
    #[arg(long, value_enum, default_value_t = WantedEngine::Auto)]
    runtime: WantedEngine,
    /// The region that the hosts are in
    #[arg(long, default_value = "us-east-1", value_parser = values::region)]
    region: String,
    /// The account that everything belongs to
    #[arg(long, default_value = "123456789012", value_name = "ID", value_parser = values::account_id)]
    account_id: String,
    /// The cluster that the hosts join; it is created if it is missing
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = values::cluster_name)]
    cluster: String,
    /// vCPUs that each host offers [default: its share of this machine; 4 if simulated]
    #[arg(long, value_name = "VCPUS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    host_cpu: Option<u32>,
    /// Memory that each host offers [default: its share of this machine; 16384 if simulated]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    host_memory: Option<u32>,
    /// A registry that is spoken to over plain HTTP, besides those on this machine; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
    /// Offer `POST /_berth/reset`, which empties the state
    #[arg(long)]
    testing: bool,
    /// Only remove what earlier ones that were killed left on this machine; every start does so first
    #[arg(long)]
    clean: bool,
}

#[derive(Subcommand, Debug)]
enum DevCommand {
    /// Add a host to a running `berth dev`, kill or drain one
    Host(host_commands::Arguments),
}

/// The parts that run, in the order in which they were started; each is stopped even if a later one never was.
struct Parts {
    controller: Controller,
    engine: Engine,
    hosts: Hosts,
}

/// Runs the cluster until it is told to stop.
///
/// # Errors
/// If a part cannot start or go on, or something is left on the machine.
pub(crate) async fn run(mut arguments: Arguments) -> Result<()> {
    match arguments.command.take() {
        Some(DevCommand::Host(order)) => host_commands::run(order).await,
        None => run_cluster(arguments).await,
    }
}

async fn run_cluster(arguments: Arguments) -> Result<()> {
    logging::start("warn")?;
    let mut signals = StopSignals::install()?;
    let records = Records::open().await?;
    let all_removed = records.sweep().await.tell();
    if arguments.clean {
        if !all_removed {
            bail!("not everything could be removed, as said above");
        }
        return output::line("Nothing is left of any `berth dev` that was killed.");
    }
    let place = Place::choose(&arguments)?;
    let mut claim = records.claim(&place.data_dir, place.temporary.is_some())?;
    let root = root_keys::find_or_mint(&arguments.account_id, &place.data_dir)?;
    let mut parts = match start_parts(&arguments, &place.data_dir, &root).await {
        Ok(parts) => parts,
        Err(error) => {
            claim.release().await;
            return Err(error);
        }
    };
    let outcome = tokio::select! {
        outcome = serve(&arguments, &place.data_dir, &root, &mut parts, &mut claim) => outcome,
        () = signals.next() => Ok(()),
    };
    output::complain("Stopping ...");
    let left = tokio::select! {
        left = parts.stop() => left,
        () = signals.next() => vec!["stopped at once, as asked for twice".to_owned()],
    };
    if !left.is_empty() {
        // The record and the data directory stay: by them, the next start finds what is left.
        place.keep();
        bail!(
            "not everything could be removed: {}; the next `berth dev`, or `berth dev --clean`, removes it",
            left.join("; ")
        );
    }
    place.remove()?;
    claim.release().await;
    outcome?;
    output::complain(match arguments.data_dir {
        Some(_) => "Stopped. Containers are gone; the state is kept in the data directory.",
        None => "Stopped. Nothing is left behind.",
    });
    Ok(())
}

/// Where the state is.
struct Place {
    data_dir: PathBuf,
    /// The same directory, where it goes when the command ends.
    temporary: Option<TempDir>,
}

impl Place {
    fn choose(arguments: &Arguments) -> Result<Self> {
        let temporary = match arguments.data_dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix(leftovers::TEMPORARY_PREFIX)
                    .tempdir()
                    .context("cannot create a directory for the state")?,
            ),
        };
        let temporary_path = || temporary.as_ref().map(|directory| directory.path().to_owned());
        let data_dir = arguments.data_dir.clone().or_else(temporary_path);
        Ok(Self {
            data_dir: std::path::absolute(data_dir.context("no data directory")?)?,
            temporary,
        })
    }

    fn remove(self) -> Result<()> {
        self.temporary.map_or(Ok(()), |directory| {
            directory.close().context("cannot remove the directory of the state")
        })
    }

    fn keep(self) {
        self.temporary.map(TempDir::keep);
    }
}

/// Starts the controller before the engine, since a port in use is the likeliest reason to give up.
async fn start_parts(arguments: &Arguments, data_dir: &Path, root: &RootCredentials) -> Result<Parts> {
    let controller = Controller::start(ControllerOptions {
        data_dir: data_dir.join("controller"),
        listen: arguments.listen,
        agent_listen: Some(arguments.agent_listen),
        cluster: None,
        root: Some(root.clone()),
        api_tls: ApiTls::Plain,
        testing: arguments.testing,
        wake_command: None,
        backups: None,
    });
    let controller = controller.await.map_err(listen_failure::explain)?;
    let chosen = match arguments.hosts {
        0 => Ok((Engine::Simulated, "Runtime: none, since there are no hosts".to_owned())),
        _ => engine::choose(arguments.runtime, data_dir).await,
    };
    match chosen {
        Ok((engine, line)) => {
            output::line(&line)?;
            Ok(Parts {
                controller,
                engine,
                hosts: Hosts::new(),
            })
        }
        Err(error) => {
            controller.stop().await;
            Err(error)
        }
    }
}

/// Starts the hosts, says what runs, and waits for a failure.
async fn serve(
    arguments: &Arguments,
    data_dir: &Path,
    root: &RootCredentials,
    parts: &mut Parts,
    claim: &mut Claim,
) -> Result<()> {
    let planned = plan::hosts(
        arguments.hosts,
        NonZeroU32::new(arguments.azs).context("no zones")?,
        &arguments.region,
        &arguments.capacity_provider,
    );
    let listen = parts.controller.listen();
    let names = Names::new(format!("dev{}", listen.port()), &planned);
    let cluster = RunningCluster {
        endpoint: format!("http://{listen}"),
        listen,
        region: arguments.region.clone(),
        account_id: arguments.account_id.clone(),
        cluster: arguments.cluster.clone(),
        access_key_id: root.access_key_id.clone(),
        secret_access_key: root.secret_access_key.clone(),
        pid: std::process::id(),
        data_dir: data_dir.to_owned(),
        containerd: match &parts.engine {
            Engine::Simulated => None,
            Engine::Containerd(found) => Some(Containerd {
                socket: found.socket().to_owned(),
                namespaces: names.namespaces(),
            }),
        },
    };
    if arguments.cluster != "default" {
        create_cluster(&cluster).await?;
    }
    let settings = HostSettings {
        // The port was asked for.
        controller: format!(
            "http://{}",
            parts.controller.agent_listen().unwrap_or(arguments.agent_listen)
        ),
        cluster: Scope::new(&arguments.account_id, &arguments.region).cluster(&arguments.cluster),
        capacity: capacity(arguments, &parts.engine)?,
        data_dir: data_dir.to_owned(),
        keeps_ledgers: arguments.data_dir.is_some(),
        insecure_registries: arguments.insecure_registry.clone(),
        fargate: arguments.fargate.clone(),
        fargate_runtime: arguments
            .fargate
            .runtime(matches!(parts.engine, Engine::Simulated))
            .await?,
        names,
    };
    let containerd = match &parts.engine {
        Engine::Simulated => None,
        Engine::Containerd(containerd) => Some(containerd.as_ref()),
    };
    claim
        .note(containerd, settings.names.clone(), running::announcement(listen)?)
        .await?;
    parts.hosts.start(&parts.engine, &planned, &settings).await?;
    parts.hosts.registered().await?;
    let announcement = running::announce(&cluster)?;
    let control = Control::open(listen)?;
    output::line(&describe(&cluster, &settings, &planned, arguments))?;
    let mut changeable = Changeable {
        engine: &parts.engine,
        hosts: &mut parts.hosts,
        settings,
        planned,
        claim,
        cluster,
        announcement,
    };
    loop {
        let asked = tokio::select! {
            failure = parts.controller.failed() => return Err(failure.into()),
            asked = control.next() => asked,
        };
        let outcome = changeable.carry_out(asked.order.clone()).await;
        asked.answer(outcome).await;
    }
}

fn describe(
    cluster: &RunningCluster,
    settings: &HostSettings,
    planned: &[PlannedHost],
    arguments: &Arguments,
) -> String {
    banner::text(
        cluster,
        &settings.controller,
        planned,
        settings.capacity,
        arguments.data_dir.is_some(),
    )
}

async fn create_cluster(cluster: &RunningCluster) -> Result<()> {
    let client = Target::from(cluster.clone()).client()?;
    let request = CreateClusterRequest {
        cluster_name: Some(cluster.cluster.clone()),
        ..Default::default()
    };
    client
        .call::<CreateCluster>(&request)
        .await
        .with_context(|| format!("cannot create cluster {}", cluster.cluster))?;
    Ok(())
}

fn capacity(arguments: &Arguments, engine: &Engine) -> Result<Resources> {
    let share = match (engine, NonZeroU32::new(arguments.hosts)) {
        (Engine::Containerd(_), Some(hosts)) => Some(host::share(
            host::detect_capacity().context("cannot tell the size of this machine")?,
            hosts,
        )),
        _ => None,
    };
    Ok(plan::capacity(share, arguments.host_cpu, arguments.host_memory))
}

impl Parts {
    /// Stops everything, the last started first. Returns what could not be removed.
    async fn stop(self) -> Vec<String> {
        let left = self.hosts.stop(&self.engine).await;
        self.controller.stop().await;
        if let Engine::Containerd(containerd) = self.engine {
            containerd.shut_down().await;
        }
        left
    }
}
