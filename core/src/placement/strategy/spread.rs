//! `spread`: as many tasks of the group for each value of a field as for any other. A service that shrinks gives up a task
//! where there are most (ECS's rule). Pure.
//!
//! Counted are the tasks that are wanted to run, whether or not they do yet. Those on draining hosts are left out: they
//! are about to leave, and what replaces them should level what stays. Hosts that lack the attribute are level with each
//! other, as if they shared a value of their own; so are those that have it without a value.

use super::{Arrival, Count, Dependence, Strategy};
use crate::model::{ContainerInstanceId, TaskId};
use crate::placement::board::{Board, HostIndex};
use crate::placement::groups::{GroupIndex, LevelIndex};
use crate::placement::problem::{Holding, Host};

/// What `spread` levels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpreadField<'a> {
    /// Hosts: `instanceId` or `host`.
    Host,
    /// Values of the attribute of this name.
    Attribute(&'a str),
}

/// A host's value of a field: hosts with equal values are level with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) enum SpreadValue<'p> {
    Host(ContainerInstanceId),
    Missing,
    Attribute(Option<&'p str>),
}

impl<'a> SpreadField<'a> {
    /// Reads a strategy's `field`; `None` where it is no field that can be spread over, which the API refuses.
    #[must_use]
    pub fn parse(field: &'a str) -> Option<Self> {
        match field {
            "instanceId" | "host" => Some(Self::Host),
            _ => field
                .strip_prefix("attribute:")
                .filter(|name| !name.is_empty())
                .map(Self::Attribute),
        }
    }

    pub(in crate::placement) fn value_of<'p>(self, host: &'p Host) -> SpreadValue<'p> {
        match self {
            Self::Host => SpreadValue::Host(host.id),
            Self::Attribute(name) => host
                .attributes
                .get(name)
                .map_or(SpreadValue::Missing, |value| SpreadValue::Attribute(value.as_deref())),
        }
    }
}

/// See the module.
pub(super) enum Spread {
    Hosts(GroupIndex),
    Level(LevelIndex),
    /// The field is none: then no host is better than another.
    Nothing,
}

impl Spread {
    pub(super) fn new(field: &str, group: GroupIndex, board: &mut Board) -> Self {
        match SpreadField::parse(field) {
            Some(SpreadField::Host) => Self::Hosts(group),
            Some(SpreadField::Attribute(name)) => Self::Level(board.watch_level(name, group)),
            None => Self::Nothing,
        }
    }

    fn tasks(&self, board: &Board, host: HostIndex) -> u64 {
        u64::from(match self {
            Self::Hosts(group) => board.tasks_of(*group, host),
            Self::Level(level) => board.tasks_level_with(*level, host),
            Self::Nothing => 0,
        })
    }
}

impl Strategy for Spread {
    fn rank_to_place(&self, board: &Board, host: HostIndex, _: Arrival<'_>) -> u64 {
        self.tasks(board, host)
    }

    fn rank_to_stop(&self, board: &Board, host: HostIndex, _: TaskId, _: &Holding) -> u64 {
        u64::MAX - self.tasks(board, host)
    }

    fn depends_on(&self) -> Dependence {
        match self {
            Self::Hosts(_) | Self::Level(_) => Dependence::Group,
            Self::Nothing => Dependence::Host,
        }
    }

    fn counts(&self) -> Option<Count> {
        match self {
            Self::Hosts(group) => Some(Count::OnHost(*group)),
            Self::Level(level) => Some(Count::Level(*level)),
            Self::Nothing => None,
        }
    }
}
