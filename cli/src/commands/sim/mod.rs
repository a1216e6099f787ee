//! `berth sim`: simulated clusters under faults, and the laboratory of placement.
//!
//! Owns which commands there are; what is simulated belongs to `sim`. Shell.

mod experiments;
mod faults;
mod live;
mod optimum;
mod packing;
mod published;
mod replay;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Flags of `berth sim`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Let a cluster live through faults, and check at every step what has to hold
    #[command(
        after_help = "Each run follows from its seed alone: the same seed gives the same run. A violation is printed with its seed;\n\
        `berth sim faults --seed N` makes that run again. The exit code is 1 if there was a violation."
    )]
    Faults(faults::Faults),
    /// Plant mistakes, one after the other, and say after how many runs each is found
    #[command(after_help = "The exit code is 1 if one is not found.")]
    Bugs(faults::Bugs),
    /// Repeat the published experiments on the openb trace, and print what comes out beside what was published
    #[command(
        after_help = "The exit code is 1 if a policy is more than half a percent point from what was published for it, or if Berth's own is\n\
        not the best."
    )]
    Published(published::Published),
    /// Compare Berth's own strategy with the fewest hosts that there could be, on small problems that are drawn
    #[command(
        after_help = "A task for which a strategy finds no host counts as if it had got one of its own beyond those that there are."
    )]
    Optimum(optimum::Optimum),
    /// Compare strategies of placement on a workload
    #[command(
        after_help = "Strategies: random, default, spread=FIELD, binpack=cpu, binpack=memory, best-fit, dot-product, fragmentation, gpu-packing,\n\
        gpu-clustering, tightest; several with + between them are asked in turn. The same seed gives the same experiment."
    )]
    Run(run::Run),
    /// Make the decisions of a recorded span of a cluster's log again, or see what other strategies would have done
    #[command(
        after_help = "Without --strategy the exit code is 1 if a decision does not come out the same. Strategies are called as for `berth sim run`."
    )]
    Replay(replay::Replay),
    /// Pack all tasks of a workload onto as few equal hosts as possible, beside heuristics that know all tasks beforehand
    Packing(packing::Packing),
    /// Draw a workload from published distributions
    Generate(packing::Generate),
}

/// Does what was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Faults(faults) => faults::live_through(faults),
        What::Bugs(bugs) => faults::find(bugs),
        What::Published(published) => published::compare(published),
        What::Optimum(optimum) => optimum::compare(optimum),
        What::Run(arguments) => run::run(arguments),
        What::Replay(arguments) => replay::run(arguments),
        What::Packing(packing) => packing::pack_all(packing),
        What::Generate(generate) => packing::draw(generate),
    }
}
