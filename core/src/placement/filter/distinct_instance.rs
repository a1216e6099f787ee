//! `distinctInstance`: no two tasks of a group on one host. As in ECS, only tasks that are wanted to run count, so that a
//! task may go where another of its group is stopping. Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct DistinctInstance;

impl Filter for DistinctInstance {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let tasks = board.tasks_of(need.group, host);
        (need.distinct_instance && tasks > 0).then_some(Refusal::DistinctInstance { tasks })
    }
}
