//! Waiting for hosts that somebody has changed: until each is as it is to be, or the time is over. What is new of a host is said meanwhile.
//!
//! Owns the rounds, their patience, and that tasks are stopped once a deadline has passed. What is waited for, and in which words that is said, is
//! the command's. Shell.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_aws::berth::{Host, StayingReason, StayingTask};
use berth_aws::ecs::operations::StopTask;
use berth_aws::ecs::{ContainerInstance, StopTaskRequest};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::commands::values;
use crate::host_names::name;
use crate::output;

/// Exit code: the time is over, and a host is not as it is to be.
const LATE: u8 = 3;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the controllers may not answer, as while another becomes the leader, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags that say how long hosts are waited for.
#[derive(Args, Debug)]
pub(super) struct TimeoutArgument {
    /// Wait no longer than this, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::patience)]
    pub(super) timeout: Duration,
}

/// Those of commands that have tasks leave hosts.
#[derive(Args, Debug)]
pub(super) struct LimitArguments {
    #[command(flatten)]
    pub(super) patience: TimeoutArgument,
    /// Wait, and after so long stop tasks outside services, which nobody else stops; 0s stops them at once
    #[arg(long, value_name = "TIME", value_parser = values::patience)]
    pub(super) deadline: Option<Duration>,
}

/// How hosts are waited for.
pub(super) struct Wait {
    /// No longer than this.
    pub(super) timeout: Duration,
    /// After how long tasks are stopped that nobody else stops, if at all.
    pub(super) deadline: Option<Duration>,
    /// Whether tasks of services are stopped then too.
    pub(super) force: bool,
    /// What is said beside the hosts that are late.
    pub(super) late: Late,
}

/// What is said of hosts that are late: before their names, and after them.
pub(super) struct Late {
    /// Such as "not empty".
    pub(super) what: &'static str,
    /// What becomes of them, and what helps.
    pub(super) hint: &'static str,
}

/// A host that is waited for, as it is now.
pub(super) type There = (ContainerInstance, Host);

/// What is to be said of a host.
#[derive(Debug)]
pub(super) struct News {
    /// In words.
    pub(super) said: String,
    /// Whether it is waited for no more.
    pub(super) is_over: bool,
}

impl News {
    /// It is as it is to be.
    pub(super) fn over(said: impl Into<String>) -> Self {
        let (said, is_over) = (said.into(), true);
        Self { said, is_over }
    }

    /// It is on its way.
    pub(super) fn open(said: impl Into<String>) -> Self {
        let (said, is_over) = (said.into(), false);
        Self { said, is_over }
    }
}

/// A host that is waited for.
struct Awaited {
    arn: String,
    name: String,
    /// What was said of it last.
    told: String,
}

/// Waits for hosts until `news` says of each that it is waited for no more; nothing is there of one that has left the cluster.
///
/// # Errors
/// If the cluster cannot be asked, or `news` says that waiting is in vain.
pub(super) async fn until_over(
    cluster: &Cluster,
    hosts: &[ContainerInstance],
    wait: &Wait,
    mut news: impl FnMut(&str, Option<&There>) -> Result<News>,
) -> Result<ExitCode> {
    let begun = Instant::now();
    let mut open: Vec<Awaited> = hosts.iter().filter_map(Awaited::of).collect();
    let mut silence = Silence { since: begun };
    loop {
        let heard = match look(cluster, &open).await {
            Ok(found) => {
                open = still_open(open, &found, &mut news)?;
                if open.is_empty() {
                    return Ok(ExitCode::SUCCESS);
                }
                match wait.deadline {
                    Some(deadline) if begun.elapsed() >= deadline => stop(cluster, &found, wait.force).await,
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        silence.bear(heard, Instant::now())?;
        if begun.elapsed() >= wait.timeout {
            let names: Vec<&str> = open.iter().map(|host| host.name.as_str()).collect();
            let Late { what, hint } = wait.late;
            output::complain(&format!(
                "{what} within {} s: {}; {hint}",
                wait.timeout.as_secs(),
                names.join(", ")
            ));
            return Ok(ExitCode::from(LATE));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// For how long no controller did what it was asked for.
struct Silence {
    since: Instant,
}

impl Silence {
    /// Takes what became of a round; what failed is tried again in the next one, within [`PATIENCE`].
    fn bear(&mut self, heard: Result<()>, now: Instant) -> Result<()> {
        match heard {
            Ok(()) => {
                self.since = now;
                Ok(())
            }
            Err(error) if now.duration_since(self.since) > PATIENCE => Err(error).context(format!(
                "what was begun goes on, and for {} s no controller said how the hosts are, or stopped tasks that are to stop",
                PATIENCE.as_secs()
            )),
            Err(_) => Ok(()),
        }
    }
}

/// What is there of the hosts that are waited for.
type Found = BTreeMap<String, There>;

async fn look(cluster: &Cluster, open: &[Awaited]) -> Result<Found> {
    let arns: Vec<String> = open.iter().map(|host| host.arn.clone()).collect();
    let mut details: BTreeMap<String, Host> = BTreeMap::new();
    for host in cluster.host_details(&arns).await? {
        details.extend(host.container_instance_arn.clone().map(|arn| (arn, host)));
    }
    let mut found = Found::new();
    for host in cluster.hosts(&arns).await? {
        let Some(arn) = host.container_instance_arn.clone() else {
            continue;
        };
        let details = details.remove(&arn).unwrap_or_default();
        found.insert(arn, (host, details));
    }
    Ok(found)
}

/// Says what is new of each host; returns those that are waited for still.
fn still_open(
    open: Vec<Awaited>,
    found: &Found,
    news: &mut impl FnMut(&str, Option<&There>) -> Result<News>,
) -> Result<Vec<Awaited>> {
    let mut rest = vec![];
    for mut host in open {
        let News { said, is_over } = news(&host.name, found.get(&host.arn))?;
        if host.told != said {
            output::line(&format!("{}: {said}", host.name))?;
            host.told = said;
        }
        if !is_over {
            rest.push(host);
        }
    }
    Ok(rest)
}

/// How many tasks are left on a host, and why, those alike together.
pub(super) fn tasks_left(left: i32, details: &Host) -> String {
    let staying = details.staying_tasks.as_deref().unwrap_or_default();
    let mut alike: BTreeMap<(String, String), usize> = BTreeMap::new();
    for task in staying {
        *alike
            .entry((why(task), task.group.clone().unwrap_or_default()))
            .or_default() += 1;
    }
    let mut parts: Vec<String> = alike
        .iter()
        .map(|((why, group), count)| format!("{count} of {group}: {why}"))
        .collect();
    let more = usize::try_from(left).unwrap_or(0).saturating_sub(staying.len());
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    let away = details.agent_connected == Some(false);
    let tasks = if left == 1 { "task" } else { "tasks" };
    let agent = if away { ", and its agent is away" } else { "" };
    format!("{left} {tasks} left{agent}; {}", parts.join("; "))
}

fn why(task: &StayingTask) -> String {
    let sentence = task.sentence.as_deref().unwrap_or_default();
    let until = task.until.and_then(|at| jiff::Timestamp::from_millisecond(at.0).ok());
    let until = until.map_or(String::new(), |at| format!(" until {at:.0}"));
    format!("{sentence}{until}")
}

/// Stops tasks that are left: those outside services, and with `force` those of services.
async fn stop(cluster: &Cluster, found: &Found, force: bool) -> Result<()> {
    for (host, details) in found.values() {
        for task in details
            .staying_tasks
            .iter()
            .flatten()
            .filter(|task| is_to_stop(task, force))
        {
            let request = StopTaskRequest {
                cluster: cluster.named(),
                task: task.task_arn.clone(),
                reason: Some(format!(
                    "Host {} drains, and the deadline for that has passed.",
                    name(host)
                )),
            };
            cluster.call::<StopTask>(&request).await?;
        }
    }
    Ok(())
}

fn is_to_stop(task: &StayingTask, force: bool) -> bool {
    match task.reason {
        Some(StayingReason::Standalone) => true,
        // Daemons leave by themselves once the others have.
        Some(StayingReason::Stopping | StayingReason::LeavesLast) | None => false,
        Some(_) => force,
    }
}

impl Awaited {
    fn of(host: &ContainerInstance) -> Option<Self> {
        Some(Self {
            arn: host.container_instance_arn.clone()?,
            name: name(host),
            told: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::Timestamp;

    use super::*;

    fn task(group: &str, reason: StayingReason, sentence: &str) -> StayingTask {
        StayingTask {
            group: Some(group.to_owned()),
            reason: Some(reason),
            sentence: Some(sentence.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn tasks_that_stay_for_the_same_reason_are_told_together() {
        let protected = StayingTask {
            until: Some(Timestamp(0)),
            ..task(
                "service:web",
                StayingReason::Protected,
                "it is protected from being stopped",
            )
        };
        let alone = task("family:job", StayingReason::Standalone, "it is of no service");
        let host = Host {
            agent_connected: Some(true),
            staying_tasks: Some(vec![protected.clone(), alone, protected]),
            ..Default::default()
        };
        assert_eq!(
            tasks_left(3, &host),
            "3 tasks left; 1 of family:job: it is of no service; 2 of service:web: it is protected from being stopped until 1970-01-01T00:00:00Z"
        );
        let away = Host {
            agent_connected: Some(false),
            ..host
        };
        assert!(tasks_left(4, &away).starts_with("4 tasks left, and its agent is away; "));
        assert!(tasks_left(4, &away).ends_with("; 1 more"));
    }

    #[test]
    fn what_fails_is_borne_for_a_minute_after_the_last_round_that_did_not() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut silence = Silence { since: begun };
        let mut bear = |heard: Result<()>, seconds| silence.bear(heard, at(seconds)).is_ok();
        let failed = || Err(anyhow::anyhow!("nobody leads"));
        assert!(bear(failed(), 60));
        assert!(bear(Ok(()), 61));
        assert!(bear(failed(), 62));
        assert!(bear(failed(), 121));
        assert!(!bear(failed(), 122));
    }

    #[test]
    fn deadline_stops_tasks_of_no_service_and_with_force_all_but_daemons() {
        let of = |reason, force| is_to_stop(&task("group", reason, ""), force);
        assert!(of(StayingReason::Standalone, false));
        for reason in [
            StayingReason::Protected,
            StayingReason::NoHost,
            StayingReason::ReplacementStarts,
        ] {
            assert_eq!((of(reason, false), of(reason, true)), (false, true), "{reason:?}");
        }
        for reason in [StayingReason::Stopping, StayingReason::LeavesLast] {
            assert!(!of(reason, true), "{reason:?}");
        }
    }

    #[test]
    fn host_of_which_news_say_that_it_is_over_is_waited_for_no_more() {
        let awaited = |name: &str| Awaited {
            arn: name.to_owned(),
            name: name.to_owned(),
            told: String::new(),
        };
        let mut news = |name: &str, _: Option<&There>| {
            Ok(match name {
                "over" => News::over("done"),
                _ => News::open("on its way"),
            })
        };
        let open = still_open(vec![awaited("over"), awaited("open")], &Found::new(), &mut news).expect("news");
        let told: Vec<_> = open
            .iter()
            .map(|host| (host.name.as_str(), host.told.as_str()))
            .collect();
        assert_eq!(told, [("open", "on its way")]);
    }
}
