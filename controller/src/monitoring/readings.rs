//! What is a state rather than an event, read off when the metrics are asked for. Shell.

use berth_core::model::{ContainerInstanceStatus, DesiredStatus, PowerState, ServiceStatus, TaskStatus};
use berth_core::state::ClusterState;
use berth_raft::Role;

use super::metrics::{HostLabels, Metrics, Named, Power, StateGauges, Status, Version};
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
        (Role::Learner, "learner"),
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
    gauges.feature_level.set(state.feature_level().into());
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
    let is_there =
        |host: &&std::sync::Arc<berth_core::model::ContainerInstance>| host.status != ContainerInstanceStatus::Inactive;
    for power in PowerState::ALL {
        let hosts = state.all_container_instances().filter(is_there);
        let count = hosts.filter(|host| host.power.state == power).count();
        let labels = Power { power: power.as_str() };
        gauges.hosts_by_power.get_or_create(&labels).set(count as u64);
    }
    let hosts = state.all_container_instances().filter(is_there);
    let in_trouble = hosts.filter(|host| host.power.trouble.is_some()).count();
    gauges.hosts_in_trouble.set(in_trouble as u64);
    let services = || state.all_services().filter(|service| !service.is_managed_daemon());
    for (status, name) in SERVICE_STATUSES {
        let count = services().filter(|service| service.status == status).count();
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
    gauges.tasks_missing.set(missing_tasks(state));
}

/// Tasks that active services and daemons want beyond those that they have.
fn missing_tasks(state: &ClusterState) -> u64 {
    let active = state.all_services().filter(|s| s.status == ServiceStatus::Active);
    let missing = active.map(|service| {
        let tasks = state.live_tasks_of_service(&service.key);
        let wanted = tasks.filter(|t| t.desired_status == DesiredStatus::Running);
        u64::from(service.desired_count).saturating_sub(wanted.count() as u64)
    });
    missing.sum()
}

/// From `VmRSS` of the kernel's account of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition, UpdateService};
    use serde_json::json;

    use super::*;
    use crate::api::testing::Harness;

    #[tokio::test]
    async fn tasks_that_services_want_and_have_not_are_missing() {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 3});
        harness.call::<CreateService>(input).await.expect("creates");
        assert_eq!(missing_tasks(&harness.state.state()), 3);
        let input = json!({"service": "web", "desiredCount": 0});
        harness.call::<UpdateService>(input).await.expect("updates");
        assert_eq!(missing_tasks(&harness.state.state()), 0);
    }
}
