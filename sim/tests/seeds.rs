//! Runs of the simulation in which everything has to hold.

use std::ops::Range;
use std::time::Instant;

/// `FIRST..END` in it chooses other seeds than those that always run.
const SEEDS_VARIABLE: &str = "BERTH_SIM_SEEDS";

/// The seeds of a run.
fn seeds() -> Range<u64> {
    let chosen = std::env::var(SEEDS_VARIABLE).ok();
    let parsed = chosen.as_deref().and_then(|text| text.split_once(".."));
    let number = |text: &str| text.parse().expect("a number");
    parsed.map_or(1..4, |(first, end)| number(first)..number(end))
}

#[test]
fn cluster_under_faults_keeps_what_it_acknowledged_and_comes_to_rest() {
    let (began, mut failed) = (Instant::now(), vec![]);
    let mut counts = std::collections::BTreeMap::new();
    for seed in seeds() {
        match berth_sim::run(seed) {
            Ok(report) => {
                for (what, count) in report.counts {
                    *counts.entry(what).or_insert(0) += count;
                }
            }
            Err(violation) => failed.push(violation.to_string()),
        }
    }
    eprintln!("{:?} in {:?}: {counts:#?}", seeds(), began.elapsed());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn same_seed_gives_the_same_run() {
    let run = || berth_sim::run(9).expect("it holds");
    assert_eq!(run(), run());
}
