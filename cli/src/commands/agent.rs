//! `berth agent`: one host, until it is told to stop.
//!
//! Owns its flags. Shell.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use berth_agent::image::RegistryOptions;
use berth_agent::network::{DEFAULT_SUBNET_ID, Subnet};
use berth_agent::runtime::containerd::{Containerd, ContainerdOptions, ContainerdRuntime, HostOptions, OciRuntime};
use berth_agent::runtime::{Runtime, SimulatedRuntime};
use berth_agent::{
    Agent, AgentConfig, AgentError, Departed, Departure, FileLogs, LogSource, MembershipConfig, has_joined, host,
};
use berth_core::model::{Attributes, CapacityProviderName, Resources, Scope};
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::values;
use crate::data_directory::{self, LEDGER_FOLDER, Program};
use crate::fargate::FargateArguments;
use crate::join_token::JoinArguments;
use crate::service_manager::ServiceManager;
use crate::signals::StopSignals;
use crate::{logging, output, shutdown};

/// Flags of `berth agent`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    join: JoinArguments,
    /// Where a controller of that cluster is reached; may be given several times, and is known once the host has joined
    #[arg(long, value_name = "HOST:PORT", value_parser = values::host_and_port, conflicts_with = "controller")]
    peer: Vec<String>,
    /// Without joining: URL of a controller's port for agents on this machine, which it prints when it starts
    #[arg(long, value_name = "URL", value_parser = values::agents_url)]
    controller: Vec<String>,
    /// The cluster to join
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = values::cluster_name)]
    cluster: String,
    /// The region of that cluster
    #[arg(long, default_value = "us-east-1", value_parser = values::region)]
    region: String,
    /// The account of that cluster
    #[arg(long, default_value = "123456789012", value_name = "ID", value_parser = values::account_id)]
    account_id: String,
    /// Where the agent keeps its ledger, logs and networks
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The availability zone of this host, its attribute `ecs.availability-zone`
    #[arg(long)]
    zone: Option<String>,
    /// What the subnet is called in which this host gives tasks addresses of their own, its attribute `ecs.subnet-id`
    #[arg(long, default_value = DEFAULT_SUBNET_ID, value_name = "NAME", value_parser = values::subnet_id)]
    subnet_id: String,
    /// The addresses for tasks of this host, a network such as 10.177.3.0/24 [default: a free one of 10.177.0.0/16]
    #[arg(long, value_name = "CIDR")]
    task_network: Option<Subnet>,
    #[command(flatten)]
    fargate: FargateArguments,
    /// The capacity provider whose pool this host belongs to
    #[arg(long, value_name = "NAME", value_parser = values::capacity_provider)]
    capacity_provider: Option<CapacityProviderName>,
    /// A command by which this host sleeps, such as 'systemctl suspend', where its capacity provider has managed scaling and does not need it
    #[arg(long, value_name = "COMMAND", value_parser = values::hook)]
    sleep_command: Option<String>,
    /// How long a shutdown of this machine waits until tasks have left, where its capacity provider has managed draining; 25m at most, 0s not at all
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = drain_time)]
    drain_on_shutdown: Duration,
    /// A further attribute for placement constraints; may be given several times
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = attribute)]
    attribute: Vec<(String, Option<String>)>,
    /// CPU units that tasks may reserve, 1024 to a vCPU [default: all of this machine's]
    #[arg(long, value_name = "UNITS")]
    cpu: Option<u32>,
    /// Memory that tasks may reserve [default: this machine's, less what it needs itself]
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// Name of this host [default: the machine's host name]
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,
    /// What runs the containers
    #[arg(long, value_enum, default_value_t = EngineName::Containerd)]
    runtime: EngineName,
    /// Socket of the containerd to use; if none answers there at the first start, a private one is started, and used from then on
    #[arg(long, default_value = "/run/containerd/containerd.sock", value_name = "SOCKET")]
    containerd: PathBuf,
    /// containerd namespace of this host's containers
    #[arg(long, default_value = "berth-host", value_name = "NAME")]
    containerd_namespace: String,
    /// Remove images that no task has used for this long, such as 12h or 7d; never those that were imported
    #[arg(long, default_value = "3h", value_name = "TIME", value_parser = values::duration)]
    remove_images_after: Duration,
    /// Never remove an image
    #[arg(long, conflicts_with = "remove_images_after")]
    keep_images: bool,
    /// A registry that is spoken to over plain HTTP, besides those on this machine; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    Containerd,
    Simulated,
}

/// Runs the agent. Its containers run on when it stops, and it finds them again when it starts.
///
/// # Errors
/// If it cannot start or go on.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    logging::start("info")?;
    let mut signals = StopSignals::install()?;
    let data_dir = std::path::absolute(&arguments.data_dir)?;
    if let Err(refused) = data_directory::check(&data_dir, Program::Agent) {
        return not_let_in(&refused);
    }
    if let Err(refused) = check_sleep(&arguments) {
        return not_let_in(&refused);
    }
    let token = match check_addresses(&arguments, &data_dir)? {
        Ok(token) => token,
        Err(refused) => return not_let_in(&refused),
    };
    private_directory(&data_dir)?;
    let fargate_runtime = arguments
        .fargate
        .runtime(arguments.runtime == EngineName::Simulated)
        .await?;
    let found = match arguments.runtime {
        EngineName::Simulated => None,
        EngineName::Containerd => Some(containerd(&arguments, &data_dir).await?),
    };
    let attributes = attributes(&arguments, fargate_runtime.as_ref());
    let (runtime, logs, version): (Arc<dyn Runtime>, Arc<dyn LogSource>, _) = match &found {
        None => {
            let runtime = SimulatedRuntime::new();
            (Arc::new(runtime.clone()), Arc::new(runtime), "simulated".to_owned())
        }
        Some(found) => {
            let mut options = host_options(&arguments, &data_dir);
            options.fargate_runtime = fargate_runtime.unwrap_or_else(OciRuntime::runc);
            let runtime = Arc::new(ContainerdRuntime::open(found, options).await?);
            if !arguments.keep_images {
                let (runtime, after) = (Arc::clone(&runtime), arguments.remove_images_after);
                // Until the process ends.
                tokio::spawn(async move { runtime.look_after_images(after).await });
            }
            (
                runtime.clone(),
                Arc::new(FileLogs::new(runtime)),
                format!("containerd {}", found.version()),
            )
        }
    };
    let config = AgentConfig {
        attributes,
        ..config(&arguments, &data_dir, version, token)?
    };
    let stop = CancellationToken::new();
    let started = tokio::select! {
        started = Agent::start(config, runtime, logs, stop.clone()) => started,
        // Joining takes as long as no controller answers.
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => return outcome_of(Err(error)),
    };
    output::line("The agent runs. Ctrl-C stops it; its containers run on.")?;
    let manager = ServiceManager::from_environment();
    let mut recovered = agent.recovered();
    let ready = async {
        // One that ends before is waited for below.
        if recovered.wait_for(|recovered| *recovered).await.is_ok() {
            manager.ready("looks after the tasks of this host");
        }
        std::future::pending().await
    };
    let departure = agent.departure();
    let mut running = std::pin::pin!(agent.join());
    let outcome = tokio::select! {
        () = signals.next() => {
            manager.stopping();
            let ended = tokio::select! {
                () = leave(&departure, arguments.drain_on_shutdown) => None,
                // Somebody does not wait.
                () = signals.next() => None,
                // Nobody is there any more to wait for the tasks.
                ended = &mut running => Some(ended),
                never = manager.take_time() => match never {},
                never = manager.keep_alive(async || true) => match never {},
            };
            stop.cancel();
            match ended {
                Some(ended) => ended,
                None => running.await,
            }
        }
        ended = &mut running => ended,
        // That this process gets to it is the sign: it does not depend on controllers, without which the agent is to go on.
        never = manager.keep_alive(async || true) => match never {},
        () = ready => Ok(()),
    };
    if let Some(found) = found {
        found.shut_down().await;
    }
    outcome_of(outcome)
}

/// Has the tasks of this host leave it where the machine shuts down, and not where the agent alone is stopped, as for an upgrade.
async fn leave(departure: &Departure, within: Duration) {
    if within.is_zero() || !shutdown::is_under_way().await {
        return;
    }
    tracing::info!(
        within_s = within.as_secs(),
        "this machine shuts down: its tasks leave it where its capacity provider says so"
    );
    match departure.leave(within).await {
        Departed::NotDrained => {}
        Departed::Drained(0) => tracing::info!("all tasks have left this machine"),
        Departed::Drained(left) => tracing::warn!(left, "tasks are left on this machine, which shuts down"),
    }
}

/// The exit code of an agent that its cluster does not let in, or that was given a controller's directory: starting it again changes nothing until
/// somebody does what it says. Its unit names the code.
const NOT_LET_IN: u8 = 3;

fn outcome_of(outcome: Result<(), AgentError>) -> Result<ExitCode> {
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(AgentError::Membership(error)) if !error.is_final() => Err(error.into()),
        Err(error @ (AgentError::Membership(_) | AgentError::Removed(_) | AgentError::OtherAccount(_))) => {
            not_let_in(&error.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn not_let_in(error: &anyhow::Error) -> Result<ExitCode> {
    output::complain(&format!("berth: {error:#}"));
    Ok(ExitCode::from(NOT_LET_IN))
}

/// The join token, if the agent knows where to go; else why it may not.
fn check_addresses(arguments: &Arguments, data_dir: &Path) -> Result<Result<Option<String>, anyhow::Error>> {
    let folder = identity_folder(data_dir);
    let has_joined = match has_joined(&folder) {
        Ok(has_joined) => has_joined,
        Err(error) => return Ok(Err(error.into())),
    };
    let token = arguments.join.token(has_joined)?;
    let has_peers = !arguments.peer.is_empty();
    if has_joined || !arguments.controller.is_empty() || (token.is_some() && has_peers) {
        return Ok(Ok(token));
    }
    if token.is_some() {
        bail!(
            "a join token is given, and not where to use it: add --peer HOST:PORT, the address of a controller of that cluster"
        );
    }
    if !has_peers {
        bail!(
            "say which cluster this host is to join: --join-file FILE --peer HOST:PORT, with a token from `berth token create --role agent`; \
             or --controller URL, for a controller on this machine"
        );
    }
    Ok(Err(anyhow!(
        "this host has not joined a cluster yet: give it a token from `berth token create --role agent` with --join-file or in \
         BERTH_JOIN_TOKEN"
    )))
}

/// Refuses to put a controller to sleep with this machine. A simulated host is no machine.
fn check_sleep(arguments: &Arguments) -> Result<()> {
    if arguments.sleep_command.is_none() || arguments.runtime == EngineName::Simulated {
        return Ok(());
    }
    let mut controllers = controllers(arguments).into_iter();
    match controllers.find(|uri| host::is_on_this_machine(uri)) {
        Some(uri) => bail!(
            "the controller {uri} is on this machine, and --sleep-command would put it to sleep with the host: start the agent without that flag here"
        ),
        None => Ok(()),
    }
}

/// Makes the data directory, for nobody else to read: containers' logs are in it, and what their environments say.
fn private_directory(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the data directory {}", path.display()))
}

/// Where the host's identity in its cluster is kept.
fn identity_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("identity")
}

async fn containerd(arguments: &Arguments, data_dir: &Path) -> Result<Containerd> {
    let options = ContainerdOptions {
        socket: arguments.containerd.clone(),
        ..ContainerdOptions::under(data_dir)
    };
    let found = Containerd::of_host(&options).await?;
    tracing::info!(containerd = found.description(), "containerd is there");
    Ok(found)
}

fn host_options(arguments: &Arguments, data_dir: &Path) -> HostOptions {
    let mut options = HostOptions::new(&arguments.containerd_namespace, data_dir);
    options.namespace.clone_from(&arguments.containerd_namespace);
    options.network.subnet = arguments.task_network;
    options.network.subnet_id.clone_from(&arguments.subnet_id);
    options.registry = RegistryOptions {
        insecure_registries: arguments.insecure_registry.clone(),
    };
    options
}

fn config(
    arguments: &Arguments,
    data_dir: &Path,
    runtime_version: String,
    token: Option<String>,
) -> Result<AgentConfig> {
    let detected = host::detect_capacity().context("cannot tell the size of this machine")?;
    let capacity = Resources::new(
        arguments.cpu.unwrap_or(detected.cpu.0),
        arguments.memory.unwrap_or(detected.memory.0),
    );
    let host_name = match &arguments.host_name {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()
            .context("cannot tell the name of this machine")?
            .to_string_lossy()
            .into_owned(),
    };
    Ok(AgentConfig {
        data_dir: Some(data_dir.join(LEDGER_FOLDER)),
        controllers: controllers(arguments),
        membership: Some(MembershipConfig {
            folder: identity_folder(data_dir),
            token,
        }),
        cluster: Scope::new(&arguments.account_id, &arguments.region).cluster(&arguments.cluster),
        host_name,
        availability_zone: arguments.zone.clone(),
        capacity_provider: arguments.capacity_provider.clone(),
        attributes: Attributes::new(),
        capacity,
        sleep_command: arguments.sleep_command.clone(),
        runtime_version,
    })
}

fn attributes(arguments: &Arguments, fargate_runtime: Option<&OciRuntime>) -> Attributes {
    let offered = arguments.fargate.attributes(fargate_runtime);
    arguments.attribute.iter().cloned().chain(offered).collect()
}

fn controllers(arguments: &Arguments) -> Vec<String> {
    let peers = arguments.peer.iter().map(|peer| format!("https://{peer}"));
    arguments.controller.iter().cloned().chain(peers).collect()
}

/// The longest that systemd lets a machine take to shut down is half an hour.
const LONGEST_DRAIN: Duration = Duration::from_secs(25 * 60);

fn drain_time(text: &str) -> Result<Duration> {
    let time = values::patience(text)?;
    if time > LONGEST_DRAIN {
        bail!(
            "{text} is too long: systemd powers a machine off that has not shut down within 30m, so that 25m is the longest"
        );
    }
    Ok(time)
}

fn attribute(text: &str) -> Result<(String, Option<String>)> {
    let (name, value) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
    if name.is_empty() {
        bail!("an attribute needs a name: NAME or NAME=VALUE");
    }
    if ["ecs.capability.", "berth."].iter().any(|own| name.starts_with(own)) {
        bail!("the attribute {name} is one that the agent itself gives a host that can do what it says");
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::{attribute, drain_time};

    #[test]
    fn time_for_tasks_to_leave_is_bounded_as_a_shutdown_is() {
        assert_eq!(drain_time("0s").expect("not at all").as_secs(), 0);
        assert_eq!(drain_time("25m").expect("the longest").as_secs(), 1_500);
        assert!(drain_time("26m").is_err());
    }

    #[test]
    fn attribute_with_and_without_a_value_is_read() {
        assert_eq!(
            attribute("rack=r=1").expect("read"),
            ("rack".to_owned(), Some("r=1".to_owned()))
        );
        assert_eq!(attribute("ssd").expect("read"), ("ssd".to_owned(), None));
        assert!(attribute("=x").is_err());
    }
}
