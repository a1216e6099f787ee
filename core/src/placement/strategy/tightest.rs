//! `berth:tightest`, Berth's own for hosts that are to be filled. First, for a share of a GPU, a host with a GPU that it fills up; then as
//! `berth:fragmentation`, so that GPUs stay fit for typical tasks; where that sees no difference, a host of which a GPU is in use before others, and
//! then one that has little left, in the proportion in which the task needs it, so that no resource is stranded for want of another. Without GPUs
//! it is best fit by CPU and memory, which depends on the host alone and is found fast among many. A service that shrinks gives up the task that
//! leaves most free on its host, among those that fragment alike. On the trace of Weng et al. it leaves less idle than any of the policies
//! that they compare: `docs/laboratory.md` has the figures. Pure.

use super::best_fit::{least_left_over, left_over, rank_by_room};
use super::fragmentation::Fragmentation;
use super::{Arrival, Dependence, Strategy, weighed};
use crate::model::TaskId;
use crate::placement::board::{Board, HostIndex};
use crate::placement::gpus::{GpuNeed, GpuSet};
use crate::placement::problem::{Holding, Shape};

/// How many times more it counts that free resources are not in the proportion of the needs than that some are left: more, and little tasks scatter; less, and
/// CPU and GPUs are stranded. Measured on the trace and on sets that are drawn.
const PROPORTION: u64 = 5;

/// Bits of a rank that hold how a host's resources fit. Above them stand whether all GPUs are idle, the missing points, and whether no GPU is filled up.
const FIT_BITS: u32 = 32;

/// Bits of a rank that hold the missing points.
const POINT_BITS: u32 = 8;

/// What may be left, in thousandths, of a GPU that counts as filled up.
const NEARLY_NOTHING: u16 = 60;

/// See the module.
pub(super) struct Tightest {
    fragmentation: Fragmentation,
    /// Whether any host has GPUs: without, nothing is fragmented.
    gpus: bool,
}

impl Tightest {
    pub(super) fn new(board: &mut Board) -> Self {
        Self {
            fragmentation: Fragmentation::new(board),
            gpus: board.largest().gpu > 0,
        }
    }
}

/// How badly the host's free resources fit the task.
fn misfit(board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
    let free = weighed::of_free(board, board.all_free(host));
    let needs = weighed::of_shape(board, arrival.shape);
    let left: u64 = free
        .iter()
        .zip(needs)
        .map(|(free, needs)| free.saturating_sub(needs))
        .sum();
    left + PROPORTION * weighed::unlike(free, needs)
}

/// The device that the share of a GPU fills up, if there is one.
fn filled_up(board: &Board, host: HostIndex, need: GpuNeed) -> Option<GpuSet> {
    let GpuNeed::Share(share) = need else {
        return None;
    };
    let gpus = &board.all_free(host).gpus;
    let tightest = gpus.fitting(share).min_by_key(|device| gpus.shares()[*device])?;
    let is_filled = gpus.shares()[tightest] - share <= NEARLY_NOTHING;
    is_filled.then(|| GpuSet::from_iter([tightest]))
}

impl Strategy for Tightest {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        if !self.gpus {
            return left_over(board, host);
        }
        let gpus = &board.all_free(host).gpus;
        let all_idle = u64::from(gpus.idle() == gpus.shares().len());
        let missing = self.fragmentation.missing_to_place(board, host, arrival);
        let fills_none = u64::from(filled_up(board, host, arrival.shape.gpu).is_none());
        let ranks = (fills_none << POINT_BITS | missing) << 1 | all_idle;
        ranks << FIT_BITS | misfit(board, host, arrival)
    }

    fn least_rank(&self, board: &Board, shape: &Shape) -> u64 {
        if self.gpus { 0 } else { least_left_over(board, shape) }
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        let missing = self.fragmentation.missing_to_stop(board, host, holds);
        let most_room = rank_by_room(board, host, holds) & u64::from(u32::MAX);
        missing << FIT_BITS | most_room
    }

    fn choose_gpus(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> Option<GpuSet> {
        let filled = filled_up(board, host, arrival.shape.gpu);
        Some(filled.unwrap_or_else(|| self.fragmentation.devices(board, host, arrival)))
    }

    fn depends_on(&self) -> Dependence {
        if self.gpus { Dependence::Shape } else { Dependence::Host }
    }
}
