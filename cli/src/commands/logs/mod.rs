//! `berth logs`: prints what a task, or every task of a service or daemon, writes.
//!
//! Owns the flags and the one printer that all readers share. Shell, but for the rendering of a line, which is pure.

mod pieces;
mod reader;
mod service;
mod subject;

use anyhow::Result;
use berth_aws::berth::LogEvent;
use clap::Args;
use tokio::sync::mpsc;

use self::pieces::Unfinished;
use self::reader::{Page, Reader};
use self::subject::Subject;
use crate::cluster::Cluster;
use crate::output;
use crate::short_id;
use crate::target::TargetArguments;

/// Pages that wait for the printer: a slow terminal slows the readers.
const WAITING_PAGES: usize = 16;

/// Flags of `berth logs`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Id of a task, its first digits (4 at least) or its ARN; or name or ARN of a service; or `daemon:NAME` or the ARN of a managed daemon
    #[arg(value_name = "TASK|SERVICE|daemon:NAME")]
    subject: String,
    /// Only this container of the task
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// Go on printing what is written from now on; of a service, also by tasks that it starts later
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the newest lines of each task
    #[arg(long, short = 'n', value_name = "LINES", value_parser = clap::value_parser!(i32).range(0..=10_000))]
    tail: Option<i32>,
    /// Show when each line was written
    #[arg(long, short = 't')]
    timestamps: bool,
}

/// Prints the logs.
///
/// # Errors
/// If the cluster cannot be asked, or there is no such task or service.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let target = arguments.target.find()?;
    let cluster = Cluster::of(&target)?;
    let subject = subject::find(&cluster, &arguments.subject).await?;
    let reader = Reader {
        cluster,
        container: arguments.container,
        tail: arguments.tail,
        follow: arguments.follow,
    };
    let (pages, mut received) = mpsc::channel::<Page>(WAITING_PAGES);
    let names_tasks = matches!(subject, Subject::Service(_));
    let reading = tokio::spawn(async move {
        match subject {
            Subject::Task(task) => reader.read(task, pages).await,
            Subject::Service(service) => service::read(&reader, &service, pages).await,
        }
    });
    let print = |task: &String, event: &LogEvent| {
        output::line(&render(event, names_tasks.then_some(task), arguments.timestamps))
    };
    let mut unfinished = Unfinished::default();
    while let Some(page) = received.recv().await {
        for event in page.events {
            if let Some(line) = unfinished.complete(&page.task, event) {
                print(&page.task, &line)?;
            }
        }
    }
    for (task, line) in unfinished.rest() {
        print(&task, &line)?;
    }
    reading.await?
}

fn render(event: &LogEvent, task: Option<&String>, timestamps: bool) -> String {
    let time = event
        .timestamp
        .filter(|_| timestamps)
        .map(|at| format!("{} ", at.iso8601()));
    let container = event.container.as_deref().unwrap_or_default();
    let origin = task.map(|task| format!("{} {container} | ", short_id::shown(task)));
    format!(
        "{}{}{}",
        time.unwrap_or_default(),
        origin.unwrap_or_default(),
        event.message.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use berth_aws::Timestamp;

    use super::*;

    #[test]
    fn line_of_a_service_names_task_and_container() {
        let event = LogEvent {
            timestamp: Some(Timestamp(1_500)),
            container: Some("app".to_owned()),
            message: Some("hello".to_owned()),
            ..Default::default()
        };
        let task = "0123456789abcdef".to_owned();
        assert_eq!(render(&event, Some(&task), false), "01234567 app | hello");
        assert_eq!(render(&event, None, true), "1970-01-01T00:00:01.500Z hello");
    }
}
