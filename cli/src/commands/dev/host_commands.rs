//! `berth dev host`: adds hosts to a running `berth dev`, kills and drains some.
//!
//! Owns the flags. Shell.

use anyhow::Result;
use berth_core::model::CapacityProviderName;
use clap::{Args, Subcommand};

use super::control::{self, Order};
use crate::commands::{hosts, values};
use crate::output;
use crate::target::{ListenArgument, TargetArguments};

/// Flags of `berth dev host`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(Subcommand, Debug)]
enum HostCommand {
    /// Start a host: a new one, or one that was killed
    Add(AddArguments),
    /// Have a host be gone as if its power were cut: nothing says goodbye, and its containers are dead
    Kill(KillArguments),
    /// Have no new tasks go to a host, and the tasks of services move away, as `berth hosts drain` does
    Drain(KillArguments),
}

/// Flags of `berth dev host add`.
#[derive(Args, Debug)]
struct AddArguments {
    /// Its name; one that was killed comes back under its name [default: the next number]
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// Its availability zone [default: the one that it had, else the one with the fewest hosts]
    #[arg(long, value_name = "ZONE")]
    az: Option<String>,
    /// The capacity provider whose pool it belongs to [default: the one that it had, else none]
    #[arg(long, value_name = "NAME", value_parser = values::capacity_provider)]
    capacity_provider: Option<CapacityProviderName>,
    /// vCPUs that it offers [default: what it did, else as the others]
    #[arg(long, value_name = "VCPUS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpu: Option<u32>,
    /// Memory that it offers [default: what it did, else as the others]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    memory: Option<u32>,
    #[command(flatten)]
    running: ListenArgument,
}

/// Flags of `berth dev host kill` and `drain`.
#[derive(Args, Debug)]
struct KillArguments {
    /// Its name
    #[arg(value_name = "HOST")]
    host: String,
    #[command(flatten)]
    running: ListenArgument,
}

/// Has the running cluster do what is asked.
///
/// # Errors
/// If there is none, or it says why it did not.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let (running, order) = match arguments.command {
        HostCommand::Drain(drain) => {
            let target = TargetArguments::default().with(drain.running);
            return hosts::drain(vec![drain.host], target).await;
        }
        HostCommand::Add(add) => {
            let order = Order::Add {
                name: add.host,
                zone: add.az,
                capacity_provider: add.capacity_provider,
                vcpus: add.cpu,
                memory_mib: add.memory,
            };
            (add.running, order)
        }
        HostCommand::Kill(kill) => (kill.running, Order::Kill { name: kill.host }),
    };
    output::line(&control::send(running.find()?.listen, &order).await?)
}
