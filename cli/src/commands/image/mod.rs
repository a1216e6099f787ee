//! `berth image`: the images that hosts of this machine can use.
//!
//! Owns where they are kept: in the containerd of a development cluster, or in one that is named. Shell.

mod import;
mod list;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use berth_agent::runtime::containerd::launcher::DEFAULT_SOCKET;
use clap::{Args, Subcommand};

use crate::running::Containerd;
use crate::target::ListenArgument;

/// Flags of `berth image`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Subcommand, Debug)]
enum ImageCommand {
    /// Bring in an image from an OCI archive or layout directory
    Import(import::Arguments),
    /// List the images that are there, and which hosts have them
    #[command(visible_alias = "list")]
    Ls(list::Arguments),
}

/// Flags that say which containerd is meant.
#[derive(Args, Debug)]
struct PlaceArguments {
    #[command(flatten)]
    running: ListenArgument,
    /// Socket of a containerd, instead of that of a `berth dev`
    #[arg(long, value_name = "SOCKET")]
    containerd: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If containerd is not found or does not do what it is asked.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        ImageCommand::Import(arguments) => import::run(arguments).await,
        ImageCommand::Ls(arguments) => list::run(arguments).await,
    }
}

impl PlaceArguments {
    /// The containerd meant, with the namespaces of the hosts that are known to use it.
    fn find(&self) -> Result<Containerd> {
        let without_hosts = |socket: &Path| Containerd {
            socket: socket.to_owned(),
            namespaces: Vec::new(),
        };
        if let Some(socket) = &self.containerd {
            return Ok(without_hosts(socket));
        }
        match self.running.find() {
            Ok(cluster) => match cluster.containerd {
                Some(found) => Ok(found),
                None => bail!(
                    "the containers of the `berth dev` at {} are simulated and need no images",
                    cluster.listen
                ),
            },
            Err(_) if !self.running.is_given() && Path::new(DEFAULT_SOCKET).exists() => {
                Ok(without_hosts(Path::new(DEFAULT_SOCKET)))
            }
            Err(error) => Err(error),
        }
    }
}
