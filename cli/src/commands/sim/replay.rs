//! `berth sim replay`: decisions of a cluster, from a recording, made again, or as other strategies would have made them.
//!
//! Owns how a recording is read and what is said of it; what is judged and measured belongs to `sim`. Shell.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_core::decisions::{DecisionLine, Happening, Reader, Recording};
use berth_core::model::ContainerInstanceId;
use berth_sim::laboratory::Policy;
use berth_sim::laboratory::recorded::{
    Course, Difference, comparison_columns, comparison_points, comparison_report, comparison_rows, course, judge,
};
use berth_sim::laboratory::report;
use clap::Args;

use super::experiments;
use crate::output;

/// Flags of `berth sim replay`.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// A recording, as `berth decisions export` writes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A strategy, or several with + between them that are asked in turn, that all tasks would have had; each flag is one to compare. Without
    /// any, every decision is made again as it was
    #[arg(long, value_name = "NAME")]
    strategy: Vec<Policy>,
    /// Write CSV, and a report to read in a browser, with its plots as pictures too, into this folder, which is made
    #[arg(long, value_name = "FOLDER", requires = "strategy")]
    out: Option<PathBuf>,
}

/// Makes the decisions again, or compares strategies.
///
/// # Errors
/// If the recording cannot be read or is not understood, or the results cannot be written.
pub(super) fn run(arguments: &Replay) -> Result<ExitCode> {
    experiments::prepare(arguments.out.as_deref())?;
    let recording = read(&arguments.file).with_context(|| format!("{} cannot be used", arguments.file.display()))?;
    if arguments.strategy.is_empty() {
        return make_again(&recording);
    }
    compare(&recording, arguments)
}

fn read(path: &Path) -> Result<Recording> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut reader, mut line, mut number) = (Reader::default(), vec![], 0u64);
    loop {
        line.clear();
        number += 1;
        if file.read_until(b'\n', &mut line)? == 0 {
            return Ok(reader.end()?);
        }
        let text = std::str::from_utf8(&line).with_context(|| format!("line {number} is no text"))?;
        reader.line(text.trim_end())?;
    }
}

fn make_again(recording: &Recording) -> Result<ExitCode> {
    let judgement = judge(recording);
    let (decisions, same) = (judgement.decisions, judgement.same);
    output::line(&format!(
        "{}: {same} of {decisions} decisions come out the same.",
        span(recording)
    ))?;
    if judgement.same_as_seen > 0 {
        output::line(&format!(
            "{} of them do on the hosts as the leader saw them when it decided, and not as the log has them right before.",
            judgement.same_as_seen
        ))?;
    }
    if judgement.not_recorded > 0 {
        output::line(&format!(
            "Of {} more tasks it is not recorded how their hosts were chosen.",
            judgement.not_recorded
        ))?;
    }
    if judgement.cut_off > 0 {
        output::line(&format!(
            "{} more were made together with some that are not in the recording, which begins or ends in between, and were not made again. Export a \
             longer span.",
            judgement.cut_off
        ))?;
    }
    let differences = &judgement.differences;
    if !differences.is_empty() {
        let to_same = |one: &&Difference| one.now.as_ref().is_some_and(|(host, _)| *host == one.recorded);
        output::line(&format!(
            "{} come out otherwise, {} of them on the same host by other figures:",
            differences.len(),
            differences.iter().filter(to_same).count()
        ))?;
    }
    for difference in differences {
        output::line(&told(recording, difference))?;
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

fn span(recording: &Recording) -> String {
    let (first, last) = (recording.header.from_index.0, recording.last_index.0);
    format!("Entries {first} to {last} of {}", recording.header.cluster)
}

fn told(recording: &Recording, difference: &Difference) -> String {
    let host = |id: ContainerInstanceId, line: &DecisionLine| {
        let refused: u32 = line.refused.values().sum();
        format!(
            "{} ({} of {} hosts left, ranks {:?}, {} tasks there)",
            name(recording, id),
            line.considered.saturating_sub(refused),
            line.considered,
            line.ranks,
            line.tasks
        )
    };
    let now = difference
        .now
        .as_ref()
        .map_or_else(|| "no host".to_owned(), |(id, line)| host(*id, line));
    format!(
        "entry {}: task {} of {} went to {}, and goes to {now}",
        difference.index.0,
        difference.task,
        difference.group,
        host(difference.recorded, &difference.decision)
    )
}

/// What people call a host.
fn name(recording: &Recording, id: ContainerInstanceId) -> String {
    let later = recording.entries.iter().flat_map(|entry| &entry.happenings);
    let later = later.filter_map(|happening| match happening {
        Happening::Host(host) => Some(host),
        _ => None,
    });
    let mut hosts = recording.start.hosts().chain(later);
    let host = hosts.find(|host| host.id == id);
    host.map_or_else(|| id.to_string(), |host| host.name.clone())
}

fn compare(recording: &Recording, arguments: &Replay) -> Result<ExitCode> {
    let mut jobs: Vec<Option<&Policy>> = vec![None];
    jobs.extend(arguments.strategy.iter().map(Some));
    let courses = experiments::make(&jobs, |policy| course(recording, *policy));
    let courses: Vec<Course> = courses.into_iter().map(|(course, _)| course).collect();
    let (columns, rows) = (comparison_columns(&courses), comparison_rows(&courses));
    let table = experiments::table(&columns, &rows);
    let shortages = courses.first().map_or(0, |course| course.figures.shortages);
    let what = format!(
        "{}. Hosts and tasks come and go as was recorded; with a strategy all tasks have that one. Times that a service said that\n\
         it found no host: {shortages}.",
        span(recording)
    );
    output::line(&table)?;
    output::line(&format!("\n{what}"))?;
    if let Some(folder) = &arguments.out {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let (points, summary) = (comparison_points(&courses), report::csv(&columns, &rows));
        experiments::write_down(folder, comparison_report(&courses, &what), points, summary)?;
    }
    Ok(ExitCode::SUCCESS)
}
