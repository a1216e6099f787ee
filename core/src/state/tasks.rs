//! Commands on tasks.

use crate::model::{
    Container, ContainerInstanceId, ContainerInstanceStatus, ContainerStatus, DesiredStatus, HealthStatus, HostReports,
    StopCode, Task, TaskHealth, TaskId, TaskReport, TaskStatus, Timestamp,
};

use super::{ClientToken, ClusterState, Event, Feature, Rejection, TaskChange, provisioning, services};

pub(super) fn run(
    state: &mut ClusterState,
    tasks: &[Task],
    client_token: Option<&ClientToken>,
) -> Result<Vec<Event>, Rejection> {
    if let Some(token) = client_token
        && let Some(seen) = state.remembered_request(token)?
    {
        return Ok(vec![Event::RequestRepeated {
            tasks: seen.tasks.clone(),
        }]);
    }
    let events = add_all(state, tasks, add)?;
    if let Some(token) = client_token {
        state.tokens.remember(token, tasks.iter().map(|t| t.id).collect());
    }
    Ok(events)
}

pub(super) fn create_for_service(state: &mut ClusterState, tasks: &[Task]) -> Result<Vec<Event>, Rejection> {
    add_all(state, tasks, |state, task| {
        let (Some(key), Some(deployment)) = (task.service(), task.deployment()) else {
            return Err(Rejection::Stale(format!("task {} belongs to no service", task.id)));
        };
        let service = state.active_service(key)?;
        if !service.runs(deployment) {
            return Err(Rejection::Stale(format!("deployment {deployment} is gone")));
        }
        add(state, task)
    })
}

/// Adds all tasks or none: those that were added before one was refused are taken out again, which costs nothing where none is, while a copy of
/// the state to try it on would have every part copied that changes.
fn add_all(
    state: &mut ClusterState,
    tasks: &[Task],
    add: impl Fn(&mut ClusterState, &Task) -> Result<Event, Rejection>,
) -> Result<Vec<Event>, Rejection> {
    let mut events = vec![];
    for (added, task) in tasks.iter().enumerate() {
        match add(state, task) {
            Ok(event) => events.push(event),
            Err(rejection) => {
                tasks[..added].iter().for_each(|task| state.remove_task(task.id));
                return Err(rejection);
            }
        }
    }
    for task in tasks {
        count_change_of_host(state, task.container_instance);
    }
    Ok(events)
}

/// What a host has left is another amount since the task was placed on it or is over, which its version counts (ECS's rule).
pub(super) fn count_change_of_host(state: &mut ClusterState, host: Option<ContainerInstanceId>) {
    if let Some(host) = host.filter(|_| state.uses(Feature::HostVersions)) {
        state.count_change_of_instance(host);
    }
}

fn add(state: &mut ClusterState, task: &Task) -> Result<Event, Rejection> {
    state.active_cluster(&task.cluster)?;
    if state.task(task.id).is_some() {
        return Err(Rejection::TaskExists(task.id));
    }
    match task.container_instance {
        Some(host) => check_room(state, host, task)?,
        None => provisioning::check(state, task)?,
    }
    state.put_task(task.clone());
    Ok(changed(task, None))
}

pub(super) fn check_room(state: &ClusterState, id: ContainerInstanceId, task: &Task) -> Result<(), Rejection> {
    let host = state.live_instance(id)?;
    let misses_daemon = state.missing_daemon(id).is_some() && !task.is_of_daemon();
    let takes_tasks = host.status == ContainerInstanceStatus::Active && host.agent_connected && !misses_daemon;
    if !takes_tasks || host.cluster != task.cluster {
        return Err(Rejection::ContainerInstanceUnavailable(id));
    }
    state.allocation(id).check(host, task)
}

pub(super) fn stop(
    state: &mut ClusterState,
    tasks: &[TaskId],
    stop_code: StopCode,
    reason: &str,
    at: Timestamp,
) -> Vec<Event> {
    let mut events = vec![];
    for id in tasks {
        let Some(task) = state.task(*id) else { continue };
        // What a scheduler decided on may have been protected meanwhile.
        let is_kept = stop_code == StopCode::ServiceSchedulerInitiated
            && task.is_protected(at)
            && !task.has_failed_health_checks();
        if task.is_stopped() || task.desired_status == DesiredStatus::Stopped || is_kept {
            continue;
        }
        let mut task = Task::clone(task);
        task.desired_status = DesiredStatus::Stopped;
        task.stopping_at = Some(at);
        task.stop_code = Some(stop_code);
        task.stopped_reason = Some(reason.to_owned());
        // Nothing of it is anywhere.
        if task.container_instance.is_none() {
            end(&mut task, at);
        }
        events.push(put_changed(state, task));
    }
    events
}

pub(super) fn record_failed_health_checks(state: &mut ClusterState, tasks: &[TaskId], at: Timestamp) -> Vec<Event> {
    let mut events = vec![];
    for id in tasks {
        let Some(task) = state.task(*id) else { continue };
        let is_wanted = task.desired_status == DesiredStatus::Running && task.service().is_some();
        let unhealthy = |health: &TaskHealth| health.status == HealthStatus::Unhealthy && health.failed_at.is_none();
        let Some(health) = task.health.filter(unhealthy).filter(|_| is_wanted) else {
            continue;
        };
        let mut task = Task::clone(task);
        task.health = Some(TaskHealth {
            failed_at: Some(at),
            ..health
        });
        events.push(put_changed(state, task.clone()));
        events.extend(services::count_failed_health_checks(state, &task, at));
    }
    events
}

pub(super) fn record_reports_of_hosts(state: &mut ClusterState, hosts: &[HostReports]) -> Vec<Event> {
    // Refused is only what a host says that has left, whose tasks are gone.
    let recorded = hosts
        .iter()
        .filter_map(|host| record_reports(state, host.container_instance, &host.reports, host.at).ok());
    recorded.flatten().collect()
}

pub(super) fn record_reports(
    state: &mut ClusterState,
    instance: ContainerInstanceId,
    reports: &[TaskReport],
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    state.live_instance(instance)?;
    let mut events = vec![];
    for report in reports {
        let Some(task) = state
            .task(report.task)
            .filter(|t| t.container_instance == Some(instance))
        else {
            continue;
        };
        if task.is_stopped() || report.status < task.last_status {
            continue;
        }
        let (was_wanted, mut task) = (task.desired_status == DesiredStatus::Running, Task::clone(task));
        take_times(&mut task, report, at, state.uses(Feature::LeadersClock));
        merge(&mut task, report, at);
        if state.task(task.id).is_some_and(|before| **before == task) {
            continue;
        }
        // Counted when it begins to end, which happens once: from then on it is no longer wanted. What ends since its host was cut
        // off says nothing of its deployment.
        let is_own_end = task.stop_code != Some(StopCode::TerminationNotice);
        let failed = (was_wanted && is_own_end && task.last_status > TaskStatus::Running).then(|| task.clone());
        events.push(put_changed(state, task));
        if let Some(failed) = failed {
            events.extend(services::count_failure(state, &failed, at));
        }
    }
    Ok(events)
}

/// Takes over when what is reported happened. Before the task's status, which tells what was known until now.
fn take_times(task: &mut Task, report: &TaskReport, at: Timestamp, by_leaders_clock: bool) {
    if by_leaders_clock && task.last_status == TaskStatus::Running {
        // It was heard that it runs before that was written down.
        task.running_since = task.running_since.or(task.started_at);
    } else if by_leaders_clock && report.status == TaskStatus::Running {
        task.running_since = Some(at);
    }
    // A host's clock may be off: what it says is held between the task's creation and now, and nothing is decided by it.
    let created_at = task.created_at;
    let held = |time: Timestamp| time.min(at).max(created_at);
    let told = |time: Option<Timestamp>| time.map(|time| if by_leaders_clock { held(time) } else { time });
    task.pull_started_at = task.pull_started_at.or(told(report.pull_started_at));
    task.pull_stopped_at = task.pull_stopped_at.or(told(report.pull_stopped_at));
    task.started_at = task
        .started_at
        .or(told(report.started_at).map(|started| started.min(at)));
    task.execution_stopped_at = task.execution_stopped_at.or(told(report.execution_stopped_at));
    if report.status == TaskStatus::Stopped {
        let stopped_at = report.stopped_at.filter(|_| !by_leaders_clock).unwrap_or(at);
        task.stopped_at = task.stopped_at.or(Some(stopped_at));
    }
}

fn merge(task: &mut Task, report: &TaskReport, at: Timestamp) {
    task.last_status = report.status;
    for reported in &report.containers {
        let Some(container) = task.containers.iter_mut().find(|c| *c.name == *reported.name) else {
            continue;
        };
        *container = Container {
            name: container.name.clone(),
            image: container.image.clone(),
            image_digest: match reported.image_digest.as_deref() {
                Some(digest) if container.image_digest.as_deref() != Some(digest) => Some(digest.into()),
                _ => container.image_digest.clone(),
            },
            runtime_id: reported.runtime_id.clone().or_else(|| container.runtime_id.clone()),
            last_status: reported.status,
            exit_code: reported.exit_code,
            reason: reported.reason.clone(),
            network_bindings: reported.network_bindings.clone(),
            health: reported.health.or(container.health),
        };
    }
    if let Some(status) = report.health {
        task.health = Some(TaskHealth::after(task.health, status, at));
    }
    if report.network_interface.is_some() {
        task.network_interface.clone_from(&report.network_interface);
    }
    if task.last_status > TaskStatus::Running {
        // The host stops it of its own accord: an essential container ended, or it could not be started.
        if task.desired_status == DesiredStatus::Running {
            task.desired_status = DesiredStatus::Stopped;
            task.stopping_at = Some(at);
        }
        task.stop_code = task.stop_code.or(report.stop_code);
        if task.stopped_reason.is_none() {
            task.stopped_reason.clone_from(&report.stopped_reason);
        }
    }
    if task.is_stopped() {
        end(task, task.stopped_at.unwrap_or(at));
    }
}

/// Marks every task of a host as stopped, since what becomes of them there will not be known.
pub(super) fn end_all_of_instance(
    state: &mut ClusterState,
    instance: ContainerInstanceId,
    reason: &str,
    at: Timestamp,
) -> Vec<Event> {
    let ids: Vec<TaskId> = state
        .tasks_of_instance(instance)
        .filter(|t| !t.is_stopped())
        .map(|t| t.id)
        .collect();
    let mut events = vec![];
    for id in ids {
        let Some(task) = state.task(id) else { continue };
        let mut task = Task::clone(task);
        task.stop_code = task.stop_code.or(Some(StopCode::TerminationNotice));
        task.stopped_reason = task.stopped_reason.or_else(|| Some(reason.to_owned()));
        task.stopping_at = task.stopping_at.or(Some(at));
        end(&mut task, at);
        events.push(put_changed(state, task));
    }
    events
}

pub(super) fn forget(state: &mut ClusterState, tasks: &[TaskId]) -> Vec<Event> {
    let mut events = vec![];
    for id in tasks {
        let Some(task) = state.task(*id).filter(|t| t.is_stopped()) else {
            continue;
        };
        events.push(Event::TaskForgotten {
            task: *id,
            cluster: task.cluster.clone(),
            container_instance: task.container_instance,
        });
        state.remove_task(*id);
    }
    events
}

fn end(task: &mut Task, at: Timestamp) {
    task.desired_status = DesiredStatus::Stopped;
    task.last_status = TaskStatus::Stopped;
    task.stopped_at = Some(at);
    for container in &mut task.containers {
        container.last_status = ContainerStatus::Stopped;
    }
}

pub(super) fn put_changed(state: &mut ClusterState, mut task: Task) -> Event {
    task.version += 1;
    let from = state.task(task.id).map(|t| t.last_status);
    let event = changed(&task, from);
    if task.is_stopped() && from != Some(TaskStatus::Stopped) {
        count_change_of_host(state, task.container_instance);
    }
    state.put_task(task);
    event
}

fn changed(task: &Task, from: Option<TaskStatus>) -> Event {
    Event::TaskChanged(TaskChange {
        task: task.id,
        cluster: task.cluster.clone(),
        service: task.service().cloned(),
        container_instance: task.container_instance,
        from,
        to: task.last_status,
    })
}
