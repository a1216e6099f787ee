//! `random`: any host that fits, by the seed. The draw is made of the seed, the task and the host, so that neither the
//! order of hosts nor that of requests changes it. Pure.

use super::Strategy;
use crate::model::{Resources, TaskId};
use crate::placement::board::{Board, HostIndex};
use crate::placement::seed::Seed;

/// See the module.
pub(super) struct Random {
    pub(super) seed: Seed,
}

impl Strategy for Random {
    fn rank_to_place(&self, board: &Board<'_>, host: HostIndex, task: TaskId) -> u64 {
        self.seed.draw(task, board.host(host).id)
    }

    fn rank_to_stop(&self, board: &Board<'_>, host: HostIndex, task: TaskId, _: Resources) -> u64 {
        self.seed.draw(task, board.host(host).id)
    }

    fn draws(&self) -> bool {
        true
    }
}
