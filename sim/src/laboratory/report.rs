//! What came out of experiments, as rows of a table, as CSV, and as a page with plots that needs nothing but itself. Pure.

use std::fmt::Write;

use berth_core::model::attribute_names;
use berth_core::placement::{GpuNeed, Host, WHOLE_GPU};

use super::arrivals::{Replay, Sample};
use super::chart::{Chart, Line, escape};
use super::inflation::{Curve, Point};
use super::policy::Policy;
use super::workload::{LabTask, Workload};

/// Policies with what came of each seed.
pub type Results<'r, R> = [(&'r Policy, &'r [R])];

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
    let row = |(policy, curves): &(&Policy, &[Curve])| {
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
        let mut cells = vec![policy.to_string()];
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

/// The page of an inflation.
#[must_use]
pub fn inflation_page(results: &Results<'_, Curve>, what: &str) -> String {
    let chart = |title, y, of: fn(&Point) -> f64| {
        let line = |(policy, curves): &(&Policy, &[Curve])| Line {
            name: policy.to_string(),
            points: mean_curve(curves, of),
        };
        let lines = results.iter().map(line).collect();
        let x = "asked for, % of what the hosts have";
        Chart { title, x, y, lines }.render()
    };
    let charts = [
        chart("Allocated", "% of what the hosts have", |point| point.allocated),
        chart("Free and of no use to typical tasks", "% of all GPUs", |point| {
            point.fragmented
        }),
        chart("Hosts in use", "% of all hosts", |point| point.hosts_used),
    ];
    page(what, &inflation_columns(), &inflation_rows(results), &charts)
}

/// The mean over the seeds, at every percent at which all of them have a point.
fn mean_curve(curves: &[Curve], of: fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut points = vec![];
    for point in curves.iter().take(1).flat_map(|curve| &curve.points) {
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

/// The columns of [`arrival_rows`].
#[must_use]
pub fn arrival_columns() -> Vec<&'static str> {
    vec![
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
    ]
}

/// A row for each policy, with means over the samples and over the seeds.
#[must_use]
pub fn arrival_rows(results: &Results<'_, Replay>) -> Vec<Vec<String>> {
    let row = |(policy, replays): &(&Policy, &[Replay])| {
        let over = |of: &dyn Fn(&Replay) -> f64| mean(&replays.iter().map(of).collect::<Vec<f64>>());
        let sampled = |of: fn(&Sample) -> f64| over(&|replay| replay.mean(of));
        let (used, needed) = (sampled(|s| real(s.hosts_used)), sampled(|s| real(s.hosts_needed)));
        let wait = |of_hundred: usize| format!("{:.0}", over(&|replay| whole(replay.wait_of(of_hundred))));
        let ratio = if needed > 0.0 {
            two(used / needed)
        } else {
            String::new()
        };
        vec![
            policy.to_string(),
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
        ]
    };
    results.iter().map(row).collect()
}

/// Every sample of every experiment.
#[must_use]
pub fn arrival_points(results: &Results<'_, Replay>, first_seed: u64) -> String {
    let mut text = "policy,seed,at_s,cpu,memory,gpu,fragmented,hosts_used,hosts_needed,zone_skew,waiting\n".to_owned();
    for (policy, replays) in results {
        for (seed, replay) in (first_seed..).zip(*replays) {
            for s in &replay.samples {
                _ = writeln!(
                    text,
                    "{policy},{seed},{},{:.4},{:.4},{:.4},{:.4},{},{},{},{}",
                    s.at_s, s.cpu, s.memory, s.gpu, s.fragmented, s.hosts_used, s.hosts_needed, s.zone_skew, s.waiting
                );
            }
        }
    }
    text
}

/// The page of arrivals; its plots show the first seed.
#[must_use]
pub fn arrival_page(results: &Results<'_, Replay>, what: &str) -> String {
    let chart = |title, y, of: fn(&Sample) -> f64| {
        let line = |(policy, replays): &(&Policy, &[Replay])| Line {
            name: policy.to_string(),
            points: replays
                .iter()
                .take(1)
                .flat_map(|replay| &replay.samples)
                .map(|s| (hours(s.at_s), of(s)))
                .collect(),
        };
        let lines = results.iter().map(line).collect();
        let x = "hours";
        Chart { title, x, y, lines }.render()
    };
    let charts = [
        chart("CPU that is allocated", "%", |s| s.cpu),
        chart("Memory that is allocated", "%", |s| s.memory),
        chart("GPUs that are allocated", "%", |s| s.gpu),
        chart("Free and of no use to typical tasks", "% of all GPUs", |s| s.fragmented),
        chart("Hosts in use", "hosts", |s| real(s.hosts_used)),
        chart("Hosts in use beyond the lower bound", "hosts", |s| {
            real(s.hosts_used) - real(s.hosts_needed)
        }),
        chart("Skew between zones", "tasks of a group", |s| real(s.zone_skew)),
        chart("Tasks that wait", "tasks", |s| real(s.waiting)),
    ];
    page(what, &arrival_columns(), &arrival_rows(results), &charts)
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

/// A page with a table and plots.
pub(super) fn page(what: &str, columns: &[&str], rows: &[Vec<String>], charts: &[String]) -> String {
    let cells = |tag: &str, cells: &[String]| {
        let cell = |text: &String| format!("<{tag}>{}</{tag}>", escape(text));
        format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
    };
    let headings: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let body: String = rows.iter().map(|row| cells("td", row)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Berth: strategies of placement compared</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head><body>\n\
         <h1>Strategies of placement compared</h1>\n<p>{}</p>\n<div class=\"wide\"><table>\n{}{body}</table></div>\n{}</body></html>\n",
        escape(what),
        cells("th", &headings),
        charts.concat()
    )
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #8885}\
    th:first-child,td:first-child{text-align:left}.wide{overflow-x:auto}figure{margin:2rem 0}figcaption{font-weight:600}\
    figure>svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor}.grid{stroke:#8884}\
    .legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}";

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
    use crate::laboratory::{Synthetic, generate, inflate, replay};

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
        assert!(!inflation_page(&[(&policies[0], &nothing_came)], "x").contains("NaN"));
        let replays = policies
            .each_ref()
            .map(|policy| [replay(&workload, policy, 1, &mut |_, _| {})]);
        let inflated: Vec<(&Policy, &[Curve])> = policies.iter().zip(curves.iter().map(|c| &c[..])).collect();
        let replayed: Vec<(&Policy, &[Replay])> = policies.iter().zip(replays.iter().map(|r| &r[..])).collect();
        for (page, plots) in [(inflation_page(&inflated, "x"), 3), (arrival_page(&replayed, "x"), 8)] {
            assert_eq!(page.matches("<polyline").count(), 2 * plots);
            assert_eq!(page.matches("<tr>").count(), 3);
            assert!(!page.contains("http") && !page.contains("NaN"), "{page}");
        }
        assert!(inflation_points(&inflated, 1).lines().count() > 100);
        assert!(arrival_points(&replayed, 1).lines().count() > 100);
        assert!(csv(&arrival_columns(), &arrival_rows(&replayed)).starts_with("policy,cpu,"));
    }
}
