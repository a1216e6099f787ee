//! `berth controller`: one controller, until it is told to stop.
//!
//! Owns its flags. Shell.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use berth_controller::api::ApiOptions;
use berth_controller::node::{Controller, ControllerOptions};
use clap::Args;

use super::values;
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
    let failed = tokio::select! {
        () = signals.next() => None,
        error = controller.failed() => Some(error),
    };
    controller.stop().await;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
