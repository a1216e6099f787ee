//! `berth`, the one binary: starts controllers and agents, and holds the commands that people type.
//!
//! Owns the command line. Each command is one file under `commands`; they share the signed client, the way to find a cluster
//! and the way to print. Shell; what a controller or an agent does is in their own crates.

mod address;
mod age;
mod client;
mod cluster;
mod commands;
mod counted;
mod daemons;
mod data_directory;
mod declared;
mod fargate;
mod following;
mod host_names;
mod https;
mod join_token;
mod listen_failure;
mod lock;
mod logging;
mod output;
mod parts;
mod paused;
mod protected;
mod root_keys;
mod running;
mod service_manager;
mod short_id;
mod shortfall;
mod shutdown;
mod signals;
mod table;
mod target;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// Why: `docs/decisions/2026-11-26-the-program-allocates-with-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Amazon ECS for machines you own.
#[derive(Parser)]
#[command(name = "berth", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // containerd starts this program beside each container to keep its log; that is no command for people.
    if let Some(code) = berth_agent::logs::writer::run_if_asked() {
        return ExitCode::from(code);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is nobody to tell if this cannot be written.
            error.print().ok();
            return commands::code_of_usage(std::env::args_os().nth(1).as_deref(), error.exit_code());
        }
    };
    match commands::run(arguments.command) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("berth: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn command_line_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
