//! How far hosts are from taking a task, so that the closest are told of: [`Gap`], which several may have, and [`Distance`], which none shares. Pure.

use super::plan::RefusedHost;
use super::refusal::Refusal;
use crate::model::ContainerInstanceId;

/// What stands between a host and a task, as numbers; the least is the closest match. Fields in order of importance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gap {
    /// Whether the request's own expressions or its capacity provider rule the host out.
    excluded: bool,
    /// Whether it takes no task at all now.
    unavailable: bool,
    refusals: u32,
    /// CPU units, MiB and thousandths of GPUs together: near enough to tell a close miss from a far one.
    short_by: u64,
}

impl Gap {
    /// That of a host that takes the task.
    pub(super) const NONE: Self = Self {
        excluded: false,
        unavailable: false,
        refusals: 0,
        short_by: 0,
    };

    /// That of one refusal of a host that is none of those that may take the task.
    pub(super) const EXCLUDED: Self = Self {
        excluded: true,
        refusals: 1,
        ..Self::NONE
    };

    /// That of the refusal of a host that takes no task now.
    pub(super) const UNAVAILABLE: Self = Self {
        unavailable: true,
        refusals: 1,
        ..Self::NONE
    };

    /// That of one refusal of a host that lacks so much.
    pub(super) fn short_by(amount: u32) -> Self {
        Self {
            refusals: 1,
            short_by: u64::from(amount),
            ..Self::NONE
        }
    }

    /// That of one refusal.
    pub(super) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotActive(_)
            | Refusal::AgentDisconnected
            | Refusal::Asleep
            | Refusal::Waking
            | Refusal::MakesRoom(_)
            | Refusal::MissesDaemon(_) => Self::UNAVAILABLE,
            Refusal::CapacityProvider { .. }
            | Refusal::Attribute { .. }
            | Refusal::MemberOf { .. }
            | Refusal::UnreadableExpression { .. }
            | Refusal::GpuModel { .. } => Self::EXCLUDED,
            Refusal::Cpu(shortage) | Refusal::Memory(shortage) => Self::short_by(shortage.short_by()),
            Refusal::Gpu(shortage) => Self::short_by(shortage.short_by()),
            Refusal::Ports(_) | Refusal::ForeignPorts(_) | Refusal::DistinctInstance { .. } => Self::short_by(0),
        }
    }

    /// That of both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            excluded: self.excluded | other.excluded,
            unavailable: self.unavailable | other.unavailable,
            refusals: self.refusals + other.refusals,
            short_by: self.short_by + other.short_by,
        }
    }
}

/// How far a host is from taking a task; the least is the closest match.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Distance {
    gap: Gap,
    host: ContainerInstanceId,
}

impl Distance {
    pub(super) fn of(refused: &RefusedHost) -> Self {
        let gaps = refused.refusals.iter().map(Gap::of);
        Self {
            gap: gaps.fold(Gap::NONE, Gap::and),
            host: refused.host,
        }
    }
}
