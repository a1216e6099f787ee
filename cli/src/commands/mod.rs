//! The commands, one file each.
//!
//! Owns which there are and the runtime that they run on. Shell.

mod agent;
mod apply;
mod aws;
mod backup;
mod ca;
mod completions;
mod controller;
mod decisions;
mod delete;
mod dev;
mod diff;
mod doctor;
mod env;
mod events;
mod hosts;
mod image;
mod logs;
mod members;
mod plan;
mod ps;
mod rebalance;
mod resume;
mod rollback;
mod sim;
mod token;
mod values;
mod wait;
mod watch;
mod what_if;
mod why;
mod why_not;

use std::ffi::OsStr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

/// A command of `berth`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a controller and hosts in one process, for development and tests
    Dev(dev::Arguments),
    /// Start a controller
    Controller(controller::Arguments),
    /// Start the agent of this host
    Agent(agent::Arguments),
    /// Print the variables by which AWS tools find a running `berth dev`
    Env(env::Arguments),
    /// Make a cluster what files say: clusters, capacity providers, task definitions and services, also from Compose files
    Apply(apply::Arguments),
    /// Say what `berth apply` would do
    Diff(diff::Arguments),
    /// Say what `berth apply` would do, where new tasks would go and how the rollout would proceed
    Plan(plan::Arguments),
    /// Wait until services and managed daemons are stable
    Wait(wait::Arguments),
    /// Delete what files declare
    Delete(delete::Arguments),
    /// Give a service an earlier revision of its task definition
    Rollback(rollback::Arguments),
    /// Let the deployment of a service go on, or back, that has paused at a hook
    Continue(resume::Arguments),
    /// List the tasks of a cluster, and say why services lack some
    Ps(ps::Arguments),
    /// List the hosts of a cluster, take some out of service or back
    Hosts(hosts::Arguments),
    /// Say why a task is on its host
    Why(why::Arguments),
    /// Say why hosts would not take a task of a service, and what would make it fit
    WhyNot(why_not::Arguments),
    /// Say what would become of the cluster if hosts were lost, drained or added, or services changed
    WhatIf(what_if::Arguments),
    /// Say which tasks to move so that zones are even or hosts are free, and move them
    Rebalance(rebalance::Arguments),
    /// Print what a task or the tasks of a service write
    Logs(logs::Arguments),
    /// Print what happens to the tasks, hosts, services and deployments of a cluster
    Events(events::Arguments),
    /// Print all resources of a cluster, and then each as it changes, for tools
    Watch(watch::Arguments),
    /// Bring images to the hosts of this machine, or list those that they have
    Image(image::Arguments),
    /// List the controllers of a cluster, remove one, or have another lead
    Members(members::Arguments),
    /// Make the tokens with which controllers and agents join a cluster, list and withdraw them
    Token(token::Arguments),
    /// Show or rotate the authority that signs a cluster's certificates
    Ca(ca::Arguments),
    /// Back up a cluster, verify a backup, or restore one
    Backup(backup::Arguments),
    /// Export the placement decisions of a cluster, and what they were made on
    Decisions(decisions::Arguments),
    /// Look at this host and a cluster, and say what is wrong and what to do
    Doctor(doctor::Arguments),
    /// Run the AWS CLI against a cluster
    Aws(aws::Arguments),
    /// Simulate a cluster under faults, to find what they bring to light
    Sim(sim::Arguments),
    /// Print what makes a shell complete the commands and flags of `berth`
    Completions(completions::Arguments),
}

/// Runs a command to its end.
///
/// # Errors
/// Whatever keeps the command from doing what it was asked.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Dev(arguments) => block_on(dev::run(arguments))?,
        Command::Controller(arguments) => return block_on(controller::run(arguments)),
        Command::Apply(arguments) => return block_on(apply::run(arguments)),
        Command::Diff(arguments) => return block_on(diff::run(arguments)),
        Command::Plan(arguments) => return block_on(plan::run(arguments)),
        Command::Wait(arguments) => return block_on(wait::run(arguments)),
        Command::Delete(arguments) => return block_on(delete::run(arguments)),
        Command::Rollback(arguments) => return block_on(rollback::run(arguments)),
        Command::Continue(arguments) => return block_on(resume::run(arguments)),
        Command::Backup(arguments) => block_on(backup::run(arguments))?,
        Command::Decisions(arguments) => block_on(decisions::run(arguments))?,
        Command::Members(arguments) => block_on(members::run(arguments))?,
        Command::Token(arguments) => block_on(token::run(arguments))?,
        Command::Ca(arguments) => block_on(ca::run(arguments))?,
        Command::Image(arguments) => block_on(image::run(arguments))?,
        Command::Completions(arguments) => completions::run(&arguments)?,
        Command::Doctor(arguments) => return block_on(doctor::run(arguments)),
        Command::Env(arguments) => env::run(&arguments)?,
        Command::Ps(arguments) => block_on(ps::run(arguments))?,
        Command::Hosts(arguments) => return block_on(hosts::run(arguments)),
        Command::Why(arguments) => block_on(why::run(arguments))?,
        Command::WhyNot(arguments) => block_on(why_not::run(arguments))?,
        Command::WhatIf(arguments) => block_on(what_if::run(arguments))?,
        Command::Rebalance(arguments) => return block_on(rebalance::run(arguments)),
        Command::Logs(arguments) => block_on(logs::run(arguments))?,
        Command::Events(arguments) => block_on(events::run(arguments))?,
        Command::Watch(arguments) => block_on(watch::run(arguments))?,
        Command::Agent(arguments) => return block_on(agent::run(arguments)),
        Command::Sim(arguments) => return sim::run(&arguments),
        Command::Aws(arguments) => return aws::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// Commands whose exit code 2 says that there are changes.
const WITH_CODE_FOR_CHANGES: [&str; 5] = ["apply", "delete", "diff", "plan", "rollback"];

/// The exit code for a command line that cannot be understood, where `code` is the usual one: another where that would mean something else.
pub(crate) fn code_of_usage(command: Option<&OsStr>, code: i32) -> ExitCode {
    let says_changes = command.is_some_and(|command| WITH_CODE_FOR_CHANGES.iter().any(|name| command == *name));
    match u8::try_from(code) {
        Ok(apply::CHANGES) if says_changes => ExitCode::FAILURE,
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime's threads")?;
    runtime.block_on(future)
}
