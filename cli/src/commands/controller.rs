//! `berth controller`: one controller, until it is told to stop.
//!
//! Owns its flags. Shell.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_controller::api::RootCredentials;
use berth_controller::backup::ScheduleOptions;
use berth_controller::node::{
    ApiTls, ClusterOptions, ClusterStart, Controller, ControllerError, ControllerOptions, has_store, is_member,
};
use clap::Args;

use super::values;
use crate::data_directory::{self, Program};
use crate::join_token::JoinArguments;
use crate::service_manager::ServiceManager;
use crate::signals::StopSignals;
use crate::{address, listen_failure, logging, output, root_keys};

/// Flags of `berth controller`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where the state is kept
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where clients reach the AWS-compatible API
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDRESS:PORT", value_parser = address::parse)]
    listen: SocketAddr,
    /// Found a new cluster, whose first controller this is
    #[arg(long, conflicts_with = "peer")]
    bootstrap: bool,
    #[command(flatten)]
    join: JoinArguments,
    /// Where a controller of that cluster is reached; like the token, of no effect once this one is a member
    #[arg(long, value_name = "HOST:PORT", value_parser = values::host_and_port)]
    peer: Option<String>,
    /// Where other controllers and agents reach this one, over TLS [default: 0.0.0.0:7481 as a member of a cluster]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address::parse)]
    cluster_listen: Option<SocketAddr>,
    /// The address by which they reach it [default: that of --cluster-listen, unless that is 0.0.0.0; then the one that it had before]
    #[arg(long, value_name = "HOST:PORT", value_parser = values::host_and_port)]
    advertise: Option<String>,
    /// Certificate for clients, in PEM, with those above it; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Have the cluster's authority make the certificate for clients; happens by itself if --listen is no loopback address
    #[arg(long, conflicts_with = "tls_certificate")]
    tls: bool,
    /// A further host name or address by which clients reach this controller; may be given several times
    #[arg(long, value_name = "NAME", value_parser = values::server_name, conflicts_with = "tls_certificate")]
    tls_name: Vec<String>,
    /// Name of this controller [default: the machine's host name]
    #[arg(long, value_name = "NAME", value_parser = member_name)]
    name: Option<String>,
    /// Where agents on this machine reach the controller without TLS; a loopback address [default: 127.0.0.1:7481, and none as a member
    /// of a cluster]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address::parse)]
    agent_listen: Option<SocketAddr>,
    /// The account that everything belongs to [default: 123456789012, and that of the cluster as a member of one]
    #[arg(long, value_name = "ID", value_parser = values::account_id)]
    account_id: Option<String>,
    /// Write backups into this folder by itself, best on another disk; made if what it is in is there. Only the leader writes
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<PathBuf>,
    /// Time between two of them, such as 6h, 30m or 1d
    #[arg(long, default_value = "6h", value_name = "TIME", value_parser = values::duration, requires = "backup_dir")]
    backup_every: Duration,
    /// How many of them to keep
    #[arg(long, default_value_t = 28, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), requires = "backup_dir")]
    backup_keep: u32,
    /// A command that wakes a host which was put to sleep, such as 'wakeonlan $BERTH_MAC_ADDRESSES'. Only the leader runs it
    #[arg(long, value_name = "COMMAND", value_parser = values::hook)]
    wake_command: Option<String>,
    /// Offer `POST /_berth/reset`, which empties the state
    #[arg(long)]
    testing: bool,
}

/// Account of an installation that was not given another one.
const DEFAULT_ACCOUNT: &str = "123456789012";

/// Port for members and agents, and for agents alone.
const CLUSTER_PORT: u16 = 7481;

/// Exit code after which the unit is not started again: somebody has to do what was said.
const NOT_AGAIN: u8 = 3;

/// Longest name of a member, which has to fit into its record.
const MAX_NAME_BYTES: usize = 64;

/// Runs the controller.
///
/// # Errors
/// If it cannot start or go on.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    logging::start("info")?;
    // The authority's key is in what it writes.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let mut signals = StopSignals::install()?;
    if let Err(refused) = data_directory::check(&arguments.data_dir, Program::Controller) {
        return not_again(&refused);
    }
    let options = options(&arguments)?;
    let is_member = options.cluster.is_some();
    let started = tokio::select! {
        started = Controller::start(options) => started,
        // A member may have to wait for others before it serves.
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let mut controller = match started {
        Ok(controller) => controller,
        Err(error) => return ended(error),
    };
    let account = controller.root().account.to_string();
    if let Some(given) = arguments.account_id.as_ref().filter(|given| **given != account) {
        controller.stop().await;
        bail!("--account-id is {given}, and the account of the cluster is {account}: leave it away, or say the same");
    }
    announce(&controller, &arguments, is_member)?;
    let manager = ServiceManager::from_environment();
    manager.ready("serves clients and agents");
    let health = controller.health();
    let failed = tokio::select! {
        () = signals.next() => None,
        error = controller.failed() => Some(error),
        never = manager.keep_alive(async || health.is_good().await) => match never {},
    };
    manager.stopping();
    controller.stop().await;
    failed.map_or(Ok(ExitCode::SUCCESS), ended)
}

/// How the process ends after an error. Where starting it again changes nothing, its exit code says so to whoever would.
fn ended(error: ControllerError) -> Result<ExitCode> {
    if !error.is_final() {
        return Err(listen_failure::explain(error));
    }
    not_again(&error.into())
}

fn not_again(error: &anyhow::Error) -> Result<ExitCode> {
    output::complain(&format!("berth: {error:#}"));
    Ok(ExitCode::from(NOT_AGAIN))
}

fn announce(controller: &Controller, arguments: &Arguments, is_member: bool) -> Result<()> {
    let scheme = if controller.speaks_tls() { "https" } else { "http" };
    output::line(&format!("Clients: {scheme}://{}", controller.listen()))?;
    if let Some(address) = controller.cluster_listen() {
        output::line(&format!("Members and agents: https://{address}"))?;
        output::line(&format!("Member: {}", controller.member_id()))?;
    }
    if let Some(address) = controller.agent_listen() {
        output::line(&format!("Agents: http://{address}"))?;
    }
    output::line(&format!("State: {}", arguments.data_dir.display()))?;
    let root = controller.root();
    output::line(&format!(
        "Root access key: {} of account {}",
        root.access_key_id, root.account
    ))?;
    let others = if is_member {
        "the other controllers and all tasks go"
    } else {
        "tasks run"
    };
    output::line(&format!("Ready. Ctrl-C stops it; {others} on without it."))
}

fn options(arguments: &Arguments) -> Result<ControllerOptions> {
    let data_dir = &arguments.data_dir;
    let was_member = is_member(data_dir);
    let token = arguments.join.token(was_member)?;
    let becomes_member = arguments.bootstrap || arguments.peer.is_some() || token.is_some();
    let is_asked_for = becomes_member || arguments.cluster_listen.is_some() || arguments.advertise.is_some();
    let cluster = (was_member || is_asked_for)
        .then(|| cluster(arguments, token))
        .transpose()?;
    let account = arguments.account_id.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    let root = match &cluster {
        Some(_) => root_keys::given(account)?,
        None => Some(root_keys::find_or_mint(account, data_dir)?),
    };
    let api_tls = api_tls(arguments, cluster.as_ref())?;
    let loopback = SocketAddr::from(([127, 0, 0, 1], CLUSTER_PORT));
    let agent_listen = match &cluster {
        Some(_) => arguments.agent_listen,
        None => Some(arguments.agent_listen.unwrap_or(loopback)),
    };
    Ok(ControllerOptions {
        data_dir: data_dir.clone(),
        listen: arguments.listen,
        agent_listen,
        cluster,
        root,
        api_tls,
        testing: arguments.testing,
        wake_command: arguments.wake_command.clone(),
        backups: schedule(arguments),
    })
}

fn cluster(arguments: &Arguments, token: Option<String>) -> Result<ClusterOptions> {
    let start = match (&arguments.peer, token) {
        _ if is_member(&arguments.data_dir) => ClusterStart::Resume,
        (_, Some(_)) if arguments.bootstrap => bail!(
            "--bootstrap founds a new cluster, and a join token is for one that is there: leave one of them away (the token may be in \
             BERTH_JOIN_TOKEN)"
        ),
        _ if arguments.bootstrap => ClusterStart::Bootstrap {
            root: root_of_new_cluster(arguments)?,
        },
        (Some(peer), Some(token)) => ClusterStart::Join {
            token,
            peer: peer.clone(),
        },
        (None, Some(_)) => bail!(
            "a join token is given, and not where to use it: add --peer HOST:PORT, the address of a controller of that cluster"
        ),
        (Some(peer), None) => bail!(
            "to join the cluster of {peer}, give a token from `berth token create --role controller`, with --join-file or in BERTH_JOIN_TOKEN"
        ),
        (None, None) => ClusterStart::Resume,
    };
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let everywhere = SocketAddr::from(([0, 0, 0, 0], CLUSTER_PORT));
    Ok(ClusterOptions {
        listen: arguments.cluster_listen.unwrap_or(everywhere),
        advertise: arguments.advertise.clone(),
        name,
        start,
    })
}

/// The key of a new cluster's root user. A state that is there already, such as that of a backup, may have one of its own.
fn root_of_new_cluster(arguments: &Arguments) -> Result<Option<RootCredentials>> {
    let account = arguments.account_id.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    if has_store(&arguments.data_dir) && !root_keys::is_kept(&arguments.data_dir) {
        return root_keys::given(account);
    }
    root_keys::find_or_mint(account, &arguments.data_dir).map(Some)
}

/// How clients' connections are secured: plain HTTP is for loopback addresses.
fn api_tls(arguments: &Arguments, cluster: Option<&ClusterOptions>) -> Result<ApiTls> {
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        return Ok(ApiTls::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        });
    }
    let listen = arguments.listen.ip();
    let wants_tls = arguments.tls || !arguments.tls_name.is_empty() || !listen.is_loopback();
    if !wants_tls {
        return Ok(ApiTls::Plain);
    }
    if cluster.is_none() {
        return Err(ControllerError::ClientPortNotSecured(arguments.listen).into());
    }
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(arguments.tls_name.iter().cloned());
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    let advertised = arguments
        .advertise
        .as_ref()
        .and_then(|address| address.rsplit_once(':'));
    names.extend(advertised.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
    names.extend(host_name().ok().filter(|name| values::server_name(name).is_ok()));
    names.sort_unstable();
    names.dedup();
    Ok(ApiTls::FromAuthority { names })
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot tell the name of this machine")?;
    let mut name = name.to_string_lossy().into_owned();
    while name.len() > MAX_NAME_BYTES {
        name.pop();
    }
    Ok(name)
}

fn member_name(text: &str) -> Result<String> {
    ensure!(
        (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control),
        "a name has 1 to {MAX_NAME_BYTES} bytes"
    );
    Ok(text.to_owned())
}

fn schedule(arguments: &Arguments) -> Option<ScheduleOptions> {
    let directory = arguments.backup_dir.clone()?;
    Some(ScheduleOptions {
        directory,
        every: arguments.backup_every,
        keep: usize::try_from(arguments.backup_keep).unwrap_or(usize::MAX),
    })
}
