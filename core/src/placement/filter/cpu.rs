//! The CPU units that a task reserves must be free (ECS: `RESOURCE:CPU`). Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::{Refusal, Shortage};

/// See the module.
pub(super) struct Cpu;

impl Filter for Cpu {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let (needs, free) = (need.shape.resources.cpu.0, board.free(host).cpu.0);
        (needs > free).then(|| {
            Refusal::Cpu(Shortage {
                needs,
                free,
                registered: board.host(host).registered.cpu.0,
            })
        })
    }
}
