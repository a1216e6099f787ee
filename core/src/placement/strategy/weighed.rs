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

/// How far two amounts are from being in proportion: [`WHOLE`] less the cosine of the angle between them, in parts of [`WHOLE`].
pub(super) fn unlike(one: Parts, other: Parts) -> u64 {
    let product: u128 = one.iter().zip(other).map(|(a, b)| u128::from(*a) * u128::from(b)).sum();
    // With as many bits behind the point as there are before it.
    let length = |parts: Parts| (parts.iter().map(|part| u128::from(*part).pow(2)).sum::<u128>() << 40).isqrt();
    match length(one) * length(other) {
        // What needs nothing is like everything.
        0 => 0,
        lengths => {
            let cosine = (product << 60) / lengths;
            WHOLE.saturating_sub(u64::try_from(cosine).unwrap_or(WHOLE))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_proportion_are_alike_whatever_their_size() {
        assert_eq!(unlike([WHOLE, WHOLE / 2], [2, 1]), 0);
        assert_eq!(unlike([WHOLE, 0], [0, WHOLE]), WHOLE);
        assert_eq!(unlike([WHOLE, 0], [0, 0]), 0);
        let half_a_right_angle = unlike([WHOLE, 0], [5, 5]);
        assert!((307_120..307_130).contains(&half_a_right_angle), "{half_a_right_angle}");
    }
}
