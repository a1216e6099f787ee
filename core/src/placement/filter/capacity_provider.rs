//! A task that was given to a capacity provider goes to hosts of its pool alone. Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::planner::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct CapacityProvider;

impl Filter for CapacityProvider {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let pool = need.pool?;
        (board.pool(host) != Some(pool)).then(|| Refusal::CapacityProvider {
            needs: board.pool_name(pool).clone(),
            has: board.host(host).capacity_provider.clone(),
        })
    }
}
