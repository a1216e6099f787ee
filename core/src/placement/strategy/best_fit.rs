//! `berth:best-fit`: the host with the least left of all resources together. A service that shrinks gives up the task that leaves most free
//! on its host. The policy "BestFit" of Weng et al. (USENIX ATC 2023), which rounds to a hundredth of the largest host. Pure.

use super::{Arrival, Dependence, Strategy, weighed};
use crate::model::TaskId;
use crate::placement::board::{Board, HostIndex};
use crate::placement::problem::{Holding, Shape};

/// See the module.
pub(super) struct BestFit;

/// How much is left, of all resources together.
pub(super) fn left_over(board: &Board, host: HostIndex) -> u64 {
    weighed::of_free(board, board.all_free(host)).iter().sum()
}

/// How much is left at least where the shape fits.
pub(super) fn least_left_over(board: &Board, shape: &Shape) -> u64 {
    weighed::of_shape(board, shape).iter().sum()
}

/// The host with the most left after its task stopped comes first.
pub(super) fn rank_by_room(board: &Board, host: HostIndex, holds: &Holding) -> u64 {
    let left = board.all_free(host).with(holds);
    u64::MAX - weighed::of_free(board, &left).iter().sum::<u64>()
}

impl Strategy for BestFit {
    fn rank_to_place(&self, board: &Board, host: HostIndex, _: Arrival<'_>) -> u64 {
        left_over(board, host)
    }

    fn least_rank(&self, board: &Board, shape: &Shape) -> u64 {
        least_left_over(board, shape)
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        rank_by_room(board, host, holds)
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Host
    }
}
