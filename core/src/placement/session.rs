//! [`Session`]: places tasks one after the other and takes them off again, for those who let time pass between. It decides as
//! [`super::place`] does. Pure.

use std::sync::Arc;

use super::board::{Board, HostIndex};
use super::filter;
use super::fragmentation::TypicalTasks;
use super::gpus::GpuSet;
use super::plan::Placement;
use super::planner::Planner;
use super::problem::{Host, TaskRequest};
use super::refusal::Refusal;
use super::seed::Seed;
use crate::model::{ContainerInstanceId, Resources};

/// See the module.
pub struct Session {
    planner: Planner,
    /// By the order of their ids.
    hosts: Vec<HostIndex>,
}

/// What is free on a host in a [`Session`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// The host.
    pub id: ContainerInstanceId,
    /// CPU and memory.
    pub free: Resources,
    /// What is free of each GPU, in thousandths.
    pub free_gpus: Vec<u16>,
    /// Tasks on it.
    pub tasks: u32,
}

impl Session {
    /// Begins with these hosts as they are. `typical` is what strategies that keep hosts fit for tasks to come expect of them.
    ///
    /// # Panics
    /// If a host is given twice.
    #[must_use]
    pub fn new(hosts: &[Host], typical: TypicalTasks, seed: Seed) -> Self {
        let planner = Planner::new(hosts.iter().cloned().map(Arc::new), typical, seed);
        Self {
            hosts: planner.board().indices().collect(),
            planner,
        }
    }

    /// Leaves out of placements how many hosts passed which filter, and which was the next best.
    #[must_use]
    pub fn without_explanations(mut self) -> Self {
        self.planner = self.planner.without_explanations();
        self
    }

    /// Puts a task on the host that is best for it; `None` if none has room.
    pub fn place(&mut self, request: &TaskRequest) -> Option<Placement> {
        self.planner.decide_alone(request)
    }

    /// Takes a task off the host where this request put it, and gives back what it took.
    ///
    /// # Panics
    /// If the host is none of the session's.
    pub fn take_off(&mut self, request: &TaskRequest, host: ContainerInstanceId, gpus: GpuSet) {
        self.planner.take_off(request, host, gpus);
    }

    /// Whether a host takes the task now. Hosts that the request is restricted to do not matter.
    ///
    /// # Panics
    /// If the host is none of the session's.
    pub fn takes(&mut self, request: &TaskRequest, host: ContainerInstanceId) -> bool {
        let (need, board) = self.planner.need_of(request);
        let host = board.index_of(host).expect("the host is one of the session's");
        filter::stopped_by(board, need, host).is_none()
    }

    /// Everything that stands against the task on a host now.
    ///
    /// # Panics
    /// If the host is none of the session's.
    pub fn refusals(&mut self, request: &TaskRequest, host: ContainerInstanceId) -> Vec<Refusal> {
        let (need, board) = self.planner.need_of(request);
        let host = board.index_of(host).expect("the host is one of the session's");
        filter::refusals(board, need, host)
    }

    /// Puts a task back on the host that it was taken off, whatever the host says to new ones.
    ///
    /// # Panics
    /// If the host is none of the session's, or has less room than then.
    pub fn put_back(&mut self, request: &TaskRequest, host: ContainerInstanceId, gpus: GpuSet) {
        self.planner.put_back(request, host, gpus);
    }

    /// A host as it is now.
    ///
    /// # Panics
    /// If the host is none of the session's.
    #[must_use]
    pub fn host(&self, host: ContainerInstanceId) -> HostState {
        let board = self.planner.board();
        state_of(board, board.index_of(host).expect("the host is one of the session's"))
    }

    /// The hosts as they are now, in the order of their ids.
    pub fn hosts(&self) -> impl Iterator<Item = HostState> {
        let board = self.planner.board();
        self.hosts.iter().map(|host| state_of(board, *host))
    }

    /// How much of what is free of all GPUs is of no use to typical tasks, in thousandths of a GPU.
    pub fn fragments(&mut self) -> u64 {
        let board = self.planner.board_mut();
        let weight = board.watch_fragmentation().weight().max(1);
        self.hosts.iter().map(|host| board.fragments(*host)).sum::<u64>() / weight
    }
}

fn state_of(board: &Board, host: HostIndex) -> HostState {
    HostState {
        id: board.id(host),
        free: board.free(host),
        free_gpus: board.all_free(host).gpus.shares().to_vec(),
        tasks: board.tasks(host),
    }
}
