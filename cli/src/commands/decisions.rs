//! `berth decisions`: exports the placement decisions in a span of the log, and what they were made on.
//!
//! Owns the flags and where the file goes; what is in it is core's, and how it is made the controller's. Shell.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use berth_aws::berth::operations::{ExportDecisions, GetDecisionsPart};
use berth_aws::berth::{ExportDecisionsRequest, GetDecisionsPartRequest};
use berth_controller::decisions::{Edge, Span, write_offline};
use berth_core::model::Timestamp;
use clap::{Args, Subcommand};

use crate::output;
use crate::parts;
use crate::target::TargetArguments;

/// Bytes written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Flags of `berth decisions`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Write the placement decisions in a span of the log, with the hosts and tasks that they were made on, to a new file
    #[command(
        after_help = "A span can begin where the log of the controller asked begins: behind its newest snapshot, which has what came of earlier\n\
        entries and not the entries. `berth sim replay FILE` shows what other strategies would have done."
    )]
    Export(ExportArguments),
}

#[derive(Args, Debug)]
struct ExportArguments {
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The first entry of the log, or the moment from which on, such as 2026-11-27T09:00:00Z [default: the first that is held]
    #[arg(long, value_name = "INDEX|TIME", value_parser = edge)]
    from: Option<Edge>,
    /// The last entry of the log, or the moment up to which [default: the last that there is]
    #[arg(long, value_name = "INDEX|TIME", value_parser = edge)]
    to: Option<Edge>,
    /// Read the data directory of a controller that does not run, instead of asking one that does
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArguments,
}

/// Does what was asked.
///
/// # Errors
/// If the cluster cannot be reached, the span is not held, or the file cannot be written.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Action::Export(arguments) = arguments.action;
    let path = &arguments.out;
    if path.exists() {
        bail!("{} exists already; name another file", path.display());
    }
    let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    let span = Span {
        from: arguments.from,
        to: arguments.to,
    };
    let written = match &arguments.data_dir {
        Some(data_dir) => offline(data_dir, &span, arguments.target.cluster_given(), &file),
        None => fetch(&arguments.target, &span, &file).await,
    };
    if written.is_err() {
        // A part of a recording is of no use; that it cannot be removed is less than the error that is reported.
        std::fs::remove_file(path).ok();
    }
    written?;
    output::line(&format!("{}: written", path.display()))
}

fn offline(data_dir: &Path, span: &Span, cluster: Option<&str>, file: &File) -> Result<()> {
    let out = BufWriter::with_capacity(BUFFER_BYTES, file);
    write_offline(data_dir, span, cluster, out)?;
    Ok(())
}

async fn fetch(target: &TargetArguments, span: &Span, file: &File) -> Result<()> {
    let target = target.find()?;
    let client = target.client()?;
    let index = |edge| match edge {
        Some(Edge::Index(index)) => i64::try_from(index).ok(),
        _ => None,
    };
    let time = |edge| match edge {
        Some(Edge::Time(time)) => Some(berth_aws::Timestamp(time.0)),
        _ => None,
    };
    let request = ExportDecisionsRequest {
        cluster: Some(target.cluster.clone()),
        from_index: index(span.from),
        to_index: index(span.to),
        from_time: time(span.from),
        to_time: time(span.to),
    };
    let begun = client.call::<ExportDecisions>(&request).await?;
    let recording_id = begun
        .recording_id
        .context("the controller gave no id for the recording")?;
    let ask = async |number| {
        let request = GetDecisionsPartRequest {
            recording_id: Some(recording_id.clone()),
            part_number: Some(number),
        };
        let part = client.call::<GetDecisionsPart>(&request).await?;
        Ok((part.data, part.last))
    };
    parts::write(file, "the recording", ask).await
}

fn edge(text: &str) -> Result<Edge, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let index = text.parse().map_err(|_| format!("{text} is no entry of a log"));
        return index.map(Edge::Index);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time =
        time.map_err(|_| format!("{text} is neither an entry of the log nor a time such as 2026-11-27T09:00:00Z"))?;
    Ok(Edge::Time(Timestamp(time.as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_of_a_span_is_an_index_or_a_time_with_its_zone() {
        assert_eq!(edge("1200"), Ok(Edge::Index(1200)));
        assert_eq!(edge("1970-01-01T00:00:02Z"), Ok(Edge::Time(Timestamp(2000))));
        assert_eq!(edge("1970-01-01T01:00:02+01:00"), Ok(Edge::Time(Timestamp(2000))));
        for wrong in ["", "-1", "yesterday", "2026-11-27", "99999999999999999999999"] {
            assert!(edge(wrong).is_err(), "{wrong}");
        }
    }
}
