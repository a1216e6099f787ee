//! [`Need`]: what a planner knows of requests of one kind. Pure.

use std::sync::Arc;

use super::board::{AllowedModels, Board, ExpressionIndex, HostIndex, PoolIndex};
use super::groups::GroupIndex;
use super::order::Room;
use super::plan::Unplaced;
use super::problem::{Ask, Shape, TaskRequest};
use super::score::Score;
use super::strategy::{Arrival, Ranking};
use crate::model::{PlacementConstraint, Ports, is_group_of_daemon};

/// What requests of one kind need: everything but their id and the hosts they are restricted to.
pub(super) struct Need {
    pub(super) group: GroupIndex,
    pub(super) shape: Shape,
    pub(super) gpu_models: AllowedModels,
    pub(super) host_ports: Ports,
    /// The pool of the only hosts that they may go to, if they may not go to any.
    pub(super) pool: Option<PoolIndex>,
    pub(super) distinct_instance: bool,
    pub(super) member_of: Vec<ExpressionIndex>,
    pub(super) ranking: Ranking,
    /// What they ask for.
    pub(super) like: Arc<Ask>,
    /// What the last request of the kind got that found no host, and when.
    pub(super) unplaced: Option<(Moment, Arc<Unplaced>)>,
    /// How much room had been made when a request of the kind that may go to any host found none.
    pub(super) found_none_after: Option<usize>,
}

/// A moment in the life of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) revision: usize,
    /// How often room had been made.
    pub(super) releases: usize,
}

impl Need {
    /// The service whose tasks they are, where they are of one.
    pub(super) fn service(&self) -> &str {
        let group = self.like.group.as_str();
        group.strip_prefix("service:").unwrap_or(group)
    }

    /// Whether they are of a managed daemon, whose tasks come before others.
    pub(super) fn is_of_daemon(&self) -> bool {
        is_group_of_daemon(&self.like.group)
    }

    /// What it takes of what is counted for all hosts.
    pub(super) fn room(&self) -> Room {
        Room {
            cpu: self.shape.resources.cpu.0,
            memory: self.shape.resources.memory.0,
        }
    }

    /// The attribute that the expression asks for, where the task's definition needs it.
    pub(super) fn needed_attribute(&self, expression: &str) -> Option<&PlacementConstraint> {
        let mut needed = self.like.constraints.iter();
        needed.find(|c| {
            matches!(c, PlacementConstraint::Attribute { .. }) && c.expression().as_deref() == Some(expression)
        })
    }

    pub(super) fn score(&self, board: &Board, host: HostIndex, request: &TaskRequest) -> Score {
        let arrival = Arrival {
            shape: &self.shape,
            task: request.id,
        };
        self.ranking.score(board, host, arrival)
    }
}

/// Whether the same is asked for.
pub(super) fn is_like(one: &Ask, other: &Ask) -> bool {
    // What tells most others apart is compared first.
    one.shape == other.shape
        && one.group == other.group
        && one.capacity_provider == other.capacity_provider
        && one.host_ports == other.host_ports
        && one.constraints == other.constraints
        && one.strategies == other.strategies
}
