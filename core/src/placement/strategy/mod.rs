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

use super::board::{Board, HostIndex};
use super::gpus::GpuSet;
use super::groups::{GroupIndex, LevelIndex};
use super::order::ORDER_RANKS;
use super::problem::{Holding, Shape};
use super::score::{MAX_STRATEGIES, Score};
use crate::model::{PlacementExtension, PlacementStrategy, TaskId, attribute_names};

/// Ranks hosts for a task that comes, and for a task that goes. Lower is better in both.
///
/// A strategy looks at the board and at what comes, and at one host at a time. Ranks of one strategy are compared with each other and
/// with nothing else; where they are equal the next strategy decides.
pub(super) trait Strategy: Send + Sync {
    /// How much better another host would be for a new task, for which the host has room.
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64;

    /// How much better it would be to stop a task on another host.
    fn rank_to_stop(&self, board: &Board, host: HostIndex, task: TaskId, holds: &Holding) -> u64;

    /// What the rank of a new task depends on: planning relies on it.
    fn depends_on(&self) -> Dependence;

    /// A rank below which no host is that has room for such a shape, by which a search may begin further on; 0 where none is known.
    fn least_rank(&self, _: &Board, _: &Shape) -> u64 {
        0
    }

    /// Which of the host's GPUs a new task that needs some takes; `None` where the strategy does not mind.
    fn choose_gpus(&self, _: &Board, _: HostIndex, _: Arrival<'_>) -> Option<GpuSet> {
        None
    }

    /// The count that is the rank of a new task, where it is one. All other ranks, and those that are counts on the host, may only change when
    /// the board changes for the host: planning relies on it.
    fn counts(&self) -> Option<Count> {
        None
    }
}

/// A number of tasks that is the rank of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Those of a group on the host.
    OnHost(GroupIndex),
    /// Those of a level, which hosts with the same value of its field share.
    Level(LevelIndex),
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
pub enum Ties {
    /// The one with fewer tasks.
    Emptier,
    /// None: the first in the order of ids, so that tasks gather there.
    First,
    /// The one with more tasks: a host in use rather than an idle one.
    Fuller,
}

impl Ties {
    /// Of a request with these strategies.
    #[must_use]
    pub fn of(strategies: &[PlacementStrategy]) -> Self {
        let followed = strategies.iter().take(MAX_STRATEGIES);
        followed.map(Self::of_one).max().unwrap_or(Self::Emptier)
    }

    fn of_one(strategy: &PlacementStrategy) -> Self {
        use PlacementExtension as E;
        match strategy {
            PlacementStrategy::Random | PlacementStrategy::Spread { .. } => Self::Emptier,
            PlacementStrategy::Binpack { .. } => Self::Fuller,
            PlacementStrategy::Extension { extension } => match extension {
                E::BestFit | E::Tightest => Self::Fuller,
                E::DotProduct | E::Fragmentation | E::GpuPacking | E::GpuClustering => Self::First,
            },
        }
    }

    /// As in [`Score`].
    pub(super) fn occupancy(self, board: &Board, host: HostIndex) -> u32 {
        let tasks = board.tasks(host);
        match self {
            Self::Emptier => tasks,
            Self::First => 0,
            Self::Fuller => u32::MAX - tasks,
        }
    }
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

/// Stands for every shape where the ranking is alike for all.
static ANY_SHAPE: Shape = Shape::NOTHING;

/// The level whose count is the rank, where hosts share it.
fn level_of(strategy: &dyn Strategy) -> Option<LevelIndex> {
    match strategy.counts() {
        Some(Count::Level(level)) => Some(level),
        Some(Count::OnHost(_)) | None => None,
    }
}

/// Those that ECS does not have.
fn beyond_ecs(extension: PlacementExtension, board: &mut Board) -> Box<dyn Strategy> {
    match extension {
        PlacementExtension::BestFit => Box::new(best_fit::BestFit),
        PlacementExtension::DotProduct => Box::new(dot_product::DotProduct),
        PlacementExtension::Fragmentation => Box::new(fragmentation::Fragmentation::new(board)),
        PlacementExtension::GpuPacking => Box::new(gpu_packing::GpuPacking),
        PlacementExtension::GpuClustering => Box::new(gpu_clustering::GpuClustering),
        PlacementExtension::Tightest => Box::new(tightest::Tightest::new(board)),
    }
}

/// A strategy of a request, ready to rank.
pub(super) fn strategy_of(strategy: &PlacementStrategy, group: GroupIndex, board: &mut Board) -> Box<dyn Strategy> {
    match strategy {
        PlacementStrategy::Random => Box::new(random::Random),
        PlacementStrategy::Spread { field } => Box::new(spread::Spread::new(field, group, board)),
        PlacementStrategy::Binpack { resource } => Box::new(binpack::Binpack { resource: *resource }),
        PlacementStrategy::Extension { extension } => beyond_ecs(*extension, board),
    }
}

/// What each strategy says, the first weighing most; the least is the best.
pub(super) type Ranks = [u64; MAX_STRATEGIES];

/// Where a rank comes from in an order of hosts that kinds of requests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RankSource {
    /// It is counted when a request comes.
    Count(Count),
    /// It is this one of the order's own.
    Order(usize),
}

/// The strategies of a request, ready to rank.
pub(super) struct Ranking {
    strategies: Vec<Box<dyn Strategy>>,
    ties: Ties,
    depends_on: Dependence,
}

impl Ranking {
    pub(super) fn new(strategies: &[PlacementStrategy], group: GroupIndex, board: &mut Board) -> Self {
        let ties = Ties::of(strategies);
        let strategies = strategies.iter().take(MAX_STRATEGIES);
        let strategies: Vec<Box<dyn Strategy>> = strategies.map(|s| strategy_of(s, group, board)).collect();
        Self {
            ties,
            depends_on: strategies
                .iter()
                .map(|s| s.depends_on())
                .max()
                .unwrap_or(Dependence::Host),
            strategies,
        }
    }

    /// Where each rank comes from, if the ranking can be found in an order that depends on nothing but the hosts; a count on the host only
    /// can if it weighs more than what the order says.
    pub(super) fn sources(&self) -> Option<Vec<RankSource>> {
        let (mut own, mut on_host) = (0, false);
        let sources = self.strategies.iter().map(|strategy| match strategy.counts() {
            Some(Count::OnHost(_)) if own > 0 || std::mem::replace(&mut on_host, true) => None,
            Some(count) => Some(RankSource::Count(count)),
            None if strategy.depends_on() == Dependence::Host && own < ORDER_RANKS => {
                own += 1;
                Some(RankSource::Order(own - 1))
            }
            None => None,
        });
        sources.collect()
    }

    /// What the strategies say of a host, those whose rank is a count left out.
    pub(super) fn ranks_in_order(
        strategies: &[Box<dyn Strategy>],
        board: &Board,
        host: HostIndex,
    ) -> [u64; ORDER_RANKS] {
        let mut ranks = [0; ORDER_RANKS];
        for (rank, strategy) in ranks.iter_mut().zip(strategies) {
            let arrival = Arrival {
                shape: &ANY_SHAPE,
                task: ANY_TASK,
            };
            *rank = strategy.rank_to_place(board, host, arrival);
        }
        ranks
    }

    /// Which host is better where no strategy sees a difference.
    pub(super) fn ties(&self) -> Ties {
        self.ties
    }

    /// How good the host is for a new task.
    pub(super) fn score(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> Score {
        let mut ranks = [0; MAX_STRATEGIES];
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_place(board, host, arrival);
        }
        Score {
            ranks,
            occupancy: self.ties.occupancy(board, host),
            host: board.id(host),
        }
    }

    /// Whether a host is as good for one task as for any other that is like it.
    pub(super) fn is_alike_for_all_tasks(&self) -> bool {
        self.depends_on < Dependence::Task
    }

    /// Which of the host's GPUs a new task takes: what the first strategy says that minds, or else those with the least free that fit.
    pub(super) fn choose_gpus(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> GpuSet {
        let need = arrival.shape.gpu;
        if need.devices() == 0 {
            return GpuSet::default();
        }
        let mut choices = self.strategies.iter();
        let chosen = choices.find_map(|strategy| strategy.choose_gpus(board, host, arrival));
        chosen.unwrap_or_else(|| board.all_free(host).gpus.best_fit(need))
    }

    /// What tells apart hosts that do not share all of their shared ranks.
    pub(super) fn class_of(&self, board: &Board, host: HostIndex) -> Vec<u32> {
        let levels = self.strategies.iter().filter_map(|strategy| level_of(&**strategy));
        let groups = board.groups();
        levels
            .map(|level| groups.bucket(groups.field_of(level), host))
            .collect()
    }

    /// How good the host is beside others of its class: shared ranks are left out. The ranking must be alike for all tasks.
    pub(super) fn score_within_class(&self, board: &Board, host: HostIndex, shape: &Shape) -> Score {
        let mut score = self.score(board, host, Arrival { shape, task: ANY_TASK });
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if level_of(&**strategy).is_some() {
                *rank = 0;
            }
        }
        score
    }

    /// The score with the shared ranks as they are now.
    pub(super) fn complete(&self, mut score: Score, board: &Board, host: HostIndex, shape: &Shape) -> Score {
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if level_of(&**strategy).is_some() {
                *rank = strategy.rank_to_place(board, host, Arrival { shape, task: ANY_TASK });
            }
        }
        score
    }

    /// How good it is to stop this task.
    pub(super) fn ranks_to_stop(&self, board: &Board, host: HostIndex, task: TaskId, holds: &Holding) -> Ranks {
        let mut ranks = Ranks::default();
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_stop(board, host, task, holds);
        }
        ranks
    }

    /// How good it is to stop this task beside those of other hosts of its class: shared ranks are left out.
    pub(super) fn ranks_to_stop_within_class(
        &self,
        board: &Board,
        host: HostIndex,
        task: TaskId,
        holds: &Holding,
    ) -> Ranks {
        let mut ranks = Ranks::default();
        let own = ranks.iter_mut().zip(&self.strategies);
        for (rank, strategy) in own.filter(|(_, strategy)| level_of(&***strategy).is_none()) {
            *rank = strategy.rank_to_stop(board, host, task, holds);
        }
        ranks
    }
}
