//! `berth logs`: prints what a task, or every task of a service, writes.
//!
//! Owns the reading of many logs at once: one reader per task, and one printer that they share. Shell, but for the rendering of
//! a line, which is pure.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_aws::berth::operations::GetTaskLogs;
use berth_aws::berth::{GetTaskLogsRequest, LogEvent};
use berth_aws::ecs::DesiredStatus;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ps::{last_part, list_tasks};
use crate::client::{Client, ServiceError};
use crate::output;
use crate::target::TargetArguments;

/// How long the controller may wait for a line before it answers, when following.
const WAIT_MS: i32 = 10_000;

/// How often new tasks of a followed service are looked for.
const LOOK_FOR_TASKS_EVERY: Duration = Duration::from_secs(3);

/// Pages that wait for the printer: a slow terminal slows the readers.
const WAITING_PAGES: usize = 16;

/// Flags of `berth logs`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Id or ARN of a task, or name or ARN of a service
    #[arg(value_name = "TASK|SERVICE")]
    subject: String,
    /// Only this container of the task
    #[arg(long, short)]
    container: Option<String>,
    /// Go on printing what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the newest lines of each task
    #[arg(long, short = 'n', value_name = "LINES", value_parser = clap::value_parser!(i32).range(0..=10_000))]
    tail: Option<i32>,
    /// Show when each line was written
    #[arg(long, short = 't')]
    timestamps: bool,
}

/// What is read, the same for every task.
#[derive(Clone)]
struct Reader {
    client: Client,
    cluster: String,
    container: Option<String>,
    tail: Option<i32>,
    follow: bool,
}

/// Lines of one task.
struct Page {
    task: String,
    events: Vec<LogEvent>,
}

/// Prints the logs.
///
/// # Errors
/// If the cluster cannot be asked, or there is no such task or service.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let target = arguments.target.find()?;
    let reader = Reader {
        client: target.client()?,
        cluster: target.cluster,
        container: arguments.container,
        tail: arguments.tail,
        follow: arguments.follow,
    };
    let (pages, mut received) = mpsc::channel::<Page>(WAITING_PAGES);
    let is_task = is_task(&arguments.subject);
    let reading = tokio::spawn(async move {
        if is_task {
            reader.read(arguments.subject, reader.tail, pages).await
        } else {
            reader.read_service(&arguments.subject, pages).await
        }
    });
    while let Some(page) = received.recv().await {
        for event in &page.events {
            output::line(&render(event, (!is_task).then_some(&page.task), arguments.timestamps))?;
        }
    }
    reading.await?
}

impl Reader {
    /// Reads the log of one task until its end; without following, until what is there now.
    async fn read(&self, task: String, tail: Option<i32>, pages: mpsc::Sender<Page>) -> Result<()> {
        let mut next_token = None;
        loop {
            let request = GetTaskLogsRequest {
                cluster: Some(self.cluster.clone()),
                task: Some(task.clone()),
                container: self.container.clone(),
                tail: if next_token.is_none() { tail } else { None },
                wait_ms: self.follow.then_some(WAIT_MS),
                next_token,
            };
            let answer = self.client.call::<GetTaskLogs>(&request).await?;
            let events = answer.events.unwrap_or_default();
            let is_empty = events.is_empty();
            let is_over = answer.ended.unwrap_or(false) || (is_empty && !self.follow);
            if !is_empty
                && pages
                    .send(Page {
                        task: last_part(&task).to_owned(),
                        events,
                    })
                    .await
                    .is_err()
            {
                return Ok(());
            }
            next_token = answer.next_token;
            if is_over || next_token.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads the logs of a service's tasks; when following, of those too that it starts later.
    async fn read_service(&self, service: &str, pages: mpsc::Sender<Page>) -> Result<()> {
        let mut known = BTreeSet::new();
        let mut readers = JoinSet::new();
        let mut is_first = true;
        loop {
            let arns = list_tasks(&self.client, &self.cluster, Some(service), DesiredStatus::Running).await?;
            if is_first && arns.is_empty() && !self.follow {
                bail!(
                    "service {service} of cluster {} has no running task; give the id of a stopped one to read its log",
                    self.cluster
                );
            }
            for arn in arns {
                if known.insert(arn.clone()) {
                    let (reader, pages) = (self.clone(), pages.clone());
                    // A task that starts while we watch is shown from its first line.
                    let tail = if is_first { self.tail } else { None };
                    readers.spawn(async move { reader.read(arn, tail, pages).await });
                }
            }
            is_first = false;
            if !self.follow {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_FOR_TASKS_EVERY) => {}
                () = pages.closed() => return Ok(()),
            }
            while let Some(ended) = readers.try_join_next() {
                ended?.or_else(forgotten)?;
            }
        }
        while let Some(ended) = readers.join_next().await {
            ended?.or_else(forgotten)?;
        }
        Ok(())
    }
}

/// A task of a service may be gone by the time that its log is asked for; that ends its log and nothing else.
fn forgotten(error: anyhow::Error) -> Result<()> {
    match error.downcast_ref::<ServiceError>() {
        Some(refusal) if refusal.code == "ResourceNotFoundException" => Ok(()),
        _ => Err(error),
    }
}

/// Tasks have ids of 32 hexadecimal digits; everything else is taken for a service.
fn is_task(subject: &str) -> bool {
    let id = last_part(subject);
    subject.contains(":task/") || (id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))
}

fn render(event: &LogEvent, task: Option<&String>, timestamps: bool) -> String {
    let time = event
        .timestamp
        .filter(|_| timestamps)
        .map(|at| format!("{} ", at.iso8601()));
    let origin = task.map(|task| {
        let short = task.get(..8).unwrap_or(task);
        format!("{short} {} | ", event.container.as_deref().unwrap_or_default())
    });
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
    fn subject_with_the_form_of_a_task_is_a_task() {
        assert!(is_task("0123456789abcdef0123456789abcdef"));
        assert!(is_task("arn:aws:ecs:us-east-1:123456789012:task/shop/0123"));
        assert!(!is_task("web"));
        assert!(!is_task("arn:aws:ecs:us-east-1:123456789012:service/shop/web"));
    }

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
