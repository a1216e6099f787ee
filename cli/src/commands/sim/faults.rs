//! `berth sim faults` and `berth sim bugs`: runs of a simulated cluster.
//!
//! Owns which runs are made and how they are told of; what a run is belongs to `sim`. Shell.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use berth_sim::{Bug, Violation};
use clap::Args;

use super::experiments::side_by_side;
use crate::output;

/// Flags of `berth sim bugs`.
#[derive(Args, Debug)]
pub(super) struct Bugs {
    /// Runs after which a mistake counts as not found
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
}

/// Flags of `berth sim faults`.
#[derive(Args, Debug)]
pub(super) struct Faults {
    /// The seed of the run, or of the first
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many runs, each with the next seed
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Begin no run after so many seconds
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
}

/// What became of all runs.
#[derive(Default)]
struct Tally {
    runs: u64,
    virtual_ms: u64,
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
}

/// Looks for every mistake, several at a time.
pub(super) fn find(bugs: &Bugs) -> Result<ExitCode> {
    // A broken invariant panics, which the simulation reports as what it found: it need not be told twice.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, missed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = (1..=bugs.seeds).find_map(|seed| berth_sim::run_with(seed, Some(*bug)).err());
            let told = if let Some(violation) = found {
                output::line(&format!("{bug:?} found after {} runs: {violation}", violation.seed))
            } else {
                missed.store(true, Ordering::Relaxed);
                output::line(&format!("{bug:?} NOT FOUND in {} runs", bugs.seeds))
            };
            if told.is_err() {
                return;
            }
        }
    };
    side_by_side(work);
    Ok(if missed.into_inner() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Makes runs, several at a time.
pub(super) fn live_through(faults: &Faults) -> Result<ExitCode> {
    let (began, next, tally) = (Instant::now(), AtomicU64::new(0), Mutex::new(Tally::default()));
    let in_time = || {
        faults
            .within
            .is_none_or(|limit| began.elapsed() < Duration::from_secs(limit))
    };
    let work = || {
        while in_time() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= faults.seeds {
                return;
            }
            let outcome = berth_sim::run(faults.seed.wrapping_add(number));
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
        }
    };
    side_by_side(work);
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.tell(began.elapsed())
}

impl Tally {
    fn add(&mut self, outcome: Result<berth_sim::Report, Violation>) {
        self.runs += 1;
        match outcome {
            Ok(report) => {
                self.virtual_ms += report.virtual_ms;
                for (what, count) in report.counts {
                    *self.counts.entry(what).or_default() += count;
                }
            }
            Err(violation) => {
                output::complain(&format!("VIOLATED: {violation}"));
                self.violations.push(violation);
            }
        }
    }

    fn tell(&self, took: Duration) -> Result<ExitCode> {
        let seconds = took.as_secs_f64();
        for (what, count) in &self.counts {
            output::line(&format!("{count:>10} {what}"))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people, to one digit")]
        let per_second = self.runs as f64 / seconds.max(0.001);
        output::line(&format!(
            "{} seeds in {seconds:.1} s ({per_second:.1} a second), {} s of virtual time, {} violations",
            self.runs,
            self.virtual_ms / 1000,
            self.violations.len()
        ))?;
        let mut seeds: Vec<u64> = self.violations.iter().map(|violation| violation.seed).collect();
        seeds.sort_unstable();
        if let Some(first) = seeds.first() {
            output::complain(&format!(
                "make the first run again with: berth sim faults --seed {first}"
            ));
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
