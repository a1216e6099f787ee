//! What ways of packing leave free on the hosts that they use: as rows of a table, as CSV, and as a page with plots. Pure.

use std::fmt::Write;

use berth_core::model::Resources;

use super::chart::{Chart, Line};
use super::inflation::percent;
use super::packing::Packed;
use super::page::Report;
use super::policy::Policy;

/// Policies with how they packed the same tasks.
pub type Results<'r> = [(&'r Policy, &'r Packed)];

/// A way of packing: what it is called, and what it leaves free on each host.
type Way<'r> = (String, &'r [Resources]);

/// All ways: those that know all tasks beforehand, and each policy in three ways.
fn ways<'r>(results: &Results<'r>) -> Vec<Way<'r>> {
    let Some((_, first)) = results.first() else {
        return vec![];
    };
    let mut ways: Vec<Way<'r>> = vec![
        ("first-fit decreasing".to_owned(), &first.first_fit_decreasing),
        ("best-fit decreasing".to_owned(), &first.best_fit_decreasing),
        ("dot product host by host".to_owned(), &first.dot_product),
    ];
    for (policy, packed) in results {
        ways.push((format!("{policy} in order of arrival"), &packed.policy));
        ways.push((format!("{policy} largest first"), &packed.policy_decreasing));
        ways.push((format!("{policy} as a batch"), &packed.policy_together));
    }
    ways
}

/// The columns of [`packing_rows`].
#[must_use]
pub fn packing_columns() -> Vec<&'static str> {
    vec!["way", "hosts", "to the best heuristic", "cpu free", "memory free"]
}

/// A row for each way, and for the lower bound. What is free is in percent of the hosts used, each of which has `host`.
#[must_use]
pub fn packing_rows(results: &Results<'_>, host: Resources) -> Vec<Vec<String>> {
    let Some((_, first)) = results.first() else {
        return vec![];
    };
    let to_best = |hosts: usize| format!("{:.3}", percent(hosts as u64, first.best_known() as u64) / 100.0);
    let row = |(way, left): Way<'_>| {
        let free = |of: fn(&Resources) -> u32| {
            let sum: u64 = left.iter().map(|left| u64::from(of(left))).sum();
            format!("{:.2}", percent(sum, u64::from(of(&host)) * left.len() as u64))
        };
        let hosts = left.len();
        vec![way, hosts.to_string(), to_best(hosts), free(cpu), free(memory)]
    };
    let bound = first.lower_bound;
    let mut rows = vec![vec![
        "lower bound".to_owned(),
        bound.to_string(),
        to_best(bound),
        String::new(),
        String::new(),
    ]];
    rows.extend(ways(results).into_iter().map(row));
    rows
}

/// What is left on every host of every way.
#[must_use]
pub fn packing_points(results: &Results<'_>) -> String {
    let mut text = "way,host,cpu_units_free,memory_mib_free\n".to_owned();
    for (way, left) in ways(results) {
        for (number, left) in left.iter().enumerate() {
            // Writing to a String cannot fail.
            _ = writeln!(text, "{way},{number},{},{}", left.cpu.0, left.memory.0);
        }
    }
    text
}

/// The page: what is free on the hosts of each way, the fullest first.
#[must_use]
pub fn packing_report(results: &Results<'_>, host: Resources, what: &str) -> Report {
    let chart = |name, title, of: fn(&Resources) -> u32| {
        let line = |(name, left): Way<'_>| {
            let mut free: Vec<u32> = left.iter().map(of).collect();
            free.sort_unstable();
            let of_host = |free| percent(u64::from(free), u64::from(of(&host)));
            let points = (1_u32..)
                .zip(free)
                .map(|(hosts, free)| (f64::from(hosts), of_host(free)));
            Line {
                name,
                points: points.collect(),
            }
        };
        let lines = ways(results).into_iter().map(line).collect();
        let (x, y) = ("hosts, the fullest first", "% of the host");
        Chart {
            name,
            title,
            x,
            y,
            lines,
        }
    };
    let charts = [
        chart("free-cpu", "CPU left free on each host", cpu),
        chart("free-memory", "Memory left free on each host", memory),
    ];
    Report::new(what, &packing_columns(), &packing_rows(results, host), &charts)
}

fn cpu(resources: &Resources) -> u32 {
    resources.cpu.0
}

fn memory(resources: &Resources) -> u32 {
    resources.memory.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laboratory::{Synthetic, generate, pack};

    #[test]
    fn ways_are_told_with_what_they_leave_free() {
        let (workload, policy) = (
            generate(Synthetic::PowersOfTwo, 1, 300, 3),
            "tightest".parse::<Policy>().expect("a policy"),
        );
        let host = workload.hosts[0].registered;
        let packed = pack(&workload.tasks, host, &policy, 1);
        let results = [(&policy, &packed)];
        let rows = packing_rows(&results, host);
        let hosts = |row: &Vec<String>| row[1].parse::<usize>().expect("a count");
        assert_eq!(rows.len(), 7);
        assert!(rows.iter().all(|row| row.len() == packing_columns().len()));
        assert!(rows.iter().all(|row| hosts(row) >= hosts(&rows[0])), "{rows:?}");
        // The same tasks on more hosts leave more free.
        let free = |row: &Vec<String>| row[3].parse::<f64>().expect("a share");
        let (alone, together) = (&rows[4], &rows[6]);
        assert_eq!(hosts(alone) > hosts(together), free(alone) > free(together), "{rows:?}");
        let all: usize = rows[1..].iter().map(hosts).sum();
        assert_eq!(packing_points(&results).lines().count(), all + 1);
        let report = packing_report(&results, host, "x");
        assert_eq!(report.page.matches("<polyline").count(), 2 * 6);
        assert!(!report.page.contains("NaN") && packing_rows(&[], host).is_empty());
    }
}
