//! What agents say that speak ECS's own API. Each change becomes the report that Berth's own agent would have written, the whole picture, so that
//! there is one way in which tasks come to be what their hosts say. It is put together where it is applied: two changes that are under way at
//! the same time would undo each other else.

use crate::model::{
    Container, ContainerChange, ContainerReport, ContainerStatus, StateChange, StopCode, Task, TaskReport, TaskStatus,
};

use super::{ClusterState, Event, Rejection, tasks};

/// What ECS says of a task that ended by itself.
const CONTAINER_EXITED: &str = "Essential container in task exited";

pub(super) fn submit(state: &mut ClusterState, change: &StateChange) -> Result<Vec<Event>, Rejection> {
    let task = state.task(change.task).ok_or(Rejection::TaskNotFound(change.task))?;
    let host = task.container_instance.ok_or(Rejection::TaskNotFound(change.task))?;
    if state.live_instance(host)?.host.ecs_agent.is_none() {
        return Err(Rejection::NotOfAnEcsAgent(change.task, host));
    }
    let report = report(task, change);
    tasks::record_reports(state, host, &[report], change.at)
}

fn report(task: &Task, change: &StateChange) -> TaskReport {
    let changed_to = |container: &Container| change.containers.iter().find(|changed| changed.name == *container.name);
    let containers: Vec<ContainerReport> = task
        .containers
        .iter()
        .map(|container| container_report(container, changed_to(container)))
        .collect();
    let status = change.status.unwrap_or(task.last_status).max(task.last_status);
    let ends = status == TaskStatus::Stopped;
    let (stop_code, stopped_reason) = match ends {
        true => why_it_ended(task, change, &containers),
        false => (None, None),
    };
    TaskReport {
        task: task.id,
        status,
        containers,
        pull_started_at: change.pull_started_at,
        pull_stopped_at: change.pull_stopped_at,
        started_at: (status == TaskStatus::Running).then_some(change.at),
        execution_stopped_at: change.execution_stopped_at.or(ends.then_some(change.at)),
        stopped_at: ends.then_some(change.at),
        stop_code,
        stopped_reason,
        // Such an agent tells of health by another way, which Berth does not have.
        health: None,
        network_interface: None,
    }
}

/// A task that ran, or a container of which has ended with a code, has ended by itself; another could not be started.
fn why_it_ended(
    task: &Task,
    change: &StateChange,
    containers: &[ContainerReport],
) -> (Option<StopCode>, Option<String>) {
    let ran = task.started_at.is_some() || containers.iter().any(|container| container.exit_code.is_some());
    if ran {
        let reason = change.reason.clone().unwrap_or_else(|| CONTAINER_EXITED.to_owned());
        return (Some(StopCode::EssentialContainerExited), Some(reason));
    }
    let of_a_container = || containers.iter().find_map(|container| container.reason.clone());
    (
        Some(StopCode::TaskFailedToStart),
        change.reason.clone().or_else(of_a_container),
    )
}

fn container_report(known: &Container, change: Option<&ContainerChange>) -> ContainerReport {
    let status = change.and_then(|change| change.status).unwrap_or(known.last_status);
    ContainerReport {
        name: known.name.to_string(),
        status: status.max(known.last_status),
        image_digest: change.and_then(|change| change.image_digest.clone()),
        runtime_id: change.and_then(|change| change.runtime_id.clone()),
        exit_code: change.and_then(|change| change.exit_code).or(known.exit_code),
        reason: change
            .and_then(|change| change.reason.clone())
            .or_else(|| known.reason.clone()),
        network_bindings: match change.and_then(|change| change.network_bindings.clone()) {
            Some(bindings) => bindings,
            // An ended container holds no port.
            None if status == ContainerStatus::Stopped => vec![],
            None => known.network_bindings.clone(),
        },
        health: None,
    }
}
