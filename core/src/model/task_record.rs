//! A task as it is written: flat, whatever it has in common with others. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::task::{Container, DesiredStatus, StopCode, Task, TaskBlueprint, TaskOrigin, TaskOverride, TaskStatus};
use super::{
    CapacityProviderName, ClusterKey, ContainerInstanceId, NetworkInterface, PlacementConstraint, PlacementRecord,
    PlacementStrategy, Ports, Resources, ServiceName, Tags, TaskDefinitionKey, TaskHealth, TaskId, Timestamp,
};

/// See [`Task`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Task")]
pub(super) struct TaskRecord {
    id: TaskId,
    cluster: ClusterKey,
    task_definition: TaskDefinitionKey,
    origin: TaskOrigin,
    group: String,
    started_by: Option<String>,
    launch_type: Option<String>,
    overrides: TaskOverride,
    desired_status: DesiredStatus,
    last_status: TaskStatus,
    container_instance: Option<ContainerInstanceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity_provider: Option<CapacityProviderName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placement: Option<PlacementRecord>,
    reservation: Resources,
    host_ports: Ports,
    placement_constraints: Vec<PlacementConstraint>,
    placement_strategy: Vec<PlacementStrategy>,
    containers: Vec<Container>,
    tags: Tags,
    version: u64,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provision_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed_at: Option<Timestamp>,
    pull_started_at: Option<Timestamp>,
    pull_stopped_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    running_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protected_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<TaskHealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network_interface: Option<NetworkInterface>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preempted_by: Option<ServiceName>,
    stopping_at: Option<Timestamp>,
    execution_stopped_at: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
    stop_code: Option<StopCode>,
    stopped_reason: Option<String>,
}

impl From<TaskRecord> for Task {
    fn from(record: TaskRecord) -> Self {
        let blueprint = TaskBlueprint {
            cluster: record.cluster,
            task_definition: record.task_definition,
            origin: record.origin,
            group: record.group,
            started_by: record.started_by,
            launch_type: record.launch_type,
            overrides: record.overrides,
            reservation: record.reservation,
            host_ports: record.host_ports,
            placement_constraints: record.placement_constraints,
            placement_strategy: record.placement_strategy,
            tags: record.tags,
        };
        Self {
            id: record.id,
            blueprint: blueprint.into(),
            desired_status: record.desired_status,
            last_status: record.last_status,
            container_instance: record.container_instance,
            capacity_provider: record.capacity_provider,
            placement: record.placement,
            containers: record.containers,
            version: record.version,
            created_at: record.created_at,
            provision_until: record.provision_until,
            placed_at: record.placed_at,
            pull_started_at: record.pull_started_at,
            pull_stopped_at: record.pull_stopped_at,
            started_at: record.started_at,
            running_since: record.running_since,
            protected_until: record.protected_until,
            health: record.health,
            network_interface: record.network_interface,
            preempted_by: record.preempted_by,
            stopping_at: record.stopping_at,
            execution_stopped_at: record.execution_stopped_at,
            stopped_at: record.stopped_at,
            stop_code: record.stop_code,
            stopped_reason: record.stopped_reason,
        }
    }
}

impl From<Task> for TaskRecord {
    fn from(task: Task) -> Self {
        let blueprint = Arc::unwrap_or_clone(task.blueprint);
        Self {
            id: task.id,
            cluster: blueprint.cluster,
            task_definition: blueprint.task_definition,
            origin: blueprint.origin,
            group: blueprint.group,
            started_by: blueprint.started_by,
            launch_type: blueprint.launch_type,
            overrides: blueprint.overrides,
            desired_status: task.desired_status,
            last_status: task.last_status,
            container_instance: task.container_instance,
            capacity_provider: task.capacity_provider,
            placement: task.placement,
            reservation: blueprint.reservation,
            host_ports: blueprint.host_ports,
            placement_constraints: blueprint.placement_constraints,
            placement_strategy: blueprint.placement_strategy,
            containers: task.containers,
            tags: blueprint.tags,
            version: task.version,
            created_at: task.created_at,
            provision_until: task.provision_until,
            placed_at: task.placed_at,
            pull_started_at: task.pull_started_at,
            pull_stopped_at: task.pull_stopped_at,
            started_at: task.started_at,
            running_since: task.running_since,
            protected_until: task.protected_until,
            health: task.health,
            network_interface: task.network_interface,
            preempted_by: task.preempted_by,
            stopping_at: task.stopping_at,
            execution_stopped_at: task.execution_stopped_at,
            stopped_at: task.stopped_at,
            stop_code: task.stop_code,
            stopped_reason: task.stopped_reason,
        }
    }
}
