//! `berth sim packing` and `berth sim generate`: as few hosts as possible, and workloads that are drawn.
//!
//! Owns their flags and how results are printed; the rest belongs to `sim`. Shell.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use berth_core::model::Resources;
use berth_sim::laboratory::{Policy, Synthetic, Workload, generate, pack, report};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::experiments;
use crate::output;
use crate::table::Table;

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
    /// Write hosts.csv and tasks.csv into this folder, which is made
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
/// If the tasks cannot be read, or none fits the host.
pub(super) fn pack_all(arguments: &Packing) -> Result<ExitCode> {
    let tasks = experiments::read_tasks(&arguments.trace)?;
    let fits = |size: Resources| arguments.host.checked_sub(size).is_some();
    let fitting = tasks.iter().filter(|task| fits(task.shape.resources)).count();
    if fitting == 0 {
        bail!("none of the {} tasks fits such a host", tasks.len());
    }
    let results = experiments::make(&arguments.strategy, |policy| pack(&tasks, arguments.host, policy, 42));
    let mut table = Table::new(&["WAY", "HOSTS", "TO THE BEST KNOWN"]);
    let Some((first, _)) = results.first() else {
        bail!("no policy is named");
    };
    let best = first.best_known();
    let mut row = |way: String, hosts: usize| {
        #[expect(clippy::cast_precision_loss, reason = "some thousand hosts")]
        let ratio = hosts as f64 / best as f64;
        table.row([way, hosts.to_string(), format!("{ratio:.3}")]);
    };
    row("lower bound".to_owned(), first.lower_bound);
    row("first-fit decreasing".to_owned(), first.first_fit_decreasing);
    row("best-fit decreasing".to_owned(), first.best_fit_decreasing);
    row("dot product, host by host".to_owned(), first.dot_product);
    for (policy, (packed, _)) in arguments.strategy.iter().zip(&results) {
        row(format!("{policy}, in order of arrival"), packed.policy);
        row(format!("{policy}, largest first"), packed.policy_decreasing);
        row(format!("{policy}, as a batch"), packed.policy_together);
    }
    output::line(&table.render(None))?;
    output::line(&format!("\n{fitting} of {} tasks fit such a host.", tasks.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws a workload and writes it.
///
/// # Errors
/// If the files cannot be written.
pub(super) fn draw(arguments: &Generate) -> Result<ExitCode> {
    let kind = Synthetic::ALL.into_iter().find(|kind| kind.name() == arguments.kind);
    let kind = kind.context("the kind is one of those that the flag allows")?;
    let (hosts, tasks) = (usize::try_from(arguments.hosts)?, usize::try_from(arguments.tasks)?);
    let workload: Workload = generate(kind, hosts, tasks, arguments.seed);
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, text) in [
        ("hosts.csv", report::hosts_csv(&workload)),
        ("tasks.csv", report::tasks_csv(&workload)),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output::line(&format!("wrote hosts.csv and tasks.csv to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
