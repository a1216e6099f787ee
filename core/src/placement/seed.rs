//! Randomness as a value: what a seed gives depends on what is asked of it, never on the order of asking. Pure.

use crate::model::{ContainerInstanceId, TaskId};

/// Source of all that is random in a plan; equal seeds give equal plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl Seed {
    /// A number for a task and a host, as good as random.
    #[expect(clippy::cast_possible_truncation, reason = "each half of an id is taken in its turn")]
    pub(super) fn draw(self, task: TaskId, host: ContainerInstanceId) -> u64 {
        [task.0, host.0]
            .into_iter()
            .flat_map(|id| [id as u64, (id >> 64) as u64])
            .fold(self.0, |state, part| mix(state ^ part))
    }
}

/// SplitMix64's step: adds a constant and spreads every bit over the whole.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_gives_each_host_about_the_same_share_of_tasks() {
        let mut chosen = [0u32; 4];
        for task in 0..4000 {
            let draw = |host: &usize| Seed(9).draw(TaskId(task), ContainerInstanceId(*host as u128));
            chosen[(0..4).min_by_key(draw).expect("four hosts")] += 1;
        }
        assert!(chosen.iter().all(|n| (850..1150).contains(n)), "{chosen:?}");
    }
}
