//! `berth hosts drain`: has tasks leave hosts and, if asked, waits until none is left and says what keeps those that are.
//!
//! Owns the flags and the words. Shell, but for the words, which are pure.

use std::process::ExitCode;

use anyhow::{Result, bail};
use berth_aws::ecs::ContainerInstanceStatus;
use clap::Args;

use super::ChangeArguments;
use super::waiting::{Late, LimitArguments, News, There, Wait, tasks_left, until_over};
use crate::cluster::Cluster;

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
    #[command(flatten)]
    limits: LimitArguments,
    /// Stop tasks of services too after the deadline, though they are protected and whatever minimumHealthyPercent says
    #[arg(long, requires = "deadline")]
    force: bool,
}

/// Drains hosts, and waits for them if that is asked for.
///
/// # Errors
/// If the cluster cannot be asked, a host is not known, or one is taken back meanwhile.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.change.target.find()?)?;
    let drained = super::set(&cluster, &arguments.change.hosts, ContainerInstanceStatus::Draining).await?;
    if !arguments.wait && arguments.limits.deadline.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let wait = Wait {
        timeout: arguments.limits.patience.timeout,
        deadline: arguments.limits.deadline,
        force: arguments.force,
        late: Late {
            what: "not empty",
            hint: "the tasks named above are there still, for the reasons said there. --deadline stops those outside services, and with --force those of services",
        },
    };
    until_over(&cluster, &drained, &wait, news).await
}

/// What is to be said of a host that drains.
fn news(name: &str, there: Option<&There>) -> Result<News> {
    let Some((host, details)) = there.filter(|(host, _)| host.status.as_deref() != Some("INACTIVE")) else {
        return Ok(News::over("is no host of the cluster any more"));
    };
    Ok(
        match (host.status.as_deref().unwrap_or("INACTIVE"), details.tasks_left) {
            (_, Some(0)) => News::over("drained, no task is left"),
            (_, Some(left)) => News::open(tasks_left(left, details)),
            ("DRAINING", None) => bail!(
                "the controller does not say which tasks are left on {name}: it is of an earlier version; `berth hosts` shows how many there are"
            ),
            (status, None) => bail!("{name} is {status}: somebody has taken it back"),
        },
    )
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::{Host, StayingReason, StayingTask};
    use berth_aws::ecs::ContainerInstance;

    use super::*;

    #[test]
    fn host_that_has_left_or_is_empty_is_waited_for_no_more_and_one_that_was_taken_back_is_an_error() {
        let with = |status: &str, left: Option<i32>| {
            let instance = ContainerInstance {
                status: Some(status.to_owned()),
                ..Default::default()
            };
            let task = StayingTask {
                group: Some("family:job".to_owned()),
                reason: Some(StayingReason::Standalone),
                ..Default::default()
            };
            let details = Host {
                tasks_left: left,
                staying_tasks: left.map(|left| vec![task; usize::try_from(left).expect("a count")]),
                ..Default::default()
            };
            (instance, details)
        };
        let is_over = |there: &There| news("host-1", Some(there)).map(|news| news.is_over);
        assert!(is_over(&with("DRAINING", Some(0))).expect("empty"));
        assert!(is_over(&with("INACTIVE", None)).expect("gone"));
        assert!(news("host-1", None).expect("gone").is_over);
        assert!(!is_over(&with("DRAINING", Some(1))).expect("has one"));
        let error = is_over(&with("ACTIVE", None)).expect_err("taken back");
        assert!(error.to_string().contains("host-1 is ACTIVE"), "{error}");
    }
}
