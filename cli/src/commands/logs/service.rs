//! Reads the logs of the tasks of a service or daemon: of those that run; where none does, of those that stopped last; when following, of those
//! too that it starts later.
//!
//! Owns which tasks those are, and what is said when there are none. Shell, but for the words, which are pure.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_aws::Timestamp;
use berth_aws::ecs::{DaemonStatus, DesiredStatus, Service, Task};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::reader::{Page, Reader, is_away};
use crate::age::{age, now};
use crate::client::ServiceError;
use crate::cluster::{Cluster, last_part};
use crate::{daemons, output, short_id, shortfall};

/// How often new tasks of a followed service are looked for.
const LOOK_FOR_TASKS_EVERY: Duration = Duration::from_secs(3);

/// Stopped tasks whose logs stand in for those of running ones: one round of a service that keeps failing, not its whole history.
const STOPPED_SHOWN: usize = 3;

/// Readers, each with the ARN of its task.
type Readers = JoinSet<(String, Result<()>)>;

pub(super) async fn read(reader: &Reader, service: &str, pages: mpsc::Sender<Page>) -> Result<()> {
    match reader.follow {
        true => follow(reader, service, pages).await,
        false => read_once(reader, service, pages).await,
    }
}

/// Reads what is there now. What one task's host does not give is said, and the others are read.
async fn read_once(reader: &Reader, service: &str, pages: mpsc::Sender<Page>) -> Result<()> {
    let cluster = &reader.cluster;
    let running = cluster.task_arns(Some(service), DesiredStatus::Running).await?;
    let mut count = running.len();
    let mut unread = 0;
    if running.is_empty() {
        // One after the other, so that the last lines are of the last task.
        for arn in last_stopped(cluster, service).await? {
            count += 1;
            let outcome = reader.read(arn.clone(), pages.clone()).await;
            unread += usize::from(!say_if_unread((arn, outcome))?);
        }
    }
    let mut readers = Readers::new();
    for arn in running {
        spawn(&mut readers, reader, arn, &pages);
    }
    drop(pages);
    while let Some(ended) = readers.join_next().await {
        unread += usize::from(!say_if_unread(ended?)?);
    }
    if unread > 0 {
        bail!("the logs of {unread} of {count} tasks could not be read");
    }
    Ok(())
}

/// The tasks that stopped last, the newest last, said to be so.
async fn last_stopped(cluster: &Cluster, service: &str) -> Result<Vec<String>> {
    let arns = cluster.task_arns(Some(service), DesiredStatus::Stopped).await?;
    let mut tasks = cluster.tasks(&arns).await?;
    tasks.sort_by_key(|task| task.stopped_at.or(task.stopping_at));
    let shown = tasks.split_off(tasks.len().saturating_sub(STOPPED_SHOWN));
    if shown.is_empty() {
        let Some(why) = why_nothing(cluster, service, &[]).await? else {
            return Err(cluster.no_service(service));
        };
        output::complain(&format!("berth: {why}"));
    } else {
        output::complain(&format!("berth: {}", stopped_instead(service, &shown, now())));
    }
    Ok(shown.into_iter().filter_map(|task| task.task_arn).collect())
}

/// Reads on until the service is deleted or nobody reads what is printed.
async fn follow(reader: &Reader, service: &str, pages: mpsc::Sender<Page>) -> Result<()> {
    let cluster = &reader.cluster;
    let mut readers = Readers::new();
    let running = cluster.task_arns(Some(service), DesiredStatus::Running).await?;
    let stopped = cluster.task_arns(Some(service), DesiredStatus::Stopped).await?;
    // What stopped before is not followed; a task that starts and fails between two looks is.
    let mut known: BTreeSet<String> = running.iter().chain(&stopped).cloned().collect();
    for arn in running {
        spawn(&mut readers, reader, arn, &pages);
    }
    // A task that starts while we watch is shown from its first line.
    let newcomers = Reader {
        tail: None,
        ..reader.clone()
    };
    let mut said = None;
    loop {
        while let Some(ended) = readers.try_join_next() {
            let (arn, outcome) = ended?;
            if say_if_unread((arn.clone(), outcome))? {
                say_ended(cluster, &arn).await?;
            }
        }
        if readers.is_empty() {
            say_what_is_awaited(cluster, service, &mut said).await?;
        } else {
            said = None;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_FOR_TASKS_EVERY) => {}
            () = pages.closed() => return Ok(()),
        }
        for arn in cluster.all_task_arns(Some(service)).await? {
            if known.insert(arn.clone()) {
                spawn(&mut readers, &newcomers, arn, &pages);
            }
        }
    }
}

fn spawn(readers: &mut Readers, reader: &Reader, arn: String, pages: &mpsc::Sender<Page>) {
    let (reader, pages) = (reader.clone(), pages.clone());
    readers.spawn(async move {
        let outcome = reader.read(arn.clone(), pages).await;
        (arn, outcome)
    });
}

/// Whether the log was read to its end; if not, says why. That one task's log is gone or its host away ends its log and nothing else.
///
/// # Errors
/// If it was not the log but the controller that could not be read.
fn say_if_unread((arn, outcome): (String, Result<()>)) -> Result<bool> {
    let Err(error) = outcome else { return Ok(true) };
    match error.downcast_ref::<ServiceError>() {
        Some(refusal) if is_away(refusal) || refusal.code == "ResourceNotFoundException" => {
            let id = short_id::shown(last_part(&arn));
            output::complain(&format!("berth: task {id}: {}", refusal.message));
            Ok(false)
        }
        _ => Err(error),
    }
}

async fn say_ended(cluster: &Cluster, arn: &str) -> Result<()> {
    for task in cluster.tasks(&[arn.to_owned()]).await? {
        let id = short_id::shown(last_part(arn));
        let reason = task.stopped_reason.map(|reason| format!(": {reason}"));
        output::complain(&format!("berth: task {id} ended{}", reason.unwrap_or_default()));
    }
    Ok(())
}

/// Says what a follower without a running task waits for, unless it was said before.
async fn say_what_is_awaited(cluster: &Cluster, service: &str, said: &mut Option<String>) -> Result<()> {
    let stopped = cluster.task_arns(Some(service), DesiredStatus::Stopped).await?;
    let tasks = cluster.tasks(&stopped).await?;
    let Some(sentence) = why_nothing(cluster, service, &tasks).await? else {
        bail!(
            "{} of cluster {} was deleted",
            daemons::subject(service),
            cluster.name()
        );
    };
    // How long ago something was changes with every look, and is no news.
    let key = sentence
        .split_inclusive(char::is_whitespace)
        .filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    let key: String = key.collect();
    if said.as_ref() != Some(&key) {
        output::complain(&format!(
            "berth: {sentence}. Waiting for its next task; Ctrl-C ends this."
        ));
        *said = Some(key);
    }
    Ok(())
}

/// Why a service or daemon has no log that could be read; `None` if there is none.
async fn why_nothing(cluster: &Cluster, service: &str, tasks: &[Task]) -> Result<Option<String>> {
    let Some(name) = daemons::named(service) else {
        let found = cluster.service(service).await?;
        return Ok(found.map(|found| nothing_to_read(&found, tasks, now())));
    };
    let found = cluster.daemon(name).await?;
    Ok(found.map(|daemon| match daemon.status {
        Some(DaemonStatus::DeleteInProgress) => format!("daemon {name} is being deleted"),
        _ => format!("daemon {name} has no running task; `berth why-not daemon:{name}` says what its hosts say to one"),
    }))
}

/// Why a service has no log that could be read.
fn nothing_to_read(service: &Service, tasks: &[Task], now: Timestamp) -> String {
    let name = service.service_name.as_deref().unwrap_or_default();
    if service.status.as_deref() == Some("DRAINING") {
        return format!("service {name} is being deleted");
    }
    if service.desired_count == Some(0) {
        return format!("service {name} has no tasks, since its desired count is 0");
    }
    shortfall::sentence(service, tasks, now).unwrap_or_else(|| format!("service {name} has no running task"))
}

fn stopped_instead(service: &str, tasks: &[Task], now: Timestamp) -> String {
    let of = |task: &Task| {
        let id = task.task_arn.as_deref().map(last_part).unwrap_or_default();
        let ago = task.stopped_at.map(|at| format!(" {} ago", age(at, now)));
        let reason = task.stopped_reason.as_deref().unwrap_or("no reason is known");
        format!("{} stopped{}: {reason}", short_id::shown(id), ago.unwrap_or_default())
    };
    let each: Vec<String> = tasks.iter().map(of).collect();
    format!(
        "{} has no running task; this is what those wrote that stopped last. {}",
        daemons::subject(service),
        each.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(100_000);

    #[test]
    fn service_without_running_tasks_names_those_that_stopped_last() {
        let task = Task {
            task_arn: Some("arn:aws:ecs:us-east-1:123456789012:task/shop/0123456789abcdef".to_owned()),
            stopped_at: Some(Timestamp(93_000)),
            stopped_reason: Some("Essential container in task exited (exit code 3)".to_owned()),
            ..Default::default()
        };
        assert_eq!(
            stopped_instead("web", &[task], NOW),
            "service web has no running task; this is what those wrote that stopped last. \
             01234567 stopped 7s ago: Essential container in task exited (exit code 3)"
        );
    }

    #[test]
    fn service_that_wants_no_tasks_says_so() {
        let service = Service {
            service_name: Some("web".to_owned()),
            status: Some("ACTIVE".to_owned()),
            desired_count: Some(0),
            ..Default::default()
        };
        assert_eq!(
            nothing_to_read(&service, &[], NOW),
            "service web has no tasks, since its desired count is 0"
        );
    }
}
