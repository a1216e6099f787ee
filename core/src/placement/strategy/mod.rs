//! Preferences among hosts that may take a task, and among tasks when a service shrinks; one file each. Pure.

mod binpack;
mod random;
mod spread;

pub use spread::SpreadField;

use super::board::{Board, GroupIndex, HostIndex, LevelIndex};
use super::score::{MAX_STRATEGIES, Score};
use super::seed::Seed;
use crate::model::{PlacementStrategy, Resources, TaskId, attribute_names};

/// Ranks hosts for a task that comes, and for a task that goes. Lower is better in both.
///
/// A strategy looks at the board alone and at one host at a time. Ranks of one strategy are compared with each other and
/// with nothing else; where they are equal the next strategy decides.
pub(super) trait Strategy {
    /// How much better another host would be for a new task.
    fn rank_to_place(&self, board: &Board<'_>, host: HostIndex, task: TaskId) -> u64;

    /// How much better it would be to stop a task on another host.
    fn rank_to_stop(&self, board: &Board<'_>, host: HostIndex, task: TaskId, holds: Resources) -> u64;

    /// Whether it fills hosts, so that where it sees no difference a host in use is better than an idle one.
    fn packs(&self) -> bool {
        false
    }

    /// Whether it ranks the hosts differently for each task, rather than for all that are alike.
    fn draws(&self) -> bool {
        false
    }

    /// The level whose count is the rank of a new task, where hosts share it. All other ranks may only change when the board changes
    /// for the host: planning relies on it.
    fn shared_level(&self) -> Option<LevelIndex> {
        None
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

/// The strategies of a request, ready to rank.
pub(super) struct Ranking {
    strategies: Vec<Box<dyn Strategy>>,
    packs: bool,
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
                }
            })
            .collect();
        Self {
            packs: strategies.iter().any(|strategy| strategy.packs()),
            strategies,
        }
    }

    /// How good the host is for a new task.
    pub(super) fn score(&self, board: &Board<'_>, host: HostIndex, task: TaskId) -> Score {
        let mut ranks = [0; MAX_STRATEGIES];
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_place(board, host, task);
        }
        let tasks = board.tasks(host);
        Score {
            ranks,
            occupancy: if self.packs { u32::MAX - tasks } else { tasks },
            host: board.host(host).id,
        }
    }

    /// Whether a host is as good for one task as for any other that is like it.
    pub(super) fn is_alike_for_all_tasks(&self) -> bool {
        !self.strategies.iter().any(|strategy| strategy.draws())
    }

    /// What tells apart hosts that do not share all of their shared ranks.
    pub(super) fn class_of(&self, board: &Board<'_>, host: HostIndex) -> Vec<usize> {
        let levels = self.strategies.iter().filter_map(|strategy| strategy.shared_level());
        levels.map(|level| board.bucket(level, host)).collect()
    }

    /// How good the host is beside others of its class: shared ranks are left out. The ranking must be alike for all tasks.
    pub(super) fn score_within_class(&self, board: &Board<'_>, host: HostIndex) -> Score {
        let mut score = self.score(board, host, TaskId(0));
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if strategy.shared_level().is_some() {
                *rank = 0;
            }
        }
        score
    }

    /// The score with the shared ranks as they are now.
    pub(super) fn complete(&self, mut score: Score, board: &Board<'_>, host: HostIndex) -> Score {
        for (rank, strategy) in score.ranks.iter_mut().zip(&self.strategies) {
            if strategy.shared_level().is_some() {
                *rank = strategy.rank_to_place(board, host, TaskId(0));
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
        holds: Resources,
    ) -> [u64; MAX_STRATEGIES] {
        let mut ranks = [0; MAX_STRATEGIES];
        for (rank, strategy) in ranks.iter_mut().zip(&self.strategies) {
            *rank = strategy.rank_to_stop(board, host, task, holds);
        }
        ranks
    }
}
