//! The memory that a task reserves must be free (ECS: `RESOURCE:MEMORY`). Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::{Refusal, Shortage};

/// See the module.
pub(super) struct Memory;

impl Filter for Memory {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let (needs, free) = (need.shape.resources.memory.0, board.free(host).memory.0);
        (needs > free).then(|| {
            Refusal::Memory(Shortage {
                needs,
                free,
                registered: board.host(host).registered.memory.0,
            })
        })
    }
}
