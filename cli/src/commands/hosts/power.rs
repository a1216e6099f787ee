//! `berth hosts sleep` and `berth hosts wake`: somebody puts hosts to sleep once they are empty, and has those that sleep woken.
//!
//! Owns the flags and the words. Shell, but for the words, which are pure.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_aws::berth::operations::{SleepHost, WakeHost};
use berth_aws::berth::{Host, SleepHostRequest, WakeHostRequest};
use clap::Args;
use tokio::time::Instant;

use super::ChangeArguments;
use super::waiting::{Late, LimitArguments, News, There, TimeoutArgument, Wait, tasks_left, until_over};
use crate::cluster::Cluster;
use crate::host_names::{id, name};
use crate::output;

/// How long a host has to sleep before that is believed: a command that does not put it to sleep mostly says so at once.
const BELIEVED_AFTER: Duration = Duration::from_secs(3);

/// Flags of `berth hosts sleep`.
#[derive(Args, Debug)]
#[command(
    after_help = "A host that sleeps by hand sleeps until it is woken by `berth hosts wake` or switched on. One that does so for longer than a week needs a \
                  token to join again.\n\nWith --wait or --deadline, exit codes: 0 all hosts sleep, 3 the time is over and one does not, 1 an error, or a host \
                  is awake again."
)]
pub(super) struct SleepArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Wait until the hosts sleep, and say which tasks are there still and why
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    limits: LimitArguments,
    /// Even if tasks are protected; and stop tasks of services too after the deadline, whatever minimumHealthyPercent says
    #[arg(long, requires = "deadline")]
    force: bool,
}

/// Flags of `berth hosts wake`.
#[derive(Args, Debug)]
#[command(
    after_help = "With --wait, exit codes: 0 all hosts are awake, 3 the time is over and one is not, 1 an error, or a host did not come when it was called."
)]
pub(super) struct WakeArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Wait until the hosts are awake
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    patience: TimeoutArgument,
}

/// Puts hosts to sleep, and waits for them if that is asked for.
///
/// # Errors
/// If the cluster cannot be asked, a host is not known or cannot sleep, or one is awake again meanwhile.
pub(super) async fn sleep(arguments: SleepArguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.change.target.find()?)?;
    let hosts = super::chosen(&cluster, &arguments.change.hosts).await?;
    for host in &hosts {
        let request = SleepHostRequest {
            cluster: cluster.named(),
            container_instance: Some(id(host).to_owned()),
            force: Some(arguments.force),
        };
        let answer = cluster.call::<SleepHost>(&request).await?;
        let is_alone = answer.can_be_woken != Some(true);
        output::line(&sleeps(&name(host), &answer.host.unwrap_or_default(), is_alone))?;
    }
    if !arguments.wait && arguments.limits.deadline.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let wait = Wait {
        timeout: arguments.limits.patience.timeout,
        deadline: arguments.limits.deadline,
        force: arguments.force,
        late: Late {
            what: "not asleep",
            hint: "they sleep once they are empty. --deadline stops tasks that nobody else does, `berth hosts wake` has the hosts stay awake",
        },
    };
    let mut asleep_since: BTreeMap<String, Instant> = BTreeMap::new();
    let news = |name: &str, there: Option<&There>| {
        let since = asleep_since.entry(name.to_owned()).or_insert_with(Instant::now);
        match there {
            Some((_, details)) if details.power.as_deref() == Some("asleep") => {}
            _ => *since = Instant::now(),
        }
        falls_asleep(name, there, since.elapsed() >= BELIEVED_AFTER)
    };
    until_over(&cluster, &hosts, &wait, news).await
}

/// Wakes hosts, and waits for them if that is asked for.
///
/// # Errors
/// If the cluster cannot be asked, a host is not known, none can be woken, or one did not come.
pub(super) async fn wake(arguments: WakeArguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.change.target.find()?)?;
    let hosts = super::chosen(&cluster, &arguments.change.hosts).await?;
    for host in &hosts {
        let request = WakeHostRequest {
            cluster: cluster.named(),
            container_instance: Some(id(host).to_owned()),
        };
        let answer = cluster.call::<WakeHost>(&request).await?;
        let now = answer.host.unwrap_or_default();
        output::line(&format!("{} is {}", name(host), now.power.unwrap_or_default()))?;
    }
    if !arguments.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let wait = Wait {
        timeout: arguments.patience.timeout,
        deadline: None,
        force: false,
        late: Late {
            what: "not awake",
            hint: "they were called and have not come. `berth hosts` says so in its column AGENT, and berth hosts settings --wake-within how long each call waits",
        },
    };
    until_over(&cluster, &hosts, &wait, wakes).await
}

/// What becomes of a host that somebody puts to sleep.
fn sleeps(name: &str, host: &Host, is_alone: bool) -> String {
    let left = host.tasks_left.unwrap_or(0);
    let said = match (host.power.as_deref(), left) {
        (Some("asleep"), _) => format!("{name} sleeps already, and stays so until somebody wakes it"),
        (Some("falling-asleep"), _) | (_, 0) => format!("{name} falls asleep, and sleeps until somebody wakes it"),
        (_, left) => format!(
            "{name} is emptied of {left} {}, and sleeps then until somebody wakes it: those of services move to other hosts, others stay until \
             they end. `berth hosts sleep {name} --wait` says which are left and why",
            if left == 1 { "task" } else { "tasks" }
        ),
    };
    match is_alone {
        true => format!("{said}. The controller has no --wake-command: switch the machine on to have it back"),
        false => format!("{said}; `berth hosts wake {name}` has it back"),
    }
}

/// What is to be said of a host that is to sleep; that it sleeps once that `is_believed`.
fn falls_asleep(name: &str, there: Option<&There>, is_believed: bool) -> Result<News> {
    let details = details(name, there)?;
    let left = details.tasks_left.unwrap_or(0);
    Ok(match details.power.as_deref().unwrap_or("awake") {
        "asleep" if is_believed => News::over("asleep"),
        "asleep" | "falling-asleep" => News::open("falls asleep"),
        "emptying" if left > 0 => News::open(tasks_left(left, details)),
        "emptying" => News::open("no task is left"),
        power => bail!(
            "{name} does not sleep, but is {power}: {}",
            trouble(details, "somebody wakes it")
        ),
    })
}

/// What is to be said of a host that is to wake.
fn wakes(name: &str, there: Option<&There>) -> Result<News> {
    let details = details(name, there)?;
    Ok(
        match (details.power.as_deref().unwrap_or("awake"), &details.power_trouble) {
            ("awake", _) => News::over("awake"),
            ("waking", Some(trouble)) => News::open(format!("called, in vain as yet: {trouble}")),
            ("waking", None) => News::open("called"),
            (power, _) => bail!(
                "{name} does not wake, but is {power}: {}",
                trouble(details, "somebody puts it to sleep")
            ),
        },
    )
}

fn details<'t>(name: &str, there: Option<&'t There>) -> Result<&'t Host> {
    match there {
        Some((host, details)) if host.status.as_deref() != Some("INACTIVE") => Ok(details),
        _ => bail!("{name} is no host of the cluster any more"),
    }
}

fn trouble<'h>(host: &'h Host, otherwise: &'h str) -> &'h str {
    host.power_trouble.as_deref().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(power: &str, trouble: Option<&str>, left: Option<i32>) -> There {
        let details = Host {
            power: Some(power.to_owned()),
            power_trouble: trouble.map(str::to_owned),
            tasks_left: left,
            ..Default::default()
        };
        (berth_aws::ecs::ContainerInstance::default(), details)
    }

    #[test]
    fn host_that_is_to_sleep_is_waited_for_until_it_has_slept_for_a_while_and_awake_is_an_error() {
        let news = |there: &There, believed| falls_asleep("h1", Some(there), believed);
        assert!(!news(&there("emptying", None, Some(2)), true).expect("busy").is_over);
        assert!(!news(&there("falling-asleep", None, None), true).expect("soon").is_over);
        assert!(!news(&there("asleep", None, None), false).expect("perhaps").is_over);
        assert!(news(&there("asleep", None, None), true).expect("asleep").is_over);
        let error = news(&there("awake", Some("the lid is open"), None), true).expect_err("awake");
        assert_eq!(error.to_string(), "h1 does not sleep, but is awake: the lid is open");
        assert!(falls_asleep("h1", None, true).is_err(), "it has left the cluster");
    }

    #[test]
    fn host_that_is_to_wake_is_waited_for_until_it_is_there_and_given_up_is_an_error() {
        let news = |there: &There| wakes("h1", Some(there));
        assert!(news(&there("awake", None, None)).expect("awake").is_over);
        let late = news(&there("waking", Some("no such board"), None)).expect("called");
        assert!(!late.is_over && late.said.ends_with("no such board"), "{}", late.said);
        let error = news(&there("asleep", Some("it was called 3 times"), None)).expect_err("given up");
        assert_eq!(
            error.to_string(),
            "h1 does not wake, but is asleep: it was called 3 times"
        );
    }

    #[test]
    fn host_that_is_put_to_sleep_says_what_becomes_of_it_and_how_it_comes_back() {
        let host = |power, left| there(power, None, left).1;
        let said = sleeps("h1", &host("emptying", Some(2)), false);
        assert!(
            said.starts_with("h1 is emptied of 2 tasks") && said.ends_with("; `berth hosts wake h1` has it back"),
            "{said}"
        );
        assert!(sleeps("h1", &host("emptying", Some(0)), false).starts_with("h1 falls asleep"));
        let said = sleeps("h1", &host("asleep", None), true);
        assert!(
            said.starts_with("h1 sleeps already") && said.contains("switch the machine on"),
            "{said}"
        );
    }
}
