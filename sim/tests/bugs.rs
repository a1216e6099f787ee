//! Mistakes that are planted are found. `berth sim bugs` looks for all of them, and for longer.

use berth_sim::{Bug, run_with};

/// Those that show within a few seeds.
const QUICK: [Bug; 7] = [
    Bug::SkippedSync,
    Bug::AckBeforeCommit,
    Bug::RetryAsNew,
    Bug::DoubleApply,
    Bug::ForgottenToken,
    Bug::ReservedTwice,
    Bug::ReportsAckedEarly,
];

/// Seeds within which they have to be found.
const MOST_SEEDS: u64 = 20;

#[test]
fn planted_bugs_are_found() {
    for bug in QUICK {
        let found = (1..=MOST_SEEDS).find_map(|seed| run_with(seed, Some(bug)).err());
        assert!(found.is_some(), "{bug:?} is not found within {MOST_SEEDS} seeds");
    }
}
