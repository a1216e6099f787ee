//! Rebalancing: tasks of services that are to be moved to other hosts, one replacement after the other.

use serde::{Deserialize, Serialize};

use super::{ClusterKey, ContainerInstanceId, ServiceName, TaskId, Timestamp};

/// What moving tasks is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RebalanceGoal {
    /// The tasks of each service are even over the availability zones.
    Zones,
    /// As many hosts as possible have no task.
    Defragment,
}

/// The moves of a cluster that are being made, or were made last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebalance {
    /// The cluster.
    pub cluster: ClusterKey,
    /// A UUID.
    pub id: String,
    /// What it is for.
    pub goal: RebalanceGoal,
    /// Tasks of one service that are moved at the same time, at most.
    pub at_a_time: u32,
    /// The moves, which begin in this order.
    pub moves: Vec<TaskMove>,
    /// Hosts that are to be `DRAINING` once their last task has moved.
    pub drain: Vec<ContainerInstanceId>,
    /// Those of them that are.
    pub drained: Vec<ContainerInstanceId>,
    /// No move begins after this moment, and what has not come far is taken back.
    pub deadline: Timestamp,
    /// Whether the deadline was brought forward by somebody who wanted it to stop.
    pub stopped: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When the last of its moves was made or dropped.
    pub ended_at: Option<Timestamp>,
}

/// A task that is moved: a replacement starts on another host, then the task stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskMove {
    /// The task.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceName,
    /// Its host.
    pub from: ContainerInstanceId,
    /// The host that its replacement goes to.
    pub to: ContainerInstanceId,
    /// How far it has come.
    pub status: MoveStatus,
}

/// How far a move has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum MoveStatus {
    /// It has not begun.
    Waiting,
    /// The replacement is there; or there is none yet, since the task has to stop before the service may have another.
    Begun {
        /// The replacement.
        replacement: Option<TaskId>,
    },
    /// The task has stopped, and its replacement is on the host that it was to go to.
    Moved {
        /// The replacement.
        replacement: TaskId,
        /// When that was seen.
        at: Timestamp,
    },
    /// It is not made, or not to its end.
    Dropped {
        /// Why, in a sentence.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

impl MoveStatus {
    /// Whether nothing more comes of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Dropped { .. })
    }

    /// Whether it has begun and is not over.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self, Self::Begun { .. })
    }
}

impl Rebalance {
    /// Whether there is something left to do.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.ended_at.is_none()
    }
}
