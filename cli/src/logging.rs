//! Log lines of the long-running commands, on standard error.
//!
//! Owns their level and form. Shell.

use std::io::IsTerminal;

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// Variable that sets the level, such as `debug` or `berth_agent=debug,warn`.
const VARIABLE: &str = "BERTH_LOG";

/// Logs from `level` on unless the environment says otherwise.
///
/// # Errors
/// If the variable is not a filter.
pub(crate) fn start(level: &str) -> Result<()> {
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| level.to_owned());
    let filter =
        EnvFilter::try_new(&wanted).map_err(|error| anyhow!("{VARIABLE}={wanted} is no log filter: {error}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    lines
        .try_init()
        .map_err(|error| anyhow!("cannot start logging: {error}"))
}
