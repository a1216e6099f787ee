//! What is a state rather than an event, read off when the metrics are asked for. Shell.

use berth_core::model::{ContainerInstanceStatus, ServiceStatus, TaskStatus};
use berth_core::state::ClusterState;
use berth_raft::Role;

use super::metrics::{HostLabels, Metrics, Named, StateGauges, Status, Version};
use crate::replica::StateGroup;

const TASK_STATUSES: [TaskStatus; 8] = [
    TaskStatus::Provisioning,
    TaskStatus::Pending,
    TaskStatus::Activating,
    TaskStatus::Running,
    TaskStatus::Deactivating,
    TaskStatus::Stopping,
    TaskStatus::Deprovisioning,
    TaskStatus::Stopped,
];

const SERVICE_STATUSES: [(ServiceStatus, &str); 3] = [
    (ServiceStatus::Active, "ACTIVE"),
    (ServiceStatus::Draining, "DRAINING"),
    (ServiceStatus::Inactive, "INACTIVE"),
];

const HOST_STATUSES: [ContainerInstanceStatus; 3] = [
    ContainerInstanceStatus::Active,
    ContainerInstanceStatus::Draining,
    ContainerInstanceStatus::Inactive,
];

/// Sets every gauge. The newest view of this member is enough: a metric need not be linearizable, and must not wait.
pub(super) fn take(metrics: &Metrics, group: &StateGroup, sessions: usize) {
    let gauges = &metrics.state;
    read_group(gauges, group);
    read_state(gauges, &group.view().view);
    gauges.agent_sessions.set(sessions as u64);
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
    };
    gauges.build_info.get_or_create(&version).set(1);
    if let Some(bytes) = resident_bytes() {
        gauges.resident_bytes.set(bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauges.open_files.set(open.count() as u64);
    }
}

fn read_group(gauges: &StateGauges, group: &StateGroup) {
    let status = group.status();
    for (role, name) in [
        (Role::Leader, "leader"),
        (Role::Follower, "follower"),
        (Role::Candidate, "candidate"),
    ] {
        let gauge = gauges.raft_role.get_or_create(&Named { role: name });
        gauge.set(u64::from(status.role == role));
    }
    gauges.raft_term.set(status.term);
    gauges.raft_commit_index.set(status.commit);
    gauges.raft_applied_index.set(status.applied);
    gauges.raft_snapshot_index.set(status.snapshot);
    if let Some(bytes) = group.free_bytes() {
        gauges.store_free_bytes.set(bytes);
    }
}

fn read_state(gauges: &StateGauges, state: &ClusterState) {
    for status in HOST_STATUSES {
        for connected in [false, true] {
            let hosts = state.all_container_instances();
            let count = hosts
                .filter(|host| host.status == status && host.agent_connected == connected)
                .count();
            let labels = HostLabels {
                status: status.as_str(),
                connected,
            };
            gauges.hosts.get_or_create(&labels).set(count as u64);
        }
    }
    for (status, name) in SERVICE_STATUSES {
        let count = state.all_services().filter(|service| service.status == status).count();
        gauges
            .services
            .get_or_create(&Status { status: name })
            .set(count as u64);
    }
    let mut counts = [0; TASK_STATUSES.len()];
    for task in state
        .all_clusters()
        .flat_map(|cluster| state.tasks_of_cluster(&cluster.key))
    {
        if let Some(place) = TASK_STATUSES.iter().position(|status| *status == task.last_status) {
            counts[place] += 1;
        }
    }
    for (status, count) in TASK_STATUSES.iter().zip(counts) {
        let labels = Status {
            status: status.as_str(),
        };
        gauges.tasks.get_or_create(&labels).set(count);
    }
    let waiting = state.tasks_awaiting_placement().count();
    gauges.tasks_awaiting_placement.set(waiting as u64);
}

/// From `VmRSS` of the kernel's account of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
