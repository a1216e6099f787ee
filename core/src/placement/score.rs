//! How good a host is for a task: lower is better. Pure.

use crate::model::ContainerInstanceId;

/// Most strategies that a request may have (ECS's limit; the API refuses more).
pub const MAX_STRATEGIES: usize = 5;

/// Order among hosts that may take a task; the least is chosen. Fields in order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// What each strategy says, in the order given; 0 where there is none.
    pub ranks: [u64; MAX_STRATEGIES],
    /// Where strategies see no difference: the number of tasks on the host, so that the emptier wins; where a strategy
    /// packs, `u32::MAX` less that number, so that a host in use wins over an idle one.
    pub occupancy: u32,
    /// The host.
    pub host: ContainerInstanceId,
}

impl Score {
    /// Tasks on the host, or 0 where they do not matter: they are counted from one end or the other, and no host has half as many as there are
    /// numbers.
    pub(super) fn tasks(&self) -> u32 {
        self.occupancy.min(u32::MAX - self.occupancy)
    }
}
