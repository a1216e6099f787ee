//! `berth hosts drain`: has tasks leave hosts and, if asked, waits until none is left and says what keeps those that are.
//!
//! Owns the flags, the wait and its words. Shell, but for the words, which are pure.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_aws::berth::{Host, StayingReason, StayingTask};
use berth_aws::ecs::operations::StopTask;
use berth_aws::ecs::{ContainerInstance, ContainerInstanceStatus, StopTaskRequest};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::ChangeArguments;
use crate::cluster::Cluster;
use crate::commands::values;
use crate::host_names::name;
use crate::output;

/// Exit code: the time is over, and a host has tasks still.
const NOT_EMPTY: u8 = 3;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the controllers may not answer, as while another becomes the leader, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `berth hosts drain`.
#[derive(Args, Debug)]
#[command(
    after_help = "With --wait or --deadline, exit codes: 0 no host has a task left, 3 the time is over and one has, 1 an error, or a host takes tasks again."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Wait until the hosts have no task left, and say which are there still and why
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::patience)]
    timeout: Duration,
    /// Wait, and after so long stop tasks outside services, which nobody else stops; 0s stops them at once
    #[arg(long, value_name = "TIME", value_parser = values::patience)]
    deadline: Option<Duration>,
    /// Stop tasks of services too after the deadline, though they are protected and whatever minimumHealthyPercent says
    #[arg(long, requires = "deadline")]
    force: bool,
}

/// A host that is waited for.
struct Awaited {
    arn: String,
    name: String,
    /// What was said of it last.
    told: String,
}

/// What is there of the hosts that are waited for.
type Found = BTreeMap<String, (ContainerInstance, Host)>;

/// Drains hosts, and waits for them if that is asked for.
///
/// # Errors
/// If the cluster cannot be asked, a host is not known, or one is taken back meanwhile.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.change.target.find()?)?;
    let drained = super::set(&cluster, &arguments.change.hosts, ContainerInstanceStatus::Draining).await?;
    if !arguments.wait && arguments.deadline.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let begun = Instant::now();
    let mut open: Vec<Awaited> = drained.iter().filter_map(Awaited::of).collect();
    let mut silence = Silence { since: begun };
    loop {
        let heard = match look(&cluster, &open).await {
            Ok(found) => {
                open = still_open(open, &found)?;
                if open.is_empty() {
                    return Ok(ExitCode::SUCCESS);
                }
                match arguments.deadline {
                    Some(deadline) if begun.elapsed() >= deadline => stop(&cluster, &found, arguments.force).await,
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        silence.bear(heard, Instant::now())?;
        if begun.elapsed() >= arguments.timeout {
            let names: Vec<&str> = open.iter().map(|host| host.name.as_str()).collect();
            output::complain(&format!(
                "not empty within {} s: {}; the tasks named above are there still, and go on leaving. --deadline stops those that nobody else does",
                arguments.timeout.as_secs(),
                names.join(", ")
            ));
            return Ok(ExitCode::from(NOT_EMPTY));
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
                "the hosts drain on, and for {} s no controller said which tasks are left, or stopped those that are to stop",
                PATIENCE.as_secs()
            )),
            Err(_) => Ok(()),
        }
    }
}

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

/// Says what is new of each host; returns those that have tasks still.
fn still_open(open: Vec<Awaited>, found: &Found) -> Result<Vec<Awaited>> {
    let mut rest = vec![];
    for mut host in open {
        let there = found.get(&host.arn);
        let status = there.and_then(|(host, _)| host.status.as_deref()).unwrap_or("INACTIVE");
        let news = match (status, there.and_then(|(_, details)| details.tasks_left)) {
            ("INACTIVE", _) => "is no host of the cluster any more".to_owned(),
            (_, Some(0)) => "drained, no task is left".to_owned(),
            (_, Some(left)) => {
                let details = there.map(|(_, details)| details);
                tasks_left(left, details)
            }
            ("DRAINING", None) => bail!(
                "the controller does not say which tasks are left on {}: it is of an earlier version; `berth hosts` shows how many there are",
                host.name
            ),
            (status, None) => bail!("{} is {status}: somebody has taken it back", host.name),
        };
        let is_over = status == "INACTIVE" || there.is_some_and(|(_, details)| details.tasks_left == Some(0));
        if host.told != news {
            output::line(&format!("{}: {news}", host.name))?;
            host.told = news;
        }
        if !is_over {
            rest.push(host);
        }
    }
    Ok(rest)
}

/// How many tasks are left, and why, those alike together.
fn tasks_left(left: i32, details: Option<&Host>) -> String {
    let staying = details
        .and_then(|details| details.staying_tasks.as_deref())
        .unwrap_or_default();
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
    let away = details.is_some_and(|details| details.agent_connected == Some(false));
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

    fn host(staying: Vec<StayingTask>) -> Host {
        Host {
            agent_connected: Some(true),
            tasks_left: i32::try_from(staying.len()).ok(),
            staying_tasks: Some(staying),
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
        let host = host(vec![protected.clone(), alone, protected]);
        assert_eq!(
            tasks_left(3, Some(&host)),
            "3 tasks left; 1 of family:job: it is of no service; 2 of service:web: it is protected from being stopped until 1970-01-01T00:00:00Z"
        );
        let away = Host {
            agent_connected: Some(false),
            ..host
        };
        assert!(tasks_left(4, Some(&away)).starts_with("4 tasks left, and its agent is away; "));
        assert!(tasks_left(4, Some(&away)).ends_with("; 1 more"));
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
    fn host_that_has_left_or_is_empty_is_waited_for_no_more_and_one_that_was_taken_back_is_an_error() {
        let awaited = || Awaited {
            arn: "arn".to_owned(),
            name: "host-1".to_owned(),
            told: String::new(),
        };
        let with = |status: &str, details: Host| {
            let instance = ContainerInstance {
                status: Some(status.to_owned()),
                ..Default::default()
            };
            Found::from([("arn".to_owned(), (instance, details))])
        };
        let open = |found: &Found| still_open(vec![awaited()], found).map(|open| open.len());
        assert_eq!(open(&with("DRAINING", host(vec![]))).expect("empty"), 0);
        assert_eq!(open(&with("INACTIVE", Host::default())).expect("gone"), 0);
        let alone = task("family:job", StayingReason::Standalone, "it is of no service");
        assert_eq!(open(&with("DRAINING", host(vec![alone]))).expect("has one"), 1);
        let error = open(&with("ACTIVE", Host::default())).expect_err("taken back");
        assert!(error.to_string().contains("host-1 is ACTIVE"), "{error}");
    }
}
