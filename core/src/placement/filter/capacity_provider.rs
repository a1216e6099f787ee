//! A task that was given to a capacity provider goes to hosts of its pool alone. Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::need::Need;
use crate::placement::refusal::Refusal;

/// See the module.
pub(super) struct CapacityProvider;

impl Filter for CapacityProvider {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let pool = need.pool?;
        self.refuses(board, need, host).then(|| Refusal::CapacityProvider {
            needs: board.pool_name(pool).clone(),
            has: board.host(host).capacity_provider.clone(),
        })
    }

    fn refuses(&self, board: &Board, need: &Need, host: HostIndex) -> bool {
        need.pool.is_some_and(|pool| board.pool(host) != Some(pool))
    }
}
