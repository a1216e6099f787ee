//! `random`: any host that fits, by the seed, and any of its GPUs. The draw is made of the seed, the task and the host, so that neither the
//! order of hosts nor that of requests changes it. Pure.

use super::{Arrival, Dependence, Strategy};
use crate::model::{ContainerInstanceId, TaskId};
use crate::placement::board::{Board, HostIndex};
use crate::placement::gpus::{GpuNeed, GpuSet};
use crate::placement::problem::Holding;

/// See the module.
pub(super) struct Random;

impl Strategy for Random {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        board.seed().draw(arrival.task, board.id(host))
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, task: TaskId, _: &Holding) -> u64 {
        board.seed().draw(task, board.id(host))
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Task
    }

    /// Any device that has the share; whole ones are all the same.
    fn choose_gpus(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> Option<GpuSet> {
        let GpuNeed::Share(share) = arrival.shape.gpu else {
            return None;
        };
        let draw = |device: &usize| board.seed().draw(arrival.task, ContainerInstanceId(*device as u128));
        let fitting = board.all_free(host).gpus.fitting(share);
        fitting.min_by_key(draw).map(|device| GpuSet::from_iter([device]))
    }
}
