//! `berth:gpu-clustering`: beside tasks that need as many GPUs, best where there are no others; then on hosts where no task holds a GPU; and
//! among those alike where the least of the GPUs is left. A service that shrinks gives up the task that leaves most free on its
//! host. The policy "GpuClustering" of Weng et al. (USENIX ATC 2023). Pure.

use super::best_fit::rank_by_room;
use super::{Arrival, Dependence, Strategy};
use crate::model::TaskId;
use crate::placement::board::{Board, HostIndex};
use crate::placement::problem::Holding;

/// More than what is free of the GPUs of any host.
const NEXT_CLASS: u64 = 1 << 32;

/// See the module.
pub(super) struct GpuClustering;

impl Strategy for GpuClustering {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        let Some(kind) = arrival.shape.gpu.kind() else {
            return 0;
        };
        let there = board.gpu_tasks(host);
        let class = match (there.contains_key(&kind), there.len()) {
            (true, 1) => 0,
            (true, _) => 1,
            (false, 0) => 2,
            (false, _) => 3,
        };
        class * NEXT_CLASS + u64::from(board.all_free(host).gpus.total())
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        rank_by_room(board, host, holds)
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Shape
    }
}
