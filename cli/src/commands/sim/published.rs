//! `berth sim published`: the published table of policies on the openb trace, beside what comes out here.
//!
//! Owns the comparison and how it is printed; the experiments and the published figures belong to `sim`. Shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_core::model::PlacementExtension;
use berth_sim::laboratory::{PUBLISHED, Policy, REQUESTED, SEEDS, Workload, inflate};
use clap::Args;

use super::experiments::{self, Tables};
use crate::output;
use crate::table::Table;

/// By how many percent points a policy may differ from what was published, where the most is asked for.
const TOLERANCE: f64 = 0.5;

/// Flags of `berth sim published`.
#[derive(Args, Debug)]
pub(super) struct Published {
    #[command(flatten)]
    tables: Tables,
    /// How many seeds, of the published ones from 42 to 51
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10))]
    seeds: u64,
}

/// What came out for a policy.
struct Outcome {
    policy: Policy,
    /// Mean over the seeds at each of [`REQUESTED`].
    allocated: [f64; REQUESTED.len()],
    /// Longest that an experiment took.
    took: Duration,
    published: Option<berth_sim::laboratory::Published>,
}

/// Makes the experiments and prints the table.
///
/// # Errors
/// If the workload cannot be read, has no GPUs, or asks for less than the experiment takes.
pub(super) fn compare(arguments: &Published) -> Result<ExitCode> {
    let workload = arguments.tables.read()?;
    check(&workload)?;
    let mut rows = vec![];
    for published in PUBLISHED {
        rows.push((published.policy.parse::<Policy>()?, Some(published)));
    }
    rows.push((Policy::of(PlacementExtension::Tightest), None));
    let seeds: Vec<u64> = SEEDS.take(usize::try_from(arguments.seeds)?).collect();
    let jobs: Vec<(&Policy, u64)> = rows
        .iter()
        .flat_map(|(policy, _)| seeds.iter().map(move |seed| (policy, *seed)))
        .collect();
    let most = REQUESTED[REQUESTED.len() - 1];
    let results = experiments::make(&jobs, |(policy, seed)| inflate(&workload, policy, most, *seed));
    let mut outcomes = vec![];
    for ((policy, published), results) in rows.iter().zip(results.chunks(seeds.len())) {
        let mut allocated = [0.0; REQUESTED.len()];
        for (mean, requested) in allocated.iter_mut().zip(REQUESTED) {
            let sum: Option<f64> = results.iter().map(|(curve, _)| curve.allocated_at(requested)).sum();
            let sum = sum.with_context(|| format!("no task came when {requested} % of the GPUs were asked for"))?;
            #[expect(clippy::cast_precision_loss, reason = "ten seeds at most")]
            let count = seeds.len() as f64;
            *mean = sum / count;
        }
        outcomes.push(Outcome {
            policy: policy.clone(),
            allocated,
            took: results.iter().map(|(_, took)| *took).max().unwrap_or_default(),
            published: *published,
        });
    }
    print(&outcomes, &seeds)?;
    let faults = faults(&outcomes);
    for fault in &faults {
        output::complain(fault);
    }
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// What was published is how many of the GPUs were allocated.
fn check(workload: &Workload) -> Result<()> {
    ensure!(
        workload.capacity().gpu > 0,
        "no host of the workload has a GPU, and what was published is how many GPUs are allocated; `berth sim run` compares strategies on it"
    );
    let mut tasks = workload.tasks.iter();
    ensure!(
        tasks.any(|task| task.shape.gpu.total() > 0),
        "no task of the workload asks for a GPU, and what was published is how many GPUs are allocated; `berth sim run` compares strategies on it"
    );
    Ok(())
}

fn print(outcomes: &[Outcome], seeds: &[u64]) -> Result<()> {
    let mut headings = vec!["POLICY".to_owned(), "CALLED".to_owned()];
    for requested in REQUESTED {
        headings.extend([format!("AT {requested} %"), "PUBLISHED".to_owned()]);
    }
    headings.extend(["DIFFERENCE".to_owned(), "SLOWEST".to_owned()]);
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    for outcome in outcomes {
        let called = outcome.published.map_or("Berth's own", |published| published.called);
        let mut cells = vec![outcome.policy.to_string(), called.to_owned()];
        for (at, allocated) in outcome.allocated.iter().enumerate() {
            let published = outcome.published.map(|published| published.allocated[at]);
            cells.push(format!("{allocated:.2}"));
            cells.push(published.map_or(String::new(), |figure| format!("{figure:.2}")));
        }
        cells.push(outcome.difference().map_or(String::new(), |by| format!("{by:+.2}")));
        cells.push(format!("{:.2} s", outcome.took.as_secs_f64()));
        table.row(cells);
    }
    output::line(&table.render(None))?;
    output::line(&format!(
        "\nAllocated GPUs in percent of all, when so many percent were asked for; mean of {} seeds ({} to {}).",
        seeds.len(),
        seeds[0],
        seeds[seeds.len() - 1]
    ))
}

impl Outcome {
    /// What was allocated where the most was asked for.
    fn last(&self) -> f64 {
        self.allocated[REQUESTED.len() - 1]
    }

    fn difference(&self) -> Option<f64> {
        let published = self.published?;
        Some(self.last() - published.allocated[REQUESTED.len() - 1])
    }
}

/// What is not as it should be.
fn faults(outcomes: &[Outcome]) -> Vec<String> {
    let far = outcomes.iter().filter_map(|outcome| {
        let by = outcome.difference().filter(|by| by.abs() > TOLERANCE)?;
        let policy = &outcome.policy;
        Some(format!(
            "{policy} is {by:+.2} percent points from what was published; {TOLERANCE} are allowed"
        ))
    });
    let mut faults: Vec<String> = far.collect();
    let (theirs, own): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().partition(|outcome| outcome.published.is_some());
    let best = theirs
        .into_iter()
        .max_by(|one, other| one.last().total_cmp(&other.last()));
    if let (Some(best), [own]) = (best, &own[..])
        && own.last() < best.last()
    {
        let (name, allocated, at_most) = (&own.policy, own.last(), best.last());
        faults.push(format!(
            "{name} allocates {allocated:.2} %, less than {} with {at_most:.2} %",
            best.policy
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use berth_sim::laboratory::{Synthetic, generate};

    use super::*;

    #[test]
    fn workload_without_gpus_is_not_compared_with_what_was_published() {
        let workload = generate(Synthetic::Services, 2, 10, 1);
        let error = check(&workload).expect_err("refused").to_string();
        assert!(error.contains("no host of the workload has a GPU"), "{error}");
    }
}
