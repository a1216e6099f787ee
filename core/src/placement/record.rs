//! What a task keeps of how its host was chosen. Pure.

use super::filter::FilterKind;
use super::plan::{Funnel, Placement};
use super::problem::TaskRequest;
use super::score::{MAX_STRATEGIES, Score};
use super::seed::Seed;
use crate::model::{Manner, PlacementRecord, RecordedPlacement, RecordedScore};

impl Placement {
    /// The placement as its task keeps it: made of `request`, at this place of a plan with `seed`.
    #[must_use]
    pub fn record(&self, request: &TaskRequest, seed: Seed, manner: Manner, position: usize) -> PlacementRecord {
        let strategies = request.strategies.len().min(MAX_STRATEGIES);
        let score = |score: &Score| RecordedScore {
            ranks: score.ranks[..strategies].to_vec(),
            tasks: score.tasks(),
        };
        PlacementRecord::of(&RecordedPlacement {
            seed: seed.0,
            manner,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            considered: self.funnel.considered,
            refused: refused(&self.funnel),
            chosen: score(&self.score),
            runner_up: self.runner_up.as_ref().map(|second| (second.host, score(second))),
        })
    }
}

/// Hosts that each filter refused, by its code.
fn refused(funnel: &Funnel) -> Vec<(u8, u32)> {
    let mut left = funnel.considered;
    let steps = FilterKind::ALL.into_iter().map(|filter| {
        let before = std::mem::replace(&mut left, funnel.left_after(filter));
        (filter.code(), before - left)
    });
    steps.filter(|(_, refused)| *refused > 0).collect()
}
