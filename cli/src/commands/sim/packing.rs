//! `berth sim packing` and `berth sim generate`: as few hosts as possible, and workloads that are drawn.
//!
//! Owns their flags and how results are printed; the rest belongs to `sim`. Shell.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use berth_core::model::Resources;
use berth_sim::laboratory::{Packed, Policy, Synthetic, Workload, generate, leftovers, pack, report};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::experiments;
use crate::output;

/// The files of a workload.
const HOSTS: &str = "hosts.csv";
const TASKS: &str = "tasks.csv";

/// Flags of `berth sim packing`.
#[derive(Args, Debug)]
pub(super) struct Packing {
    /// The tasks: a table of the openb trace, or of Berth's own form; GPUs are left out
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// What every host has: CPU units and MiB
    #[arg(long, value_name = "CPUxMEMORY", default_value = "98304x393216", value_parser = host_size)]
    host: Resources,
    /// A policy to compare; may be given several times
    #[arg(long, value_name = "NAME", default_value = "tightest")]
    strategy: Vec<Policy>,
    /// Write CSV, and a report to read in a browser, with its plots as pictures too, into this folder, which is made
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Flags of `berth sim generate`.
#[derive(Args, Debug)]
pub(super) struct Generate {
    /// The kind of workload
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(Synthetic::ALL.map(Synthetic::name)))]
    kind: String,
    /// How many hosts
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    hosts: u32,
    /// How many tasks
    #[arg(long, value_name = "COUNT", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tasks: u32,
    /// What everything is drawn from
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Write hosts.csv and tasks.csv, which must not exist, into this folder, which is made
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

fn host_size(text: &str) -> Result<Resources, String> {
    let numbers = text.split_once('x').map(|(cpu, memory)| (cpu.parse(), memory.parse()));
    match numbers {
        Some((Ok(cpu), Ok(memory))) if cpu > 0 && memory > 0 => Ok(Resources::new(cpu, memory)),
        _ => Err("give CPU units and MiB with an x between them, as in 98304x393216".to_owned()),
    }
}

/// Packs the tasks in every way.
///
/// # Errors
/// If the tasks cannot be read, or none fits the host, or the results cannot be written.
pub(super) fn pack_all(arguments: &Packing) -> Result<ExitCode> {
    experiments::prepare(arguments.out.as_deref())?;
    let tasks = experiments::read_tasks(&arguments.trace)?;
    let fits = |size: Resources| arguments.host.checked_sub(size).is_some();
    let fitting = tasks.iter().filter(|task| fits(task.shape.resources)).count();
    if fitting == 0 {
        bail!("none of the {} tasks fits such a host", tasks.len());
    }
    let results = experiments::make(&arguments.strategy, |policy| pack(&tasks, arguments.host, policy, 42));
    let results: Vec<(&Policy, &Packed)> = arguments
        .strategy
        .iter()
        .zip(results.iter().map(|(packed, _)| packed))
        .collect();
    let (columns, rows) = (
        leftovers::packing_columns(),
        leftovers::packing_rows(&results, arguments.host),
    );
    let what = format!(
        "{fitting} of {} tasks fit such a host. What is free is in percent of the hosts used.",
        tasks.len()
    );
    output::line(&experiments::table(&columns, &rows))?;
    output::line(&format!("\n{what}"))?;
    if let Some(folder) = &arguments.out {
        let report = leftovers::packing_report(&results, arguments.host, &what);
        let (points, summary) = (leftovers::packing_points(&results), report::csv(&columns, &rows));
        experiments::write_down(folder, report, points, summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws a workload and writes it.
///
/// # Errors
/// If the files exist or cannot be written.
pub(super) fn draw(arguments: &Generate) -> Result<ExitCode> {
    let kind = Synthetic::ALL.into_iter().find(|kind| kind.name() == arguments.kind);
    let kind = kind.context("the kind is one of those that the flag allows")?;
    let folder = &arguments.out;
    refuse_others(folder)?;
    let (hosts, tasks) = (usize::try_from(arguments.hosts)?, usize::try_from(arguments.tasks)?);
    let workload: Workload = generate(kind, hosts, tasks, arguments.seed);
    let files = [
        (HOSTS, report::hosts_csv(&workload)),
        (TASKS, report::tasks_csv(&workload)),
    ];
    experiments::write(folder, files.map(|(name, text)| (name.to_owned(), text)))?;
    output::line(&format!("wrote hosts.csv and tasks.csv to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// If a workload is there already.
fn refuse_others(folder: &Path) -> Result<()> {
    for path in [HOSTS, TASKS].map(|name| folder.join(name)) {
        ensure!(!path.exists(), "{} exists already; name another folder", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_is_not_drawn_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        refuse_others(folder.path()).expect("empty");
        refuse_others(&folder.path().join("new")).expect("not there");
        std::fs::write(folder.path().join(TASKS), "").expect("written");
        let error = refuse_others(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("tasks.csv exists already"), "{error}");
    }
}
