//! What there is to plan, as plain data. Pure.

use std::fmt;

use crate::model::{ContainerInstanceId, TaskId};
use crate::placement::{GpuSet, Host, TaskRequest};
use crate::reconcile::Unready;

/// Hosts of one cluster with the tasks on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebalanceProblem {
    /// The hosts, each once, in any order. What their tasks hold is not free of them.
    pub hosts: Vec<Host>,
    /// All tasks on these hosts that are not over, in any order.
    pub tasks: Vec<PlacedTask>,
}

impl RebalanceProblem {
    /// The same with hosts and tasks in the order of their ids, and without tasks on hosts that are not there.
    pub(super) fn in_order(&self) -> Self {
        let mut problem = self.clone();
        problem.hosts.sort_by_key(|host| host.id);
        let hosts = &problem.hosts;
        let is_there = |task: &PlacedTask| hosts.binary_search_by_key(&task.host, |host| host.id).is_ok();
        problem.tasks.retain(is_there);
        problem.tasks.sort_by_key(|task| task.held.id);
        problem
    }
}

/// A task with its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedTask {
    /// What it holds of its host, as the request by which it came there.
    pub held: TaskRequest,
    /// The GPUs of its host that it holds something of.
    pub gpus: GpuSet,
    /// Its host.
    pub host: ContainerInstanceId,
    /// What its replacement asks for; the id does not matter.
    pub replacement: TaskRequest,
    /// Why it stays where it is; `None` if it may be moved.
    pub stays: Option<Stays>,
}

impl PlacedTask {
    /// A task that may be moved, and asks for the same elsewhere.
    #[must_use]
    pub fn new(request: TaskRequest, host: ContainerInstanceId, gpus: GpuSet) -> Self {
        Self {
            held: request.clone(),
            gpus,
            host,
            replacement: request,
            stays: None,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.held.id
    }

    /// Whether its host counts as empty if nothing else is there.
    #[must_use]
    pub fn is_no_obstacle(&self) -> bool {
        matches!(self.stays, Some(Stays::Ending | Stays::Service(Unready::Daemon)))
    }
}

/// Why a task is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// It was run by itself, so that nobody would replace it.
    Standalone,
    /// It does not run yet, or not for long.
    Starting,
    /// It has been told to stop.
    Ending,
    /// It is protected from being stopped.
    Protected,
    /// Other services were named.
    NotAsked,
    /// No task of its service is moved now.
    Service(Unready),
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone => f.write_str("it is no service's, so that nothing would replace it"),
            Self::Starting => f.write_str("it does not run yet, or not for long"),
            Self::Ending => f.write_str("it is about to stop"),
            Self::Protected => f.write_str("it is protected from being stopped"),
            Self::NotAsked => f.write_str("its service was not named"),
            Self::Service(why) => why.fmt(f),
        }
    }
}
