//! What a host is to run, as messages: all of it, or what changed. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::model::{
    ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, Task, TaskId, TaskSpec, TaskStatus,
};
use berth_core::state::ClusterState;
use berth_proto::record::{self, RecordError, RecordKind};
use berth_proto::v1::{AssignedStatus, AssignedTask, Assignments};

use berth_raft::Published;

/// Everything that the host is to have; of those that it has already, `has`, without their specs.
pub(super) fn full(
    view: &Published<Arc<ClusterState>>,
    host: ContainerInstanceId,
    has: &BTreeSet<TaskId>,
) -> Result<Assignments, RecordError> {
    let takes_part = view
        .view
        .container_instance(host)
        .is_some_and(|h| h.status != ContainerInstanceStatus::Inactive);
    let tasks = view.view.tasks_of_instance(host).filter(|_| takes_part);
    let tasks: Result<Vec<_>, _> = tasks
        .map(|task| assigned(&view.view, task, has.contains(&task.id)))
        .collect();
    Ok(Assignments {
        term: view.term,
        index: view.index,
        full: true,
        tasks: tasks?,
        removed: vec![],
    })
}

/// What became of `changed`, as far as it concerns the host.
pub(super) fn diff(
    view: &Published<Arc<ClusterState>>,
    host: ContainerInstanceId,
    changed: &BTreeSet<TaskId>,
) -> Result<Assignments, RecordError> {
    let (mut tasks, mut removed) = (vec![], vec![]);
    for id in changed {
        match view.view.task(*id).filter(|t| t.container_instance == Some(host)) {
            Some(task) => tasks.push(assigned(&view.view, task, false)?),
            None => removed.push(id.to_string()),
        }
    }
    Ok(Assignments {
        term: view.term,
        index: view.index,
        full: false,
        tasks,
        removed,
    })
}

fn assigned(state: &ClusterState, task: &Task, is_known: bool) -> Result<AssignedTask, RecordError> {
    let definition = state
        .task_definition(&task.task_definition)
        .filter(|_| !task.is_stopped() && !is_known);
    let spec = match definition {
        Some(definition) => record::encode(RecordKind::TaskSpec, &TaskSpec::of(task, definition))?,
        None => vec![],
    };
    let desired = match task.desired_status {
        DesiredStatus::Running => AssignedStatus::Running,
        DesiredStatus::Stopped => AssignedStatus::Stopped,
    };
    Ok(AssignedTask {
        task_id: task.id.to_string(),
        desired_status: desired.into(),
        spec,
        begun: task.last_status > TaskStatus::Pending,
    })
}
