//! Which tasks of a group to stop when there are too many: the strategies that placed them, turned round. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::board::{Board, HostIndex};
use super::fragmentation::TypicalTasks;
use super::problem::{Holding, Host};
use super::seed::Seed;
use super::strategy::Ranking;
use crate::model::{
    ContainerInstanceId, ContainerInstanceStatus, PlacementStrategy, Ports, TaskId, TaskStatus, Timestamp,
};

/// A group that has too many tasks.
#[derive(Clone, Copy, Debug)]
pub struct ScaleIn<'a> {
    /// The group.
    pub group: &'a str,
    /// What placed its tasks.
    pub strategies: &'a [PlacementStrategy],
    /// Tasks of the group that may be stopped and are wanted to run.
    pub candidates: &'a [StopCandidate],
    /// For `random`.
    pub seed: Seed,
}

/// A task that may be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopCandidate {
    /// The task.
    pub task: TaskId,
    /// Its host, if it has one.
    pub host: Option<ContainerInstanceId>,
    /// How far it has come.
    pub status: TaskStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// What it holds on its host.
    pub holds: Holding,
}

/// Order among the tasks of one host, and among those that strategies cannot tell apart; the least goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    running: bool,
    newest: Reverse<Timestamp>,
    task: TaskId,
}

/// The tasks to stop, at most `count`, in the order in which to stop them. The hosts, each once, have all tasks counted, those that must stay included.
///
/// 1. those without a host, and then those on draining hosts: they leave anyway, and `spread` does not count them;
/// 2. then what the strategies say, each in its turn: `spread` gives up a task where there are most, `binpack` where
///    most is free afterwards, `random` any;
/// 3. where they see no difference, one that does not run yet, then the newest, then the one with the least id.
///
/// # Panics
/// If a host is given twice.
#[must_use]
pub fn choose_to_stop(hosts: &[Host], scale_in: &ScaleIn<'_>, count: usize) -> Vec<TaskId> {
    let mut board = Board::new(hosts.iter().cloned().map(Arc::new), scale_in.typical(), scale_in.seed);
    let chosen = from_board(&mut board, scale_in, count);
    chosen.into_iter().map(|(task, _)| task).collect()
}

impl ScaleIn<'_> {
    /// What the tasks take.
    pub(super) fn typical(&self) -> TypicalTasks {
        TypicalTasks::of(self.candidates.iter().map(|candidate| &candidate.holds.shape))
    }
}

/// The same on a board, which has them taken off then; with the hosts of those that have one.
pub(super) fn from_board(board: &mut Board, scale_in: &ScaleIn<'_>, count: usize) -> Vec<(TaskId, Option<HostIndex>)> {
    let group = board.watch_group(scale_in.group);
    let ranking = Ranking::new(scale_in.strategies, group, board);
    let (mut leaving, mut settled) = (BTreeSet::new(), BTreeMap::<HostIndex, BTreeMap<Turn, &Holding>>::new());
    for candidate in scale_in.candidates {
        let turn = Turn {
            running: candidate.status >= TaskStatus::Running,
            newest: Reverse(candidate.created_at),
            task: candidate.task,
        };
        match candidate.host.and_then(|id| board.index_of(id)) {
            None => _ = leaving.insert((false, turn)),
            Some(host) if board.host(host).status != ContainerInstanceStatus::Active => {
                leaving.insert((true, turn));
            }
            Some(host) => {
                settled.entry(host).or_default().insert(turn, &candidate.holds);
            }
        }
    }
    let leaving = leaving.into_iter().map(|(_, turn)| (turn.task, None));
    let mut chosen: Vec<(TaskId, Option<HostIndex>)> = leaving.take(count).collect();
    while chosen.len() < count {
        let heads = settled.iter().filter_map(|(host, tasks)| {
            let (turn, holds) = tasks.first_key_value()?;
            let ranks = ranking.ranks_to_stop(board, *host, turn.task, holds);
            Some((ranks, *turn, *host, *holds))
        });
        let Some((_, turn, host, holds)) = heads.min_by_key(|(ranks, turn, ..)| (*ranks, *turn)) else {
            break;
        };
        // No port is looked at again.
        board.release(host, group, holds, &Ports::new());
        settled.entry(host).or_default().remove(&turn);
        chosen.push((turn.task, Some(host)));
    }
    chosen
}
