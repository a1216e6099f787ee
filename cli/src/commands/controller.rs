//! `berth controller`: one controller, until it is told to stop.
//!
//! Owns its flags. Shell.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use berth_controller::api::ApiOptions;
use berth_controller::backup::ScheduleOptions;
use berth_controller::node::{Controller, ControllerOptions};
use clap::Args;

use super::values;
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
    /// Where agents reach the controller; a loopback address, since agents do not authenticate themselves yet
    #[arg(long, default_value = "127.0.0.1:7481", value_name = "ADDRESS:PORT", value_parser = address::parse)]
    agent_listen: SocketAddr,
    /// The account that everything belongs to
    #[arg(long, default_value = "123456789012", value_name = "ID", value_parser = values::account_id)]
    account_id: String,
    /// Write backups into this folder by itself, best on another disk; only the leader does
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<PathBuf>,
    /// Time between two of them, such as 6h, 30m or 1d
    #[arg(long, default_value = "6h", value_name = "TIME", value_parser = values::duration, requires = "backup_dir")]
    backup_every: Duration,
    /// How many of them to keep
    #[arg(long, default_value_t = 28, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), requires = "backup_dir")]
    backup_keep: u32,
    /// Offer `POST /_berth/reset`, which empties the state
    #[arg(long)]
    testing: bool,
}

/// Runs the controller.
///
/// # Errors
/// If it cannot start or go on.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    logging::start("info")?;
    let mut signals = StopSignals::install()?;
    let root = root_keys::find_or_mint(&arguments.account_id, &arguments.data_dir)?;
    let access_key = root.access_key_id.clone();
    let mut controller = Controller::start(ControllerOptions {
        data_dir: arguments.data_dir.clone(),
        listen: arguments.listen,
        agent_listen: arguments.agent_listen,
        api: ApiOptions {
            root,
            testing: arguments.testing,
        },
        backups: schedule(&arguments),
    })
    .await
    .map_err(listen_failure::explain)?;
    output::line(&format!("Clients: http://{}", controller.listen()))?;
    output::line(&format!("Agents: http://{}", controller.agent_listen()))?;
    output::line(&format!("State: {}", arguments.data_dir.display()))?;
    output::line(&format!(
        "Root access key: {access_key} of account {}",
        arguments.account_id
    ))?;
    output::line("Ready. Ctrl-C stops it; tasks run on without it.")?;
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
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn schedule(arguments: &Arguments) -> Option<ScheduleOptions> {
    let directory = arguments.backup_dir.clone()?;
    Some(ScheduleOptions {
        directory,
        every: arguments.backup_every,
        keep: usize::try_from(arguments.backup_keep).unwrap_or(usize::MAX),
    })
}
