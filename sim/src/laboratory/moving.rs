//! Hosts made free every so often by moving tasks off them, by the plans that controllers make: what that brings to tasks that come and go. Pure.

use std::collections::BTreeMap;

use berth_core::model::{ContainerInstanceId, RebalanceGoal, TaskId};
use berth_core::placement::{GpuSet, Host, HostState, TaskRequest};
use berth_core::rebalance::{PlacedTask, Plan, RebalanceProblem, plan};

/// How often tasks are moved, and how many each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Seconds from one time to the next.
    pub every_s: u64,
    /// Moves each time, at most.
    pub max_moves: usize,
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Tasks that went to another host.
    pub moves: usize,
    /// Hosts that had no task after moves and had some before.
    pub hosts_freed: usize,
}

/// Running tasks, by their numbers, with their hosts and the GPUs that they hold there.
pub(super) type Running = BTreeMap<usize, (ContainerInstanceId, GpuSet)>;

/// The moves that make the most hosts free now. `hosts` are idle, and `states` are the same as they are now, in the same order.
pub(super) fn defragment(
    hosts: &[Host],
    states: impl Iterator<Item = HostState>,
    running: &Running,
    requests: &[TaskRequest],
    max_moves: usize,
) -> Plan {
    let in_use = hosts.iter().zip(states).map(|(host, state)| {
        let mut host = host.clone();
        host.free = state.free;
        host.running_tasks = state.tasks;
        for (device, free) in host.gpus.devices.iter_mut().zip(state.free_gpus) {
            device.free = free;
        }
        (host.id, host)
    });
    let mut in_use: BTreeMap<ContainerInstanceId, Host> = in_use.collect();
    let mut tasks = vec![];
    for (task, (id, gpus)) in running {
        let request = requests[*task].clone();
        let host = in_use.get_mut(id).expect("a task runs on a host of the workload");
        *host.tasks_by_group.entry(request.group.clone()).or_default() += 1;
        if let Some(kind) = request.shape.gpu.kind() {
            *host.gpus.tasks.entry(kind).or_default() += 1;
        }
        tasks.push(PlacedTask::new(request, *id, *gpus));
    }
    let problem = RebalanceProblem {
        hosts: in_use.into_values().collect(),
        tasks,
    };
    plan(&problem, RebalanceGoal::Defragment, max_moves)
}

/// The number of a task that has this id.
pub(super) fn number_of(task: TaskId) -> usize {
    usize::try_from(task.0).expect("ids of the laboratory's tasks are their numbers")
}
