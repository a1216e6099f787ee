//! Reasons to refuse a host, one file each. Pure.

mod agent;
mod capacity_provider;
mod cpu;
mod distinct_instance;
mod gpu;
mod member_of;
mod memory;
mod ports;

use super::board::{Board, HostIndex};
use super::need::Need;
use super::problem::Host;
use super::refusal::Refusal;

/// Says which hosts cannot or may not take a task, and why.
///
/// A filter looks at the board alone, so it sees what the plan has reserved so far, and at one host at a time. Its answer
/// for a host may only change when the board changes for that host: planning relies on it.
pub(super) trait Filter: Sync {
    /// Why the host does not take the task; `None` if this filter has nothing against it.
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal>;

    /// Whether it has something against the host: the same without the words, for those filters that take long to find them.
    fn refuses(&self, board: &Board, need: &Need, host: HostIndex) -> bool {
        self.refusal(board, need, host).is_some()
    }
}

/// The filters, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterKind {
    /// The host takes tasks, and its agent is there to start them.
    Agent,
    /// The host is in the pool of the capacity provider that the task was given to.
    CapacityProvider,
    /// Enough CPU units are free.
    Cpu,
    /// Enough memory is free.
    Memory,
    /// The ports are free.
    Ports,
    /// The GPUs are free, and of a model that the task may run on.
    Gpu,
    /// `distinctInstance` holds.
    DistinctInstance,
    /// Every `memberOf` holds.
    MemberOf,
}

impl FilterKind {
    /// All of them, in the order in which they are asked: ECS's, what fits before what is allowed.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::CapacityProvider,
        Self::Cpu,
        Self::Memory,
        Self::Ports,
        Self::Gpu,
        Self::DistinctInstance,
        Self::MemberOf,
    ];

    /// What it is written as in the records of placements: never another's, so that records stay readable.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Agent => 0,
            Self::Cpu => 1,
            Self::Memory => 2,
            Self::Ports => 3,
            Self::DistinctInstance => 4,
            Self::MemberOf => 5,
            Self::Gpu => 6,
            Self::CapacityProvider => 7,
        }
    }

    /// The filter that is written so.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// What it looks at, in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::CapacityProvider => "capacityProvider",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Ports => "ports",
            Self::Gpu => "gpu",
            Self::DistinctInstance => "distinctInstance",
            Self::MemberOf => "memberOf",
        }
    }

    fn filter(self) -> &'static dyn Filter {
        match self {
            Self::Agent => &agent::Agent,
            Self::CapacityProvider => &capacity_provider::CapacityProvider,
            Self::Cpu => &cpu::Cpu,
            Self::Memory => &memory::Memory,
            Self::Ports => &ports::Ports,
            Self::Gpu => &gpu::Gpu,
            Self::DistinctInstance => &distinct_instance::DistinctInstance,
            Self::MemberOf => &member_of::MemberOf,
        }
    }
}

/// Whether the host takes tasks at all, whichever.
pub(super) fn is_available(host: &Host) -> bool {
    unavailability(host).is_none()
}

/// Why the host takes no task, whichever; `None` if it takes some.
pub(super) fn unavailability(host: &Host) -> Option<Refusal> {
    agent::reason(host)
}

/// The first filter that refuses the host; `None` if the host may take the task.
pub(super) fn stopped_by(board: &Board, need: &Need, host: HostIndex) -> Option<FilterKind> {
    FilterKind::ALL
        .into_iter()
        .find(|kind| kind.filter().refuses(board, need, host))
}

/// Whether one of these filters refuses the host.
pub(super) fn is_refused_by(filters: &[FilterKind], board: &Board, need: &Need, host: HostIndex) -> bool {
    filters.iter().any(|kind| kind.filter().refuses(board, need, host))
}

/// Why one filter refuses the host; `None` if it does not.
pub(super) fn refusal_by(kind: FilterKind, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
    kind.filter().refusal(board, need, host)
}

/// Everything that stands against the host, in the order of the filters.
pub(super) fn refusals(board: &Board, need: &Need, host: HostIndex) -> Vec<Refusal> {
    FilterKind::ALL
        .into_iter()
        .filter_map(|kind| kind.filter().refusal(board, need, host))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_kinds_are_listed_in_their_own_order() {
        for (position, kind) in FilterKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position, "the funnel counts by position");
        }
    }
}
