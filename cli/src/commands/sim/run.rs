//! `berth sim run`: strategies compared on a workload, as tables, CSV and a report.
//!
//! Owns which experiments are made and where their results go; what is measured belongs to `sim`. Shell.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use berth_sim::laboratory::report::Report;
use berth_sim::laboratory::{Curve, Moving, Policy, Replay, Workload, inflate, replay, report};
use clap::Args;

use super::experiments::{self, Tables};
use super::live::Screen;
use crate::output;

/// The first seed where none is named: that of the published experiments.
const FIRST_SEED: u64 = 42;

/// What samples are taken over.
const SAMPLED: &str = "moments that lie evenly over what comes and goes";

/// How much is asked for where nothing else is said, in percent of what the hosts have.
const INFLATE_TO: f64 = 1.3;

/// Flags of `berth sim run`.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    tables: Tables,
    /// A strategy, or several with + between them that are asked in turn; each flag is one policy to compare
    #[arg(long, value_name = "NAME", required = true)]
    strategy: Vec<Policy>,
    /// Let tasks come and go as the trace says, in virtual time
    #[arg(long, conflicts_with = "inflate")]
    arrivals: bool,
    /// Let tasks come, and none go, until they ask for so many times what the hosts have; 1.3 if neither this nor --arrivals is given
    #[arg(long, value_name = "RATIO")]
    inflate: Option<f64>,
    /// How many seeds, from 42 on
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Write CSV, and a report to read in a browser, with its plots as pictures too, into this folder, which is made
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Beside each policy, the same with tasks moved every so many seconds so that hosts are free, by the plans of the controllers
    #[arg(long, value_name = "SECONDS", requires = "arrivals", value_parser = clap::value_parser!(u64).range(1..))]
    defragment_every: Option<u64>,
    /// Moves each time, at most
    #[arg(long, value_name = "COUNT", requires = "defragment_every", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_moves: u32,
    /// Show the hosts as they fill: the first seed of each policy, one after the other
    #[arg(long, requires = "arrivals")]
    live: bool,
}

/// Makes the experiments, prints what came of them, and writes it down.
///
/// # Errors
/// If the workload cannot be read, or the results cannot be written.
pub(super) fn run(arguments: &Run) -> Result<ExitCode> {
    experiments::prepare(arguments.out.as_deref())?;
    let workload = arguments.tables.read()?;
    let made = if arguments.arrivals {
        arrivals(arguments, &workload)?
    } else {
        inflation(arguments, &workload)?
    };
    output::line(&made.table)?;
    output::line(&format!("\n{}", made.what))?;
    if let Some(folder) = &arguments.out {
        experiments::write_down(folder, made.report, made.points, made.summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is printed and written.
struct Made {
    table: String,
    what: String,
    report: Report,
    points: String,
    summary: String,
}

impl Run {
    fn seeds(&self) -> Vec<u64> {
        (FIRST_SEED..FIRST_SEED + self.seeds).collect()
    }

    /// Each policy with each seed.
    fn jobs(&self) -> Vec<(&Policy, u64)> {
        let of = |policy| self.seeds().into_iter().map(move |seed| (policy, seed));
        self.strategy.iter().flat_map(of).collect()
    }

    /// How tasks are moved, if they are.
    fn moving(&self) -> Result<Option<Moving>> {
        let max_moves = usize::try_from(self.max_moves)?;
        Ok(self.defragment_every.map(|every_s| Moving { every_s, max_moves }))
    }

    fn chunk(&self) -> Result<usize> {
        Ok(usize::try_from(self.seeds)?)
    }

    fn of_seeds(&self) -> String {
        match self.seeds {
            1 => format!("seed {FIRST_SEED}"),
            more => format!("mean of {more} seeds ({FIRST_SEED} to {})", FIRST_SEED + more - 1),
        }
    }
}

fn inflation(arguments: &Run, workload: &Workload) -> Result<Made> {
    let ratio = arguments.inflate.unwrap_or(INFLATE_TO);
    if !(0.01..=10.0).contains(&ratio) {
        bail!("--inflate {ratio} is not between 0.01 and 10 times what the hosts have");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a thousand at most"
    )]
    let until = (ratio * 100.0).round() as u32;
    let jobs = arguments.jobs();
    let results = experiments::make(&jobs, |(policy, seed)| inflate(workload, policy, until, *seed));
    let curves: Vec<Curve> = results.into_iter().map(|(curve, _)| curve).collect();
    let names = arguments.strategy.iter().map(Policy::to_string);
    let by_policy: Vec<(String, &[Curve])> = names.zip(curves.chunks(arguments.chunk()?)).collect();
    let columns = report::inflation_columns();
    let rows = report::inflation_rows(&by_policy);
    let what = format!(
        "Tasks came until they asked for {until} % of what the hosts have; {}. In percent at the end.",
        arguments.of_seeds()
    );
    Ok(Made {
        table: experiments::table(&columns, &rows),
        report: report::inflation_report(&by_policy, &what),
        points: report::inflation_points(&by_policy, FIRST_SEED),
        summary: report::csv(&columns, &rows),
        what,
    })
}

/// What is said of moves.
fn moves_told(moving: Option<Moving>) -> String {
    match moving {
        Some(Moving { every_s, max_moves }) => format!(
            "Where it says 'with moves', at most {max_moves} tasks are moved every {every_s} s so that hosts are free; moves and hosts freed are counted over the whole time."
        ),
        None => "No task is moved.".to_owned(),
    }
}

fn arrivals(arguments: &Run, workload: &Workload) -> Result<Made> {
    let moving = arguments.moving()?;
    if arguments.live {
        let mut screen = Screen::new(workload)?;
        for policy in &arguments.strategy {
            screen.begin(policy.name());
            replay(workload, policy, moving, FIRST_SEED, &mut |sample, hosts| {
                screen.show(sample, &hosts)
            });
        }
        screen.end();
    }
    // Each policy without moves, then the same with them.
    let ways: Vec<Option<Moving>> = [None].into_iter().chain(moving.map(Some)).collect();
    let mut jobs = vec![];
    for policy in &arguments.strategy {
        for way in &ways {
            jobs.extend(arguments.seeds().into_iter().map(|seed| (policy, *way, seed)));
        }
    }
    let results = experiments::make(&jobs, |(policy, way, seed)| {
        replay(workload, policy, *way, *seed, &mut |_, _| {})
    });
    let replays: Vec<Replay> = results.into_iter().map(|(replay, _)| replay).collect();
    let name = |(policy, way): (&Policy, &Option<Moving>)| match way {
        Some(_) => format!("{policy} with moves"),
        None => policy.to_string(),
    };
    let policies = arguments.strategy.iter();
    let names = policies.flat_map(|policy| ways.iter().map(move |way| name((policy, way))));
    let by_policy: Vec<(String, &[Replay])> = names.zip(replays.chunks(arguments.chunk()?)).collect();
    let columns = report::arrival_columns(&by_policy);
    let rows = report::arrival_rows(&by_policy);
    let what = format!(
        "Tasks came and went as the trace says; {}. Percents, hosts and skew are means over {SAMPLED}; waits are in seconds. {}",
        arguments.of_seeds(),
        moves_told(moving)
    );
    Ok(Made {
        table: experiments::table(&columns, &rows),
        report: report::arrival_report(&by_policy, &what),
        points: report::arrival_points(&by_policy, FIRST_SEED),
        summary: report::csv(&columns, &rows),
        what,
    })
}
