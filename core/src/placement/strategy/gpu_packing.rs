//! `berth:gpu-packing`: on GPUs that others share before idle ones, on hosts of which a GPU is in use before others, and there where the
//! fewest idle GPUs are used up. A service that shrinks gives up the task that leaves most free on its host. The policy "GpuPacking" of
//! Weng et al. (USENIX ATC 2023). Pure.

use super::best_fit::rank_by_room;
use super::{Arrival, Dependence, Strategy};
use crate::model::TaskId;
use crate::placement::board::{Board, HostIndex};
use crate::placement::gpus::{GpuNeed, WHOLE_GPU};
use crate::placement::problem::Holding;

/// A hundredth of a GPU times ten: shares that are in use are told apart so far.
const STEP: u16 = WHOLE_GPU / 10;

/// Ranks of hosts where idle GPUs are used up begin here, after those of hosts where a share is.
const USES_IDLE_GPUS: u64 = 1_000;

/// Ranks of hosts of which no GPU is in use begin here.
const IDLE_HOST: u64 = 2_000;

/// See the module.
pub(super) struct GpuPacking;

impl Strategy for GpuPacking {
    fn rank_to_place(&self, board: &Board, host: HostIndex, arrival: Arrival<'_>) -> u64 {
        let (free, need) = (&board.all_free(host).gpus, arrival.shape.gpu);
        let idle = free.idle();
        if need == GpuNeed::None {
            return 0;
        }
        if idle == free.shares().len() {
            return IDLE_HOST + idle as u64;
        }
        let taken = free.best_fit(need);
        let of_idle = taken
            .iter()
            .filter(|device| free.shares()[*device] == WHOLE_GPU)
            .count();
        if of_idle > 0 {
            return USES_IDLE_GPUS + of_idle as u64;
        }
        taken.iter().map(|device| u64::from(free.shares()[device] / STEP)).sum()
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        rank_by_room(board, host, holds)
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Shape
    }
}
