//! `berth sim optimum`: how far Berth's own strategy is from the fewest hosts that there could be.
//!
//! Owns how it is printed; the problems and the search belong to `sim`. Shell.

use std::process::ExitCode;

use anyhow::Result;
use berth_sim::laboratory::{Sizes, Way, gaps};
use clap::Args;

use crate::output;
use crate::table::Table;

/// Flags of `berth sim optimum`.
#[derive(Args, Debug)]
pub(super) struct Optimum {
    /// How many problems to draw
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    problems: u64,
    /// What they are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many hosts a problem has at most
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=8))]
    hosts: u64,
    /// How many tasks a problem has at most
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=12))]
    tasks: u64,
    /// How much of a host's CPU and of its memory a task takes at most; it takes 5 % of each at least
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u64).range(5..=100))]
    largest: u64,
}

/// Draws the problems and prints how often so many hosts too many were used.
///
/// # Errors
/// If it cannot be printed.
pub(super) fn compare(arguments: &Optimum) -> Result<ExitCode> {
    let sizes = Sizes {
        hosts: arguments.hosts,
        tasks: arguments.tasks,
        largest: arguments.largest,
    };
    let gaps = gaps(arguments.problems, arguments.seed, sizes);
    let most = gaps.values().filter_map(|by_gap| by_gap.keys().max()).max();
    let mut table = Table::new(&["HOSTS TOO MANY", "ONE BY ONE", "TOGETHER"]);
    for gap in 0..=most.copied().unwrap_or(0) {
        let count = |way| gaps.get(&way).and_then(|by_gap| by_gap.get(&gap)).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a percentage with two digits")]
        let share = |way| format!("{:.2} %", count(way) as f64 * 100.0 / arguments.problems as f64);
        table.row(vec![gap.to_string(), share(Way::OneByOne), share(Way::Together)]);
    }
    output::line(&table.render(None))?;
    output::line(&format!(
        "\nShares of {} problems with at most {} hosts and {} tasks of at most {} % of a host, for each of which the fewest hosts were found by trying \
         everything.",
        arguments.problems, sizes.hosts, sizes.tasks, sizes.largest
    ))?;
    Ok(ExitCode::SUCCESS)
}
