//! Amounts of several resources made comparable: each as a part of what the largest host has. Counted are CPU and GPUs, as the published
//! policies count them, and memory in place of GPUs where no host has any. Pure.

use crate::placement::board::{Board, Free};
use crate::placement::problem::Shape;

/// All that the largest host has of a resource.
pub(super) const WHOLE: u64 = 1 << 20;

/// Of CPU, and of the other resource that counts.
pub(super) type Parts = [u64; 2];

pub(super) fn of_free(board: &Board, free: &Free) -> Parts {
    parts(board, free.resources.cpu.0, free.resources.memory.0, free.gpus.total())
}

pub(super) fn of_shape(board: &Board, shape: &Shape) -> Parts {
    parts(
        board,
        shape.resources.cpu.0,
        shape.resources.memory.0,
        shape.gpu.total(),
    )
}

fn parts(board: &Board, cpu: u32, memory: u32, gpu: u32) -> Parts {
    let largest = board.largest();
    let other = match largest.gpu {
        0 => part(memory, largest.memory),
        all => part(gpu, all),
    };
    [part(cpu, largest.cpu), other]
}

fn part(amount: u32, all: u32) -> u64 {
    // Where the largest host has none of it, nothing is.
    u64::from(amount) * WHOLE / u64::from(all.max(1))
}
