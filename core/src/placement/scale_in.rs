//! Which tasks of a group to stop when there are too many: the strategies that placed them, turned round. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::board::{Board, HostIndex};
use super::fragmentation::TypicalTasks;
use super::problem::{Holding, Host};
use super::seed::Seed;
use super::strategy::{Ranking, Ranks};
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
    let (mut leaving, mut settled) = (BTreeSet::new(), BTreeMap::<HostIndex, Stoppable<'_>>::new());
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
    if chosen.len() == count {
        return chosen;
    }
    let mut heads = Heads::default();
    for (host, tasks) in &settled {
        heads.add(board, &ranking, *host, tasks);
    }
    while chosen.len() < count
        && let Some((turn, host)) = heads.take_first(board, &ranking, &settled)
        && let Some(tasks) = settled.get_mut(&host)
    {
        let Some(holds) = tasks.remove(&turn) else { break };
        // No port is looked at again.
        board.release(host, group, holds, &Ports::new());
        heads.add(board, &ranking, host, tasks);
        chosen.push((turn.task, Some(host)));
    }
    chosen
}

/// The tasks of a host that may be stopped, the one that goes first at the front.
type Stoppable<'a> = BTreeMap<Turn, &'a Holding>;

/// Of each host the task that goes first. Hosts that share what `spread` counts over attributes are a class: who is first among them changes
/// only with what is taken off of one of them, so a look at the first of each class finds the first of all.
#[derive(Default)]
struct Heads {
    classes: BTreeMap<Vec<u32>, BTreeSet<(Ranks, Turn, HostIndex)>>,
}

impl Heads {
    fn add(&mut self, board: &Board, ranking: &Ranking, host: HostIndex, tasks: &Stoppable<'_>) {
        if let Some((turn, holds)) = tasks.first_key_value() {
            let ranks = ranking.ranks_to_stop_within_class(board, host, turn.task, holds);
            let class = self.classes.entry(ranking.class_of(board, host)).or_default();
            class.insert((ranks, *turn, host));
        }
    }

    fn take_first(
        &mut self,
        board: &Board,
        ranking: &Ranking,
        settled: &BTreeMap<HostIndex, Stoppable<'_>>,
    ) -> Option<(Turn, HostIndex)> {
        let firsts = self.classes.values_mut().filter_map(|class| {
            let (_, turn, host) = *class.first()?;
            let holds = settled.get(&host)?.get(&turn)?;
            Some((ranking.ranks_to_stop(board, host, turn.task, holds), turn, class))
        });
        let (_, _, class) = firsts.min_by_key(|(ranks, turn, _)| (*ranks, *turn))?;
        class.pop_first().map(|(_, turn, host)| (turn, host))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Attributes, BinpackResource, PlacementExtension, Resources};
    use crate::placement::problem::Shape;

    const GROUP: &str = "service:web";

    fn strategies(number: usize) -> Vec<PlacementStrategy> {
        let spread = |field: &str| PlacementStrategy::Spread {
            field: field.to_owned(),
        };
        let (zones, racks, hosts) = (
            spread("attribute:ecs.availability-zone"),
            spread("attribute:rack"),
            spread("instanceId"),
        );
        let memory = PlacementStrategy::Binpack {
            resource: BinpackResource::Memory,
        };
        let extension = PlacementExtension::Tightest;
        let tightest = PlacementStrategy::Extension { extension };
        match number {
            0 => vec![zones, hosts],
            1 => vec![zones, racks, tightest],
            2 => vec![hosts, racks, memory],
            3 => vec![memory, zones],
            4 => vec![tightest],
            5 => vec![PlacementStrategy::Random],
            _ => vec![],
        }
    }

    fn host(number: u32, tasks: u32, free: u32) -> Host {
        let id = ContainerInstanceId(u128::from(number));
        let zone = (number % 4 != 3).then(|| format!("zone-{}", number % 4));
        let rack = Some(format!("rack-{}", number % 3));
        Host {
            attributes: Attributes::from([("ecs.availability-zone".to_owned(), zone), ("rack".to_owned(), rack)]),
            free: Resources::new(free, 1024 - free),
            status: match number % 9 {
                8 => ContainerInstanceStatus::Draining,
                _ => ContainerInstanceStatus::Active,
            },
            tasks_by_group: BTreeMap::from([(GROUP.to_owned(), tasks)]),
            ..Host::idle(id, format!("host-{number}"), Resources::new(4096, 4096))
        }
    }

    /// By a look at each task for each choice.
    fn one_by_one(board: &mut Board, scale_in: &ScaleIn<'_>, count: usize) -> Vec<TaskId> {
        let group = board.watch_group(scale_in.group);
        let ranking = Ranking::new(scale_in.strategies, group, board);
        let mut left: Vec<&StopCandidate> = scale_in.candidates.iter().collect();
        let mut chosen = vec![];
        while chosen.len() < count && !left.is_empty() {
            let best = left.iter().enumerate().min_by_key(|(_, candidate)| {
                let turn = (
                    candidate.status >= TaskStatus::Running,
                    Reverse(candidate.created_at),
                    candidate.task,
                );
                let host = candidate.host.and_then(|id| board.index_of(id));
                match host {
                    None => (0, Ranks::default(), turn),
                    Some(host) if board.host(host).status != ContainerInstanceStatus::Active => {
                        (1, Ranks::default(), turn)
                    }
                    // The tasks of a host are alike, but for a strategy that draws.
                    Some(host) => {
                        let first = left
                            .iter()
                            .filter(|other| other.host == candidate.host)
                            .min_by_key(|other| {
                                (
                                    other.status >= TaskStatus::Running,
                                    Reverse(other.created_at),
                                    other.task,
                                )
                            });
                        let is_first = first.is_some_and(|first| first.task == candidate.task);
                        let ranks = ranking.ranks_to_stop(board, host, candidate.task, &candidate.holds);
                        (if is_first { 2 } else { 3 }, ranks, turn)
                    }
                }
            });
            let Some((place, _)) = best else { break };
            let candidate = left.remove(place);
            let host = candidate.host.and_then(|id| board.index_of(id));
            if let Some(host) = host.filter(|host| board.host(*host).status == ContainerInstanceStatus::Active) {
                board.release(host, group, &candidate.holds, &Ports::new());
            }
            chosen.push(candidate.task);
        }
        chosen
    }

    proptest! {
        #[test]
        fn first_of_each_class_of_hosts_leads_to_what_a_look_at_each_task_does(
            hosts in proptest::collection::vec((0u32..4, 0u32..1024), 1..24),
            tasks in proptest::collection::vec((0usize..26, any::<bool>(), 0i64..3), 0..60),
            strategy in 0usize..7,
            count in 0usize..40,
        ) {
            let hosts: Vec<Host> = (0..).zip(&hosts).map(|(number, (more, free))| {
                let own = tasks.iter().filter(|(place, ..)| *place == number as usize).count();
                host(number, more + u32::try_from(own).expect("few"), *free)
            }).collect();
            let candidates: Vec<StopCandidate> = (0..).zip(&tasks).map(|(id, (place, runs, created))| StopCandidate {
                task: TaskId(id),
                host: hosts.get(*place).map(|host| host.id),
                status: if *runs { TaskStatus::Running } else { TaskStatus::Pending },
                created_at: Timestamp(*created),
                holds: Holding { shape: Shape::of(Resources::new(16, 8)), ..Holding::default() },
            }).collect();
            let strategies = strategies(strategy);
            let scale_in = ScaleIn { group: GROUP, strategies: &strategies, candidates: &candidates, seed: Seed(3) };
            let mut board = Board::new(hosts.iter().cloned().map(Arc::new), scale_in.typical(), scale_in.seed);
            prop_assert_eq!(choose_to_stop(&hosts, &scale_in, count), one_by_one(&mut board, &scale_in, count));
        }
    }
}
