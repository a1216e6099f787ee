//! Decisions that a cluster made, from a recording of its log: decided again, and as other strategies would have. Pure.
//!
//! - `judging.rs`: whether the engine still decides as was recorded.
//! - `course.rs`: what happens to the same hosts and tasks under a strategy; `figures.rs`: what is measured of it.
//! - `comparing.rs`: courses beside each other, as a table, CSV and a page.

mod comparing;
mod course;
mod figures;
mod judging;
#[cfg(test)]
mod tests;

pub use comparing::{comparison_columns, comparison_points, comparison_report, comparison_rows};
pub use course::{Course, course};
pub use figures::{Figures, Look};
pub use judging::{Difference, Judgement, judge};

use berth_core::decisions::Scene;
use berth_core::model::Manner;
use berth_core::placement::{FollowedHosts, Outcome, Placement, Seed, TaskRequest};

/// Places tasks on the hosts of a scene, of which what is known is kept.
#[derive(Default)]
struct Engine {
    known: FollowedHosts,
}

impl Engine {
    /// Where each task goes; nothing is put there.
    fn place(&mut self, scene: &Scene, requests: &[TaskRequest], manner: Manner, seed: u64) -> Vec<Option<Placement>> {
        let hosts = scene.hosts().cloned().collect();
        let plan = self.known.place(hosts, requests, manner, Seed(seed));
        let outcomes = plan.decisions.into_iter().map(|decision| match decision.outcome {
            Outcome::Placed(placement) => Some(placement),
            Outcome::Unplaced(_) => None,
        });
        outcomes.collect()
    }
}
