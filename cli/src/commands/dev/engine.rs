//! What runs the containers of a development cluster: containerd, or nothing but pretence.
//!
//! Owns the choice and the words for it. Shell.

use std::path::Path;

use anyhow::{Context, Result};
use berth_agent::runtime::containerd::{Containerd, ContainerdOptions};
use clap::ValueEnum;

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WantedEngine {
    /// containerd if it can be had, else simulated
    Auto,
    /// Real containers: the running containerd, else a private one
    Containerd,
    /// Containers only pretend to run; needs neither root nor containerd
    Simulated,
}

/// What runs the containers.
#[derive(Debug)]
pub(crate) enum Engine {
    /// Nothing does: they only pretend to run.
    Simulated,
    /// containerd.
    Containerd(Box<Containerd>),
}

/// Takes what is wanted, and says in one line what was taken and why.
///
/// # Errors
/// If containerd is demanded and cannot be had.
pub(crate) async fn choose(wanted: WantedEngine, data_dir: &Path) -> Result<(Engine, String)> {
    if wanted == WantedEngine::Simulated {
        return Ok((
            Engine::Simulated,
            "Runtime: simulated, as asked for; containers only pretend to run".to_owned(),
        ));
    }
    match (
        Containerd::connect_or_start(&ContainerdOptions::under(data_dir)).await,
        wanted,
    ) {
        (Ok(containerd), _) => {
            let line = format!("Runtime: containerd; {}", containerd.description());
            Ok((Engine::Containerd(Box::new(containerd)), line))
        }
        (Err(why), WantedEngine::Auto) => Ok((
            Engine::Simulated,
            format!("Runtime: simulated, containers only pretend to run; containerd was not taken since {why}"),
        )),
        (Err(error), _) => Err(error).context("cannot run containers"),
    }
}
