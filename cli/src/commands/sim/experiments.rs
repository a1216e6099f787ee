//! Many experiments at once: one on each core, with a bar that says how far they have come.
//!
//! Owns the threads, the bar, how a workload is read and how results are printed and written; what an experiment is belongs to `sim`. Shell.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_sim::laboratory::report::Report;
use berth_sim::laboratory::{LabTask, Workload};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;
use crate::table::Table;

/// Columns of a table where standard output is no terminal.
const COLUMNS: usize = 100;

/// Where a workload is read from.
#[derive(Args, Debug)]
pub(super) struct Tables {
    /// The tasks: a table of the openb trace, or of Berth's own form
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// The hosts, likewise
    #[arg(long, value_name = "FILE")]
    hosts: PathBuf,
}

impl Tables {
    /// # Errors
    /// If a file cannot be read or is not understood.
    pub(super) fn read(&self) -> Result<Workload> {
        Ok(Workload {
            hosts: Workload::read_hosts(&text(&self.hosts)?).with_context(|| not_understood(&self.hosts))?,
            tasks: read_tasks(&self.trace)?,
        })
    }
}

/// # Errors
/// If the file cannot be read or is not understood.
pub(super) fn read_tasks(path: &Path) -> Result<Vec<LabTask>> {
    Workload::read_tasks(&text(path)?).with_context(|| not_understood(path))
}

fn not_understood(path: &Path) -> String {
    format!("{} is not understood", path.display())
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Does the work on every core.
pub(super) fn side_by_side(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(&work);
        }
    });
}

/// Makes all experiments, and gives what came of each with the time it took, in their order. On a terminal a bar on standard error says how
/// many are done.
pub(super) fn make<J: Sync, R: Send>(jobs: &[J], experiment: impl Fn(&J) -> R + Sync) -> Vec<(R, Duration)> {
    let bar = ProgressBar::new(jobs.len() as u64);
    // A template that is not understood leaves the bar as it comes.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} experiments, {eta} left") {
        bar.set_style(style);
    }
    let (next, results) = (AtomicUsize::new(0), Mutex::new(vec![]));
    side_by_side(|| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            let began = Instant::now();
            let result = experiment(job);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((number, result, began.elapsed()));
            bar.inc(1);
        }
    });
    bar.finish_and_clear();
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, ..)| *number);
    results.into_iter().map(|(_, result, took)| (result, took)).collect()
}

/// Results as they are printed: in blocks that fit on a terminal, which need not be wide.
pub(super) fn table(columns: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = columns.iter().map(|column| column.as_ref().to_uppercase()).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        table.row(row.clone());
    }
    table.render_in_blocks(output::width().unwrap_or(COLUMNS))
}

/// What a folder has that holds the report of an experiment.
const REPORT: &str = "report.html";

/// Makes the folder for a report, before anything is tried for it.
///
/// # Errors
/// If it cannot be made, or holds a report already: pictures of both would lie beside each other.
pub(super) fn prepare(folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let path = folder.join(REPORT);
    ensure!(!path.exists(), "{} exists already; name another folder", path.display());
    make_folder(folder)
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Writes what came of experiments into a folder, and says so.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_down(folder: &Path, report: Report, points: String, summary: String) -> Result<()> {
    let pictures = report.pictures.len();
    let mut files = report.pictures;
    for (name, text) in [(REPORT, report.page), ("points.csv", points), ("summary.csv", summary)] {
        files.push((name.to_owned(), text));
    }
    write(folder, files)?;
    output::complain(&format!(
        "wrote report.html, its {pictures} plots as pictures, points.csv and summary.csv to {}",
        folder.display()
    ));
    Ok(())
}

/// Writes files, named with what they hold, into a folder, which is made.
///
/// # Errors
/// If the folder cannot be made or a file cannot be written.
pub(super) fn write(folder: &Path, files: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    make_folder(folder)?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
