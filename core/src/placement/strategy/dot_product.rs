//! `berth:dot-product`: the host of which the free resources, as a vector, have the least product with what the task needs, so that what is plentiful
//! where the task needs little of it is kept. A service that shrinks gives up the task that leaves most free on its host. The policy
//! "DotProd" of Weng et al. (USENIX ATC 2023): hosts within a hundredth of the scale are equal, and the first of them is taken. Pure.

use super::best_fit::rank_by_room;
use super::weighed::{self, WHOLE};
use super::{Arrival, Dependence, Strategy};
use crate::model::TaskId;
use crate::placement::board::{Board, HostIndex};
use crate::placement::problem::Holding;

/// What a host has that has as much free of each resource as the largest, for a task that needs all of it.
const POINTS: u64 = 100;

/// See the module.
pub(super) struct DotProduct;

impl Strategy for DotProduct {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        let free = weighed::of_free(board, board.all_free(host));
        let needs = weighed::of_shape(board, arrival.shape);
        let product: u64 = free.iter().zip(needs).map(|(free, needs)| free * needs).sum();
        (product * POINTS / 2).div_ceil(WHOLE * WHOLE)
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        rank_by_room(board, host, holds)
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Shape
    }
}
