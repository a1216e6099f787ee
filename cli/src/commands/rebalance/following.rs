//! How moves come along, until the last has ended. Shell, but for the words, which are pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_aws::berth::operations::StopRebalance;
use berth_aws::berth::{MoveStatus, Rebalance, RebalanceStatus, StopRebalanceRequest, TaskMoving};
use tokio::time::{Instant, sleep};

use super::describe;
use super::planned::label;
use crate::cluster::{Cluster, last_part};
use crate::output::{self, Format};
use crate::short_id;
use crate::signals::StopSignals;
use crate::table::Table;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the controllers may not answer, as while another becomes the leader, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it ended.
pub(super) struct Ended {
    pub(super) rebalance: Rebalance,
    /// Whether it was told to stop.
    pub(super) interrupted: bool,
}

/// Says what becomes of each move. Told to stop, it has no further task moved, and waits for what that makes of those that are under way; told
/// again, it does not.
pub(super) async fn follow(cluster: &Cluster, started: Rebalance, format: Format) -> Result<Ended> {
    let mut signals = StopSignals::install()?;
    let (mut told, mut interrupted) = (BTreeMap::new(), false);
    let (mut rebalance, mut heard_at) = (started, Instant::now());
    loop {
        if format == Format::Table {
            say_news(&rebalance, &mut told)?;
        }
        if rebalance.status == Some(RebalanceStatus::Ended) {
            break;
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = signals.next() => {
                if interrupted {
                    output::complain("berth: not waited for; `berth rebalance --status` says what becomes of the moves");
                    return Ok(Ended { rebalance, interrupted });
                }
                interrupted = true;
                output::complain(
                    "berth: no further task is moved; tasks whose replacements have not taken over stay, and the others are waited for \
                     (Ctrl-C again does not wait)",
                );
                stop(cluster).await?;
            }
        }
        match describe(cluster).await {
            Ok(Some(found)) if found.id == rebalance.id => (rebalance, heard_at) = (found, Instant::now()),
            Ok(_) => bail!("the cluster moves other tasks by now; `berth rebalance --status` says which"),
            Err(error) if heard_at.elapsed() > PATIENCE => {
                return Err(error).context("the moves go on, and no controller says how they come along");
            }
            Err(_) => {}
        }
    }
    if format == Format::Table {
        output::line(&format!("\n{}", summary(&rebalance)))?;
    }
    Ok(Ended { rebalance, interrupted })
}

async fn stop(cluster: &Cluster) -> Result<()> {
    let request = StopRebalanceRequest {
        cluster: cluster.named(),
    };
    let stopped = cluster.call::<StopRebalance>(&request).await;
    stopped
        .map(drop)
        .context("the moves go on, since they could not be stopped")
}

/// Prints what is new of each move.
fn say_news(rebalance: &Rebalance, told: &mut BTreeMap<usize, Option<MoveStatus>>) -> Result<()> {
    let moves = rebalance.moves.as_deref().unwrap_or_default();
    for (number, found) in moves.iter().enumerate() {
        let before = told.insert(number, found.status);
        let is_news = before.is_some_and(|before| before != found.status)
            || (before.is_none() && found.status != Some(MoveStatus::Waiting));
        if is_news {
            output::line(&format!("{}/{} {}", number + 1, moves.len(), news(found)))?;
        }
    }
    Ok(())
}

fn news(found: &TaskMoving) -> String {
    let task = id(found.task_arn.as_deref());
    let service = found.service_name.as_deref().unwrap_or_default();
    let (from, to) = (
        found.from.as_ref().map(label).unwrap_or_default(),
        found.to.as_ref().map(label).unwrap_or_default(),
    );
    match (found.status, &found.replacement_arn) {
        (Some(MoveStatus::Moved), replacement) => {
            format!(
                "{service}: task {task} has moved from {from} to {to} as {}",
                id(replacement.as_deref())
            )
        }
        (Some(MoveStatus::Dropped), _) => {
            let reason = found.reason.as_deref().unwrap_or_default();
            format!("{service}: task {task} is not moved to {to}. {reason}")
        }
        (_, Some(replacement)) => format!(
            "{service}: task {task} moves from {from} to {to} as {}",
            id(Some(replacement))
        ),
        (_, None) => format!("{service}: task {task} stops on {from}, to start on {to}"),
    }
}

fn id(arn: Option<&str>) -> &str {
    short_id::shown(arn.map(last_part).unwrap_or_default())
}

/// How many moves were not made.
pub(super) fn dropped(rebalance: &Rebalance) -> usize {
    count(rebalance, MoveStatus::Dropped)
}

fn count(rebalance: &Rebalance, status: MoveStatus) -> usize {
    let moves = rebalance.moves.iter().flatten();
    moves.filter(|found| found.status == Some(status)).count()
}

/// What to know of moves that have not ended, for those who plan others; `None` if all have.
pub(super) fn under_way(rebalance: &Rebalance) -> Option<String> {
    let left = count(rebalance, MoveStatus::Waiting) + count(rebalance, MoveStatus::Begun);
    let is_over = rebalance.status == Some(RebalanceStatus::Ended);
    let all = rebalance.moves.as_ref().map_or(0, Vec::len);
    (!is_over).then(|| {
        format!(
            "Tasks are being moved already: {left} of {all} moves have not ended, as `berth rebalance --status` tells. This plan knows nothing of \
             them and may name the same tasks; plan again when they have ended."
        )
    })
}

fn summary(rebalance: &Rebalance) -> String {
    let moved = count(rebalance, MoveStatus::Moved);
    let left = count(rebalance, MoveStatus::Waiting) + count(rebalance, MoveStatus::Begun);
    let mut words = vec![match moved {
        1 => "1 task has moved.".to_owned(),
        moved => format!("{moved} tasks have moved."),
    }];
    match dropped(rebalance) {
        0 => {}
        1 => words.push("1 was not moved.".to_owned()),
        dropped => words.push(format!("{dropped} were not moved.")),
    }
    if left > 0 {
        words.push(format!("{left} still to come."));
    }
    let drained: Vec<&str> = rebalance.hosts_drained.iter().flatten().map(label).collect();
    if !drained.is_empty() {
        words.push(format!("DRAINING, without tasks: {}.", drained.join(", ")));
    }
    words.join(" ")
}

/// How far the moves have come.
pub(super) fn text(rebalance: &Rebalance) -> String {
    let mut table = Table::new(&[
        "MOVE",
        "SERVICE",
        "TASK",
        "FROM",
        "TO",
        "STATUS",
        "REPLACEMENT",
        "REASON",
    ]);
    for (number, found) in (1..).zip(rebalance.moves.iter().flatten()) {
        table.row([
            i32::to_string(&number),
            found.service_name.clone().unwrap_or_default(),
            id(found.task_arn.as_deref()).to_owned(),
            found.from.as_ref().map(label).unwrap_or_default().to_owned(),
            found.to.as_ref().map(label).unwrap_or_default().to_owned(),
            found
                .status
                .map(|status| status.as_str().to_owned())
                .unwrap_or_default(),
            id(found.replacement_arn.as_deref()).to_owned(),
            found.reason.clone().unwrap_or_default(),
        ]);
    }
    format!("{}\n\n{}", summary(rebalance), table.render(output::width()))
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::HostRef;

    use super::*;

    fn moving(status: MoveStatus, reason: Option<&str>) -> TaskMoving {
        let host = |name: &str| HostRef {
            host_name: Some(name.to_owned()),
            container_instance_arn: None,
        };
        TaskMoving {
            task_arn: Some(format!("arn:aws:ecs:us-east-1:1:task/shop/{}", "1".repeat(32))),
            service_name: Some("web".to_owned()),
            from: Some(host("host-1")),
            to: Some(host("host-2")),
            status: Some(status),
            replacement_arn: Some(format!("arn:aws:ecs:us-east-1:1:task/shop/{}", "2".repeat(32))),
            reason: reason.map(str::to_owned),
            ended_at: None,
        }
    }

    #[test]
    fn moves_are_told_with_what_became_of_them_and_counted() {
        let moved = moving(MoveStatus::Moved, None);
        let dropped = moving(MoveStatus::Dropped, Some("The deadline passed."));
        assert_eq!(
            (news(&moved), news(&dropped)),
            (
                "web: task 11111111 has moved from host-1 to host-2 as 22222222".to_owned(),
                "web: task 11111111 is not moved to host-2. The deadline passed.".to_owned()
            )
        );
        let rebalance = Rebalance {
            moves: Some(vec![moved, dropped, moving(MoveStatus::Waiting, None)]),
            ..Default::default()
        };
        assert_eq!(
            summary(&rebalance),
            "1 task has moved. 1 was not moved. 1 still to come."
        );
        let said = under_way(&rebalance).expect("a move has not ended");
        assert!(said.contains("1 of 3 moves have not ended"), "{said}");
        let ended = Rebalance {
            status: Some(RebalanceStatus::Ended),
            ..rebalance
        };
        assert_eq!(under_way(&ended), None);
    }
}
