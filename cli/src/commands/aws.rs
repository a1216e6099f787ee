//! `berth aws ...`: runs the AWS CLI against a cluster.
//!
//! Owns the environment that the AWS CLI is given. Shell.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::target::{ListenArgument, TargetArguments};

/// Exit code for a program that is not there, as shells use it.
const EXIT_NOT_FOUND: u8 = 127;

/// Arguments of `berth aws`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    running: ListenArgument,
    /// What the AWS CLI is given, such as `ecs list-clusters`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs the AWS CLI to its end and passes on its exit code.
///
/// # Errors
/// If no cluster is found or the AWS CLI cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let target = TargetArguments::of_environment()
        .with(arguments.running.clone())
        .find()?;
    let mut command = Command::new("aws");
    command
        .args(&arguments.arguments)
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .envs(target.variables());
    match command.status() {
        Ok(status) => Ok(exit_code(status)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::output::complain(
                "berth: there is no `aws` on the PATH; install the AWS CLI with `pip install awscli` (version 1.27 or later; Debian 12's own ignores \
                 AWS_ENDPOINT_URL)",
            );
            Ok(ExitCode::from(EXIT_NOT_FOUND))
        }
        Err(error) => Err(error).context("cannot run `aws`"),
    }
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
