//! What agents and controllers say to each other: the messages of `proto/berth/v1/agent.proto` as values. Pure.

use berth_core::model::{ContainerInstanceId, DesiredStatus, LogPosition, TaskId, TaskReport};

/// One session of an agent with a controller.
pub(crate) type SessionId = u64;

/// An agent, by its place among all.
pub(crate) type AgentNumber = usize;

/// What an agent says.
#[derive(Clone, Debug)]
pub(crate) enum ToController {
    /// The first message of a session.
    Register {
        /// What the agent has been since its process began.
        previous: Option<ContainerInstanceId>,
    },
    Heartbeat,
    Reports {
        sequence: u64,
        reports: Vec<TaskReport>,
    },
}

/// What a controller says.
#[derive(Clone, Debug)]
pub(crate) enum ToAgent {
    Registered {
        host: ContainerInstanceId,
        position: LogPosition,
    },
    /// Not here; perhaps there.
    Refused {
        leader: Option<u64>,
    },
    Assignments(Assignments),
    Recorded {
        sequence: u64,
    },
    HeartbeatHeard,
}

/// What a host is to run: all of it, or what changed.
#[derive(Clone, Debug)]
pub(crate) struct Assignments {
    pub(crate) position: LogPosition,
    pub(crate) full: bool,
    pub(crate) tasks: Vec<AssignedTask>,
    pub(crate) removed: Vec<TaskId>,
}

#[derive(Clone, Debug)]
pub(crate) struct AssignedTask {
    pub(crate) task: TaskId,
    pub(crate) desired: DesiredStatus,
    /// Whether the controllers know it to be over: then there is nothing to begin.
    pub(crate) over: bool,
    /// Whether the host has begun with it before.
    pub(crate) begun: bool,
}
