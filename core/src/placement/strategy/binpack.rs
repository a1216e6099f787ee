//! `binpack`: the host with the least left of a resource. A service that shrinks gives up the task that leaves most free
//! on its host, so that the host used least empties first (ECS's rule). Pure.

use super::{Arrival, Dependence, Strategy};
use crate::model::{BinpackResource, Resources, TaskId};
use crate::placement::board::{Board, HostIndex};
use crate::placement::problem::{Holding, Shape};

/// See the module.
pub(super) struct Binpack {
    pub(super) resource: BinpackResource,
}

impl Binpack {
    fn amount(&self, resources: Resources) -> u64 {
        u64::from(match self.resource {
            BinpackResource::Cpu => resources.cpu.0,
            BinpackResource::Memory => resources.memory.0,
        })
    }
}

impl Strategy for Binpack {
    fn rank_to_place(&self, board: &Board, host: HostIndex, _: Arrival<'_>) -> u64 {
        self.amount(board.free(host))
    }

    fn least_rank(&self, _: &Board, shape: &Shape) -> u64 {
        self.amount(shape.resources)
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, holds: &Holding) -> u64 {
        u64::MAX - self.amount(board.free(host)) - self.amount(holds.shape.resources)
    }

    fn depends_on(&self) -> Dependence {
        Dependence::Host
    }
}
