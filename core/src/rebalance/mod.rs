//! Which tasks to move where, so that zones are even or hosts are free: the fewest moves for what they bring. Pure.
//!
//! [`plan`] works on plain data, as placement does: hosts, and tasks with the hosts that they are on. Whether a host takes a task is what placement's
//! own filters say, with all that was moved before; a replacement is there before the task that it replaces is gone.
//!
//! - `problem.rs`: what there is to plan, and why tasks stay.
//! - `ground.rs`: the hosts while tasks are moved to and fro.
//! - `zones.rs`: services even over availability zones; `defragment.rs`: whole hosts without tasks.
//! - `search.rs`: all ways to empty hosts, where there are few.
//! - `measure.rs`: what moves are to make better, before and after.
//! - `outcome.rs`: the answer, with the why of each move and of what is not moved.
//! - `from_state.rs`: problems taken from the replicated state, and what room there is before and after.

mod defragment;
mod from_state;
mod ground;
mod measure;
mod outcome;
mod problem;
mod search;
#[cfg(test)]
mod tests;
mod zones;

pub use from_state::{Proposal, Wish, moves, propose};
pub(crate) use measure::skew;
pub use measure::{Measure, Spread};
pub use outcome::{Asked, Move, Obstacle, Plan, Stuck, Why};
pub use problem::{PlacedTask, RebalanceProblem, Stays};

use crate::model::RebalanceGoal;
use ground::Ground;

/// The moves that reach the goal, as far as room and `max_moves` allow: none that brings nothing.
///
/// Equal problems give equal plans; the order of hosts and tasks does not matter. For zones, no service could come as far with fewer moves as long as
/// there is room. For hosts, no other choice of tasks that each move once, off hosts that are emptied, would free more hosts, or as many
/// with fewer moves, where few tasks are concerned (all ways are tried); where many are, hosts with few tasks are emptied first.
///
/// # Panics
/// If a host is given twice.
#[must_use]
pub fn plan(problem: &RebalanceProblem, goal: RebalanceGoal, max_moves: usize) -> Plan {
    let problem = problem.in_order();
    let mut ground = Ground::new(&problem);
    let before = ground.measure();
    let (moves, stuck) = match goal {
        RebalanceGoal::Zones => zones::plan(&mut ground, max_moves),
        RebalanceGoal::Defragment => defragment::plan(&mut ground, max_moves),
    };
    Plan {
        moves,
        before,
        after: ground.measure(),
        stuck,
    }
}
