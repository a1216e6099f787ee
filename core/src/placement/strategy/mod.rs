//! Preferences among hosts that may take a task, and among tasks when a service shrinks; one file each. Pure.

mod best_fit;
mod binpack;
mod dot_product;
mod fragmentation;
mod gpu_clustering;
mod gpu_packing;
mod random;
mod spread;
mod tightest;
mod weighed;

pub use spread::SpreadField;

use super::board::{Board, GroupIndex, HostIndex, LevelIndex};
use super::gpus::GpuSet;
use super::problem::{Holding, Shape};
use super::score::{MAX_STRATEGIES, Score};
use super::seed::Seed;
use crate::model::{PlacementExtension, PlacementStrategy, TaskId, attribute_names};

/// Ranks hosts for a task that comes, and for a task that goes. Lower is better in both.
///
/// A strategy looks at the board and at what comes, and at one host at a time. Ranks of one strategy are compared with each other and
/// with nothing else; where they are equal the next strategy decides.
pub(super) trait Strategy {
    /// How much better another host would be for a new task, for which the host has room.
    fn rank_to_place(&self, board: &Board<'_>, host: HostIndex, arrival: Arrival<'_>) -> u64;

    /// How much better it would be to stop a task on another host.
    fn rank_to_stop(&self, board: &Board<'_>, host: HostIndex, task: TaskId, holds: &Holding) -> u64;

    /// What the rank of a new task depends on: planning relies on it.
    fn depends_on(&self) -> Dependence;

    /// Which of the host's GPUs a new task that needs some takes; `None` where the strategy does not mind.
    fn choose_gpus(&self, _: &Board<'_>, _: HostIndex, _: Arrival<'_>) -> Option<GpuSet> {
        None
    }

    /// Which host is better where no strategy sees a difference.
    fn ties(&self) -> Ties {
        Ties::Emptier
    }

    /// The level whose count is the rank of a new task, where hosts share it. All other ranks may only change when the board changes
    /// for the host: planning relies on it.
    fn shared_level(&self) -> Option<LevelIndex> {
        None
    }
}

/// A task that comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// What it takes.
    pub(super) shape: &'a Shape,
    /// Its id.
    pub(super) task: TaskId,
}

/// What a strategy's rank of a host for a new task depends on. Each includes what stands before it. Apart from a shared level, a rank may only
/// change when the board changes for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependence {
    /// What is on the host and what is free there.
    Host,
    /// Where the other tasks of the new one's group are.
    Group,
    /// What the new task takes.
    Shape,
    /// The new task itself, so that the rank differs between tasks that are alike.
    Task,
}

/// Which host is better where no strategy sees a difference; where they see none here either, the one with the least id. Of the
/// strategies of a request the last one in this order decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ties {
    /// The one with fewer tasks.
    Emptier,
    /// None: the first in the order of ids, so that tasks gather there.
    First,
    /// The one with more tasks: a host in use rather than an idle one.
    Fuller,
}

/// What a service gets that names no strategy: level over zones, as in ECS, and over hosts within a zone, where ECS
/// draws at random.
#[must_use]
pub fn service_default() -> Vec<PlacementStrategy> {
    let zone = format!("attribute:{}", attribute_names::AVAILABILITY_ZONE);
    [zone, "instanceId".to_owned()]
        .map(|field| PlacementStrategy::Spread { field })
        .to_vec()
}

/// What `RunTask` gets that names no strategy: any host, as in ECS.
#[must_use]
pub fn standalone_default() -> Vec<PlacementStrategy> {
    vec![PlacementStrategy::Random]
}

/// Stands for every task where the ranking is alike for all.
const ANY_TASK: TaskId = TaskId(0);

/// Those that ECS does not have.
fn beyond_ecs(extension: PlacementExtension, board: &mut Board<'_>) -> Box<dyn Strategy> {
    match extension {
        PlacementExtension::BestFit => Box::new(best_fit::BestFit),
        PlacementExtension::DotProduct => Box::new(dot_product::DotProduct),
        PlacementExtension::Fragmentation => Box::new(fragmentation::Fragmentation::new(board)),
        PlacementExtension::GpuPacking => Box::new(gpu_packing::GpuPacking),
        PlacementExtension::GpuClustering => Box::new(gpu_clustering::GpuClustering),
        PlacementExtension::Tightest => Box::new(tightest::Tightest::new(board)),
    }
}

/// The strategies of a request, ready to rank.
pub(super) struct Ranking {
    strategies: Vec<Box<dyn Strategy>>,
    ties: Ties,
    depends_on: Dependence,
}

impl Ranking {
    pub(super) fn new<'p>(
        strategies: &'p [PlacementStrategy],
        group: GroupIndex,
        seed: Seed,
        board: &mut Board<'p>,
    ) -> Self {
        let strategies: Vec<Box<dyn Strategy>> = strategies
            .iter()
            .take(MAX_STRATEGIES)
            .map(|strategy| -> Box<dyn Strategy> {
                match strategy {
                    PlacementStrategy::Random => Box::new(random::Random { seed }),
                    PlacementStrategy::Spread { field } => Box::new(spread::Spread::new(field, group, board)),
                    PlacementStrategy::Binpack { resource } => Box::new(binpack::Binpack { resource: *resource }),
                    PlacementStrategy::Extension { extension } => beyond_ecs(*extension, board),
                }
            })
            .collect();
        Self {
            ties: strategies.iter().map(|s| s.ties()).max().unwrap_or(Ties::Emptier),
            depends_on: strategies
                .iter()
                .map(|s| s.depends_on())
                .max()
                .unwrap_or(Dependence::Host),
            strategies,
        }
    }

    /// How good the host is for a new task.
    pub(super) fn score(&self, board: &Board<'_>, host: HostIndex, arrival: Arrival<'_>) -> Score {
        let mut ranks = [0; MAX_STRATEGIES];
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_place(board, host, arrival);
        }
        let tasks = board.tasks(host);
        Score {
            ranks,
            occupancy: match self.ties {
                Ties::Emptier => tasks,
                Ties::First => 0,
                Ties::Fuller => u32::MAX - tasks,
            },
            host: board.host(host).id,
        }
    }

    /// Whether a host is as good for one task as for any other that is like it.
    pub(super) fn is_alike_for_all_tasks(&self) -> bool {
        self.depends_on < Dependence::Task
    }

    /// Which of the host's GPUs a new task takes: what the first strategy says that minds, or else those with the least free that fit.
    pub(super) fn choose_gpus(&self, board: &Board<'_>, host: HostIndex, arrival: Arrival<'_>) -> GpuSet {
        let need = arrival.shape.gpu;
        if need.devices() == 0 {
            return GpuSet::default();
        }
        let mut choices = self.strategies.iter();
        let chosen = choices.find_map(|strategy| strategy.choose_gpus(board, host, arrival));
        chosen.unwrap_or_else(|| board.all_free(host).gpus.best_fit(need))
    }

    /// What tells apart hosts that do not share all of their shared ranks.
    pub(super) fn class_of(&self, board: &Board<'_>, host: HostIndex) -> Vec<usize> {
        let levels = self.strategies.iter().filter_map(|strategy| strategy.shared_level());
        levels.map(|level| board.bucket(level, host)).collect()
    }

    /// How good the host is beside others of its class: shared ranks are left out. The ranking must be alike for all tasks.
    pub(super) fn score_within_class(&self, board: &Board<'_>, host: HostIndex, shape: &Shape) -> Score {
        let mut score = self.score(board, host, Arrival { shape, task: ANY_TASK });
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if strategy.shared_level().is_some() {
                *rank = 0;
            }
        }
        score
    }

    /// The score with the shared ranks as they are now.
    pub(super) fn complete(&self, mut score: Score, board: &Board<'_>, host: HostIndex, shape: &Shape) -> Score {
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if strategy.shared_level().is_some() {
                *rank = strategy.rank_to_place(board, host, Arrival { shape, task: ANY_TASK });
            }
        }
        score
    }

    /// How good it is to stop this task.
    pub(super) fn ranks_to_stop(
        &self,
        board: &Board<'_>,
        host: HostIndex,
        task: TaskId,
        holds: &Holding,
    ) -> [u64; MAX_STRATEGIES] {
        let mut ranks = [0; MAX_STRATEGIES];
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_stop(board, host, task, holds);
        }
        ranks
    }
}
