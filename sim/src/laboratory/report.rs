//! What came out of experiments, as rows of a table, as CSV, and as a page with plots that needs nothing but itself. Pure.

use std::fmt::Write;

use berth_core::model::attribute_names;
use berth_core::placement::{GpuNeed, Host, WHOLE_GPU};

use super::arrivals::{Replay, Sample};
use super::chart::{Chart, Line};
use super::inflation::{Curve, Point};
use super::moving::Moved;
pub use super::page::Report;
use super::workload::{LabTask, Workload};

/// What was tried, by name, with what came of each seed.
pub type Results<'r, R> = [(String, &'r [R])];

/// Percents of a hundred asked for that have a column of their own.
const REQUESTED: [u32; 3] = [90, 100, 130];

/// The columns of [`inflation_rows`].
#[must_use]
pub fn inflation_columns() -> Vec<&'static str> {
    vec![
        "policy",
        "allocated at 90 %",
        "at 100 %",
        "at 130 %",
        "at the end",
        "fragmented",
        "hosts used",
        "tasks",
        "without a host",
    ]
}

/// A row for each policy, with means over the seeds.
#[must_use]
pub fn inflation_rows(results: &Results<'_, Curve>) -> Vec<Vec<String>> {
    let row = |(policy, curves): &(String, &[Curve])| {
        let at = |requested: u32| {
            let found: Vec<f64> = curves
                .iter()
                .filter_map(|curve| curve.allocated_at(requested))
                .collect();
            if found.is_empty() {
                String::new()
            } else {
                two(mean(&found))
            }
        };
        let last = |of: fn(&Point) -> f64| {
            let lasts: Vec<f64> = curves.iter().filter_map(|curve| curve.points.last().map(of)).collect();
            two(mean(&lasts))
        };
        let count = |of: fn(&Curve) -> u32| {
            let counts: Vec<f64> = curves.iter().map(|curve| f64::from(of(curve))).collect();
            format!("{:.0}", mean(&counts))
        };
        let mut cells = vec![policy.clone()];
        cells.extend(REQUESTED.map(at));
        cells.extend([
            last(|point| point.allocated),
            last(|point| point.fragmented),
            last(|point| point.hosts_used),
        ]);
        cells.extend([count(|curve| curve.tasks), count(|curve| curve.without_host)]);
        cells
    };
    results.iter().map(row).collect()
}

/// Every point of every experiment.
#[must_use]
pub fn inflation_points(results: &Results<'_, Curve>, first_seed: u64) -> String {
    let mut text = "policy,seed,requested,allocated,fragmented,hosts_used\n".to_owned();
    for (policy, curves) in results {
        for (seed, curve) in (first_seed..).zip(*curves) {
            for p in &curve.points {
                let (allocated, fragmented, used) = (p.allocated, p.fragmented, p.hosts_used);
                // Writing to a String cannot fail.
                _ = writeln!(
                    text,
                    "{policy},{seed},{},{allocated:.4},{fragmented:.4},{used:.4}",
                    p.requested
                );
            }
        }
    }
    text
}

/// Percent asked for from which policies part, and of which there is a plot of its own.
const NEARLY_FULL: u32 = 80;

/// The page of an inflation. Where nothing is of no use to typical tasks, as there are no GPUs, there is no plot of it.
#[must_use]
pub fn inflation_report(results: &Results<'_, Curve>, what: &str) -> Report {
    let chart = |name, title, y, from: u32, of: fn(&Point) -> f64| {
        let line = |(policy, curves): &(String, &[Curve])| Line {
            name: policy.clone(),
            points: mean_curve(curves, from, of),
        };
        let lines = results.iter().map(line).collect();
        let x = "asked for, % of what the hosts have";
        Chart {
            name,
            title,
            x,
            y,
            lines,
        }
    };
    let allocated = "% of what the hosts have";
    let mut charts = vec![
        chart("allocated", "Allocated", allocated, 0, |point| point.allocated),
        chart(
            "allocated-nearly-full",
            "Allocated, from where 80 % is asked for",
            allocated,
            NEARLY_FULL,
            |point| point.allocated,
        ),
        chart(
            "fragmented",
            "Free and of no use to typical tasks",
            "% of all GPUs",
            0,
            |point| point.fragmented,
        ),
        chart("hosts", "Hosts in use", "% of all hosts", 0, |point| point.hosts_used),
    ];
    charts.retain(Chart::shows_something);
    Report::new(what, &inflation_columns(), &inflation_rows(results), &charts)
}

/// The mean over the seeds, at every percent from there on at which all of them have a point.
fn mean_curve(curves: &[Curve], from: u32, of: fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut points = vec![];
    let first = curves.iter().take(1).flat_map(|curve| &curve.points);
    for point in first.filter(|point| point.requested >= from) {
        let at = |curve: &Curve| {
            let same = curve
                .points
                .binary_search_by_key(&point.requested, |other| other.requested);
            same.ok().map(|found| of(&curve.points[found]))
        };
        let values: Vec<f64> = curves.iter().filter_map(at).collect();
        if values.len() == curves.len() {
            points.push((f64::from(point.requested), mean(&values)));
        }
    }
    points
}

/// Whether tasks were to be moved anywhere.
fn is_with_moves(results: &Results<'_, Replay>) -> bool {
    results
        .iter()
        .any(|(_, replays)| replays.iter().any(|replay| replay.moved.is_some()))
}

/// The columns of [`arrival_rows`]: those of moves where tasks were to be moved.
#[must_use]
pub fn arrival_columns(results: &Results<'_, Replay>) -> Vec<&'static str> {
    let mut columns = vec![
        "policy",
        "cpu",
        "memory",
        "gpu",
        "fragmented",
        "hosts used",
        "to the lower bound",
        "zone skew",
        "wait p50",
        "p95",
        "longest",
        "tasks",
        "without a host",
    ];
    if is_with_moves(results) {
        columns.extend(["moves", "hosts freed"]);
    }
    columns
}

/// A row for each policy, with means over the samples and over the seeds.
#[must_use]
pub fn arrival_rows(results: &Results<'_, Replay>) -> Vec<Vec<String>> {
    let with_moves = is_with_moves(results);
    let row = |(policy, replays): &(String, &[Replay])| {
        let over = |of: &dyn Fn(&Replay) -> f64| mean(&replays.iter().map(of).collect::<Vec<f64>>());
        let sampled = |of: fn(&Sample) -> f64| over(&|replay| replay.mean(of));
        let (used, needed) = (sampled(|s| real(s.hosts_used)), sampled(|s| real(s.hosts_needed)));
        let wait = |of_hundred: usize| format!("{:.0}", over(&|replay| whole(replay.wait_of(of_hundred))));
        let ratio = if needed > 0.0 {
            two(used / needed)
        } else {
            String::new()
        };
        let mut cells = vec![
            policy.clone(),
            two(sampled(|s| s.cpu)),
            two(sampled(|s| s.memory)),
            two(sampled(|s| s.gpu)),
            two(sampled(|s| s.fragmented)),
            two(used),
            ratio,
            two(sampled(|s| real(s.zone_skew))),
            wait(50),
            wait(95),
            wait(100),
            format!("{:.0}", over(&|replay| real(replay.tasks))),
            format!("{:.0}", over(&|replay| real(replay.without_host))),
        ];
        if with_moves {
            let moved = |of: fn(&Moved) -> usize| {
                let of = |replay: &Replay| replay.moved.as_ref().map_or(0.0, |moved| real(of(moved)));
                format!("{:.0}", over(&of))
            };
            cells.extend([moved(|moved| moved.moves), moved(|moved| moved.hosts_freed)]);
        }
        cells
    };
    results.iter().map(row).collect()
}

/// Every sample of every experiment.
#[must_use]
pub fn arrival_points(results: &Results<'_, Replay>, first_seed: u64) -> String {
    let mut text =
        "policy,seed,at_s,cpu,memory,gpu,fragmented,hosts_used,hosts_needed,zone_skew,waiting,moves\n".to_owned();
    for (policy, replays) in results {
        for (seed, replay) in (first_seed..).zip(*replays) {
            for s in &replay.samples {
                _ = writeln!(
                    text,
                    "{policy},{seed},{},{:.4},{:.4},{:.4},{:.4},{},{},{},{},{}",
                    s.at_s,
                    s.cpu,
                    s.memory,
                    s.gpu,
                    s.fragmented,
                    s.hosts_used,
                    s.hosts_needed,
                    s.zone_skew,
                    s.waiting,
                    s.moves
                );
            }
        }
    }
    text
}

/// The page of arrivals; its plots show the first seed. Where no GPU is allocated, there is no plot of GPUs.
#[must_use]
pub fn arrival_report(results: &Results<'_, Replay>, what: &str) -> Report {
    let line = |name: String, replays: &[Replay], of: fn(&Sample) -> f64| {
        let samples = replays.iter().take(1).flat_map(|replay| &replay.samples);
        Line {
            name,
            points: samples.map(|s| (hours(s.at_s), of(s))).collect(),
        }
    };
    let chart = |name, title, y, of: fn(&Sample) -> f64| {
        let lines = results
            .iter()
            .map(|(policy, replays)| line(policy.clone(), replays, of));
        let x = "hours";
        Chart {
            name,
            title,
            x,
            y,
            lines: lines.collect(),
        }
    };
    let beyond: fn(&Sample) -> f64 = |s| real(s.hosts_used) - real(s.hosts_needed);
    let mut charts = vec![
        chart("cpu", "CPU that is allocated", "%", |s| s.cpu),
        chart("memory", "Memory that is allocated", "%", |s| s.memory),
        chart("hosts", "Hosts in use", "hosts", |s| real(s.hosts_used)),
        chart("hosts-beyond", "Hosts in use beyond the lower bound", "hosts", beyond),
        chart("skew", "Skew between zones", "tasks of a group", |s| real(s.zone_skew)),
        chart("waiting", "Tasks that wait", "tasks", |s| real(s.waiting)),
    ];
    if let Some((policy, replays)) = results.first() {
        let bound = line(format!("lower bound of {policy}"), replays, |s| real(s.hosts_needed));
        charts[2].lines.push(bound);
    }
    let gpus = [
        chart("gpu", "GPUs that are allocated", "%", |s| s.gpu),
        chart(
            "fragmented",
            "Free and of no use to typical tasks",
            "% of all GPUs",
            |s| s.fragmented,
        ),
    ];
    charts.extend(gpus.into_iter().filter(Chart::shows_something));
    if is_with_moves(results) {
        charts.push(chart("moves", "Tasks moved so far", "tasks", |s| real(s.moves)));
    }
    Report::new(what, &arrival_columns(results), &arrival_rows(results), &charts)
}

/// Rows with commas between the cells. No cell holds one.
#[must_use]
pub fn csv(columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = columns.join(",") + "\n";
    for row in rows {
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

/// The hosts of a workload in Berth's own form.
#[must_use]
pub fn hosts_csv(workload: &Workload) -> String {
    let row = |host: &Host| {
        let zone = host
            .attributes
            .get(attribute_names::AVAILABILITY_ZONE)
            .cloned()
            .flatten();
        let (size, gpus) = (host.registered, &host.gpus);
        let cells = [
            size.cpu.0.to_string(),
            size.memory.0.to_string(),
            gpus.devices.len().to_string(),
        ];
        [
            vec![host.name.clone()],
            cells.to_vec(),
            vec![gpus.model.clone(), zone.unwrap_or_default()],
        ]
        .concat()
    };
    let columns = ["host", "cpu_units", "memory_mib", "gpus", "gpu_model", "zone"];
    csv(&columns, &workload.hosts.iter().map(row).collect::<Vec<_>>())
}

/// The tasks of a workload in Berth's own form.
#[must_use]
pub fn tasks_csv(workload: &Workload) -> String {
    let row = |task: &LabTask| {
        let (size, gpu) = (task.shape.resources, task.shape.gpu);
        let share = match gpu {
            GpuNeed::None => 0,
            GpuNeed::Share(share) => share,
            GpuNeed::Devices(_) => WHOLE_GPU,
        };
        let models: Vec<&str> = task.shape.gpu_models.iter().map(String::as_str).collect();
        vec![
            task.name.clone(),
            task.group.clone(),
            size.cpu.0.to_string(),
            size.memory.0.to_string(),
            gpu.devices().to_string(),
            share.to_string(),
            models.join("|"),
            task.arrives_s.to_string(),
            task.lasts_s.map_or(String::new(), |lasts| lasts.to_string()),
        ]
    };
    let columns = [
        "task",
        "group",
        "cpu_units",
        "memory_mib",
        "gpus",
        "gpu_milli",
        "gpu_models",
        "arrives_s",
        "lasts_s",
    ];
    csv(&columns, &workload.tasks.iter().map(row).collect::<Vec<_>>())
}

#[expect(clippy::cast_precision_loss, reason = "some hundred values")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

#[expect(clippy::cast_precision_loss, reason = "counts of hosts and tasks are far below 2^52")]
fn real(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "seconds of an experiment are far below 2^52")]
fn whole(seconds: u64) -> f64 {
    seconds as f64
}

fn hours(seconds: u64) -> f64 {
    whole(seconds) / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laboratory::{Moving, Policy, Synthetic, generate, inflate, replay};

    #[test]
    fn workload_written_as_csv_is_read_back_as_it_was() {
        let mut drawn = generate(Synthetic::Services, 5, 50, 3);
        drawn.tasks[0].shape.gpu = GpuNeed::Share(400);
        drawn.tasks[1].shape.gpu = GpuNeed::Devices(2);
        drawn.tasks[1].shape.gpu_models = ["A10".to_owned(), "T4".to_owned()].into();
        let read = Workload {
            hosts: Workload::read_hosts(&hosts_csv(&drawn)).expect("hosts"),
            tasks: Workload::read_tasks(&tasks_csv(&drawn)).expect("tasks"),
        };
        assert_eq!(read, drawn);
    }

    #[test]
    fn pages_hold_a_table_and_plots_and_nothing_from_a_network() {
        let workload = generate(Synthetic::Uniform, 5, 60, 3);
        let policies: [Policy; 2] = ["random", "tightest"].map(|name| name.parse().expect("a policy"));
        let curves = policies.each_ref().map(|policy| [inflate(&workload, policy, 500, 1)]);
        let nothing_came = [inflate(&workload, &policies[0], 1, 1)];
        assert_eq!(nothing_came[0].tasks, 0);
        assert!(
            !inflation_report(&[("random".to_owned(), &nothing_came)], "x")
                .page
                .contains("NaN")
        );
        let replayed = |moving| {
            policies
                .each_ref()
                .map(|policy| [replay(&workload, policy, moving, 1, &mut |_, _| {})])
        };
        let names = || policies.iter().map(Policy::to_string);
        let inflated: Vec<(String, &[Curve])> = names().zip(curves.iter().map(|c| &c[..])).collect();
        let replays = replayed(None);
        let still: Vec<(String, &[Replay])> = names().zip(replays.iter().map(|r| &r[..])).collect();
        let replays = replayed(Some(Moving {
            every_s: 60,
            max_moves: 9,
        }));
        let moved: Vec<(String, &[Replay])> = names().zip(replays.iter().map(|r| &r[..])).collect();
        // Without GPUs there are no plots of them; and a line of its own for the lower bound.
        for (report, plots, lines) in [
            (inflation_report(&inflated, "x"), 3, 6),
            (arrival_report(&still, "x"), 6, 13),
            (arrival_report(&moved, "x"), 7, 15),
        ] {
            let page = report.page;
            assert_eq!(
                (page.matches("<figure>").count(), report.pictures.len()),
                (plots, plots)
            );
            assert_eq!(page.matches("<polyline").count(), lines);
            assert_eq!(page.matches("<tr>").count(), 3);
            assert!(!page.contains("http") && !page.contains("NaN"), "{page}");
            let drawn: usize = report
                .pictures
                .iter()
                .map(|(_, svg)| svg.matches("<polyline").count())
                .sum();
            assert_eq!(drawn, lines);
        }
        assert!(inflation_points(&inflated, 1).lines().count() > 100);
        assert!(arrival_points(&still, 1).lines().count() > 100);
        for (results, columns) in [(still, 13), (moved, 15)] {
            let rows = arrival_rows(&results);
            assert_eq!(arrival_columns(&results).len(), columns);
            assert!(rows.iter().all(|row| row.len() == columns), "{rows:?}");
        }
    }
}
