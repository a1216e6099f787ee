//! `berth rebalance`: which tasks to move so that zones are even or hosts are free; and to move them.
//!
//! Owns the flags and the exit codes. Shell.

mod following;
mod planned;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_aws::berth::operations::{DescribeRebalance, PlanRebalance, StartRebalance, StopRebalance};
use berth_aws::berth::{
    DescribeRebalanceRequest, MoveToMake, PlanRebalanceRequest, PlanRebalanceResponse, Rebalance, RebalanceGoal,
    StartRebalanceRequest, StopRebalanceRequest,
};
use clap::{Args, ValueEnum};

use super::values;
use crate::cluster::Cluster;
use crate::output::{self, Format};
use crate::target::TargetArguments;

/// Exit code: moves were made, but not all.
const SOME_DROPPED: u8 = 4;

/// Exit code: Ctrl-C told it to stop, as shells say it of programs that Ctrl-C ends.
const INTERRUPTED: u8 = 130;

/// What moves are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    /// The tasks of each service are even over availability zones
    Zones,
    /// As many hosts as possible have no task
    Defragment,
}

/// Flags of `berth rebalance`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// What moves are to be for
    #[arg(long, value_enum, default_value_t = Goal::Zones)]
    goal: Goal,
    /// Move tasks of this service; without it, of any
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Move no more tasks than this
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    max_moves: i32,
    /// Move no more tasks of one service than this at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=500))]
    at_a_time: i32,
    /// Make the moves, and say how they come along until the last has ended
    #[arg(long)]
    apply: bool,
    /// Leave hosts DRAINING once the last task has moved away, so that they can be removed; otherwise they stay ACTIVE
    #[arg(long, requires = "apply")]
    drain_emptied: bool,
    /// Begin no move after so long, and take back those that have not come far, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = values::duration)]
    deadline: Duration,
    /// Say how far the moves have come that were begun last
    #[arg(long, conflicts_with_all = ["apply", "stop"])]
    status: bool,
    /// Have no further task moved; tasks whose replacements have not taken over stay
    #[arg(long, conflicts_with = "apply")]
    stop: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// In words and tables, or as the API answers
    #[arg(long, visible_alias = "output", value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints what would be moved, or moves it.
///
/// # Errors
/// If the cluster cannot be asked, has no such service, or moves tasks already.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let cluster = Cluster::of(&arguments.target.find()?)?;
    if arguments.status || arguments.stop {
        return show(&cluster, &arguments).await;
    }
    let plan = plan(&cluster, &arguments).await?;
    let moves = plan.moves.as_deref().unwrap_or_default();
    let begins = arguments.apply && !moves.is_empty();
    match arguments.format {
        Format::Json if !begins => output::line(&serde_json::to_string_pretty(&plan)?)?,
        Format::Json => {}
        Format::Table => output::line(&planned::text(&plan))?,
    }
    if !begins {
        if arguments.format == Format::Table {
            say_what_to_do(&cluster, moves.is_empty()).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = start(&cluster, &arguments, &plan).await?;
    let ended = following::follow(&cluster, started, arguments.format).await?;
    if arguments.format == Format::Json {
        output::line(&serde_json::to_string_pretty(&ended.rebalance)?)?;
    }
    Ok(match (ended.interrupted, following::dropped(&ended.rebalance)) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(SOME_DROPPED),
    })
}

/// What follows a plan of which nothing was made.
async fn say_what_to_do(cluster: &Cluster, is_empty: bool) -> Result<()> {
    let last = describe(cluster).await?;
    match (last.as_ref().and_then(following::under_way), is_empty) {
        (Some(sentence), _) => output::line(&format!("\n{sentence}")),
        (None, true) => Ok(()),
        (None, false) => output::line("\nNothing was changed. With --apply, these moves are made."),
    }
}

async fn plan(cluster: &Cluster, arguments: &Arguments) -> Result<PlanRebalanceResponse> {
    let request = PlanRebalanceRequest {
        cluster: cluster.named(),
        goal: Some(arguments.goal.in_requests()),
        services: Some(arguments.service.clone()),
        max_moves: Some(arguments.max_moves),
    };
    cluster.call::<PlanRebalance>(&request).await
}

/// Has made what was planned, move by move.
async fn start(cluster: &Cluster, arguments: &Arguments, plan: &PlanRebalanceResponse) -> Result<Rebalance> {
    let moves = plan.moves.iter().flatten().map(|found| MoveToMake {
        task: found.task_arn.clone(),
        container_instance: found.to.as_ref().and_then(|host| host.container_instance_arn.clone()),
    });
    let emptied = plan.hosts_emptied.iter().flatten();
    let drain = emptied.filter_map(|host| host.container_instance_arn.clone());
    let request = StartRebalanceRequest {
        cluster: cluster.named(),
        goal: Some(arguments.goal.in_requests()),
        moves: Some(moves.collect()),
        at_a_time: Some(arguments.at_a_time),
        drain_hosts: Some(if arguments.drain_emptied {
            drain.collect()
        } else {
            vec![]
        }),
        deadline_seconds: Some(i32::try_from(arguments.deadline.as_secs()).unwrap_or(i32::MAX)),
    };
    let answer = cluster.call::<StartRebalance>(&request).await?;
    answer.rebalance.context("the controller does not say what it began")
}

/// How far the moves have come that were begun last, which are to stop if that was asked for.
async fn show(cluster: &Cluster, arguments: &Arguments) -> Result<ExitCode> {
    let rebalance = if arguments.stop {
        let request = StopRebalanceRequest {
            cluster: cluster.named(),
        };
        cluster.call::<StopRebalance>(&request).await?.rebalance
    } else {
        describe(cluster).await?
    };
    match (rebalance, arguments.format) {
        (Some(rebalance), Format::Table) => output::line(&following::text(&rebalance))?,
        (rebalance, Format::Json) => output::line(&serde_json::to_string_pretty(&rebalance)?)?,
        (None, Format::Table) => output::line(&format!("No tasks of cluster {} were moved yet.", cluster.name()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn describe(cluster: &Cluster) -> Result<Option<Rebalance>> {
    let request = DescribeRebalanceRequest {
        cluster: cluster.named(),
    };
    Ok(cluster.call::<DescribeRebalance>(&request).await?.rebalance)
}

impl Goal {
    fn in_requests(self) -> RebalanceGoal {
        match self {
            Self::Zones => RebalanceGoal::Zones,
            Self::Defragment => RebalanceGoal::Defragment,
        }
    }
}
