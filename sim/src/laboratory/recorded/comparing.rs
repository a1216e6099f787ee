//! Courses beside each other: as rows of a table, as CSV, and as a page with plots. The first is what the others are compared with. Pure.

use std::fmt::Write;

use super::course::Course;
use super::figures::{Figures, Look};
use crate::laboratory::chart::{Chart, Line};
use crate::laboratory::page::Report;

/// Something that is measured: what it is called, and what it is.
type Measure = (&'static str, fn(&Figures) -> f64);

/// All that is compared, in the order in which it is shown.
const MEASURES: [Measure; 17] = [
    ("tasks placed or waiting", |f| real(f.tasks)),
    ("placed elsewhere", |f| real(f.elsewhere)),
    ("hosts used at most", |f| real(f.hosts_used_most)),
    ("hosts used on average", |f| f.mean(|look| real(look.hosts_used))),
    ("hosts used at the end", |f| real(f.end().hosts_used)),
    ("largest free CPU on average", |f| f.mean(|look| look.free_cpu.into())),
    ("largest free CPU at the end", |f| f.end().free_cpu.into()),
    ("largest free MiB on average", |f| {
        f.mean(|look| look.free_memory.into())
    }),
    ("largest free MiB at the end", |f| f.end().free_memory.into()),
    ("zone skew on average", |f| f.mean(|look| look.zone_skew.into())),
    ("zone skew at the end", |f| f.end().zone_skew.into()),
    ("found no host at once", |f| real(f.waited)),
    ("never found one", |f| real(f.never_placed)),
    ("longest wait in seconds", |f| seconds(f.longest_wait_ms)),
    ("waiting at the end", |f| real(f.end().waiting)),
    ("moved since their host went", |f| real(f.moved)),
    ("room when a service said there was none", |f| real(f.with_room)),
];

/// The columns of [`comparison_rows`].
#[must_use]
pub fn comparison_columns(courses: &[Course]) -> Vec<String> {
    let mut columns = vec!["measure".to_owned()];
    for (place, course) in courses.iter().enumerate() {
        columns.push(course.name.clone());
        if place > 0 {
            columns.push("difference".to_owned());
        }
    }
    columns
}

/// A row for each measure: of the first course as it is, and of each other with the difference to the first.
#[must_use]
pub fn comparison_rows(courses: &[Course]) -> Vec<Vec<String>> {
    let row = |(name, of): &Measure| {
        let mut cells = vec![(*name).to_owned()];
        let first = courses.first().map_or(0.0, |course| of(&course.figures));
        for (place, course) in courses.iter().enumerate() {
            let value = of(&course.figures);
            cells.push(figure(value));
            if place > 0 {
                cells.push(difference(value - first));
            }
        }
        cells
    };
    MEASURES.iter().map(row).collect()
}

/// Every look at every course.
#[must_use]
pub fn comparison_points(courses: &[Course]) -> String {
    let mut text = "strategy,index,at_ms,hosts_used,free_cpu,free_memory,zone_skew,waiting\n".to_owned();
    for course in courses {
        for look in &course.figures.looks {
            let at = look.at.map_or(String::new(), |at| at.0.to_string());
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "{},{},{at},{},{},{},{},{}",
                course.name,
                look.index.0,
                look.hosts_used,
                look.free_cpu,
                look.free_memory,
                look.zone_skew,
                look.waiting
            );
        }
    }
    text
}

/// The page of a comparison.
#[must_use]
pub fn comparison_report(courses: &[Course], what: &str) -> Report {
    let began = courses
        .iter()
        .flat_map(|course| &course.figures.looks)
        .filter_map(|look| look.at)
        .min();
    let hours = |look: &Look| {
        began
            .zip(look.at)
            .map_or(0.0, |(began, at)| seconds(at.ms_since(began)) / 3600.0)
    };
    let chart = |name, title, y, of: fn(&Look) -> f64| {
        let line = |course: &Course| Line {
            name: course.name.clone(),
            points: course
                .figures
                .looks
                .iter()
                .map(|look| (hours(look), of(look)))
                .collect(),
        };
        let lines = courses.iter().map(line).collect();
        let x = "hours";
        Chart {
            name,
            title,
            x,
            y,
            lines,
        }
    };
    let charts = [
        chart("hosts", "Hosts in use", "hosts", |look| real(look.hosts_used)),
        chart("free-cpu", "Largest free CPU on one host", "CPU units", |look| {
            look.free_cpu.into()
        }),
        chart("free-memory", "Largest free memory on one host", "MiB", |look| {
            look.free_memory.into()
        }),
        chart("skew", "Skew between zones", "tasks of a group", |look| {
            look.zone_skew.into()
        }),
        chart("waiting", "Tasks that wait", "tasks", |look| real(look.waiting)),
    ];
    let columns = comparison_columns(courses);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Report::new(what, &columns, &comparison_rows(courses), &charts)
}

/// Whole numbers as they are, others to two digits.
fn figure(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.2}"),
    }
}

fn difference(by: f64) -> String {
    match (by.abs() < 0.005, by.fract() == 0.0) {
        (true, _) => "0".to_owned(),
        (false, true) => format!("{by:+.0}"),
        (false, false) => format!("{by:+.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of hosts and tasks are far below 2^52")]
fn real(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "times of a recording are far below 2^52")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
