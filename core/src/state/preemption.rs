//! Tasks that are stopped for others of higher priority, and what the state says of priorities.

use std::sync::Arc;

use crate::model::{
    ClusterKey, DesiredStatus, Priority, SchedulingStrategy, Service, ServiceKey, ServiceStatus, StopCode, Task,
    TaskId, Timestamp, allows_preemption,
};

use super::{ClusterState, Event, Rejection, tasks};

/// Stops all tasks or none: what one less makes free would be of no use.
pub(super) fn preempt(
    state: &mut ClusterState,
    tasks: &[TaskId],
    by: &ServiceKey,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    state.active_service(by)?;
    let found = tasks.iter().filter_map(|id| state.task(*id));
    let found: Vec<Task> = found.map(|task| Task::clone(task)).collect();
    let host = found.first().and_then(|task| task.container_instance);
    let may_stop = |task: &Task| {
        task.cluster == by.cluster
            && task.container_instance == host
            && task.desired_status == DesiredStatus::Running
            && !task.is_stopped()
            && !task.is_protected(at)
    };
    if host.is_none() || found.len() != tasks.len() || !found.iter().all(may_stop) {
        let by = &by.name;
        return Err(Rejection::Stale(format!(
            "tasks that were to make room for service {by} no longer can"
        )));
    }
    let stopped = found.into_iter().map(|task| Task {
        desired_status: DesiredStatus::Stopped,
        stopping_at: Some(at),
        stop_code: Some(StopCode::ServiceSchedulerInitiated),
        stopped_reason: Some(reason.to_owned()),
        preempted_by: Some(by.name.clone()),
        ..task
    });
    Ok(stopped.map(|task| tasks::put_changed(state, task)).collect())
}

impl ClusterState {
    /// The priority of a task: that of its service as it is now, or its own if it has none.
    #[must_use]
    pub fn priority_of(&self, task: &Task) -> Priority {
        match task.service() {
            Some(key) => self.priority_of_service(key),
            None => Priority::of(&task.tags),
        }
    }

    /// The priority of a service as it is now.
    #[must_use]
    pub fn priority_of_service(&self, key: &ServiceKey) -> Priority {
        self.service(key)
            .map_or(Priority::DEFAULT, |service| Priority::of(&service.tags))
    }

    /// Whether tasks of a cluster are stopped for others of higher priority.
    #[must_use]
    pub fn preempts(&self, cluster: &ClusterKey) -> bool {
        self.cluster(cluster)
            .is_some_and(|cluster| allows_preemption(&cluster.tags))
    }

    /// Tasks that are ending so that one of a service fits in their place.
    pub fn tasks_making_room_for(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.index.making_room.get(service);
        ids.into_iter().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// Tasks that are ending so that one of a service fits in their place, of all services, with those.
    pub fn all_tasks_making_room(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<Task>)> {
        let all = self.index.making_room.iter();
        all.flat_map(move |(service, ids)| ids.iter().filter_map(move |id| Some((service, self.tasks.get(id)?))))
    }

    /// No task of a cluster that may be stopped for others has a lower priority; `None` if none may. Some of those that have it may be protected.
    #[must_use]
    pub fn lowest_preemptible(&self, cluster: &ClusterKey) -> Option<Priority> {
        let mut lowest: Option<Priority> = None;
        for service in self.services_and_daemons_of(cluster) {
            let priority = Priority::of(&service.tags);
            let is_lower = lowest.is_none_or(|lowest| priority < lowest) && gets_tasks_back(service);
            if is_lower && self.live_tasks_of_service(&service.key).next().is_some() {
                lowest = Some(priority);
            }
        }
        let alone = self.index.prioritized.get(cluster).into_iter().flatten();
        let alone = alone.filter_map(|id| Priority::said_by(&self.tasks.get(id)?.tags));
        lowest.into_iter().chain(alone).min()
    }

    /// Whether a task that is stopped comes back by itself or said that it need not: what is not of a service is stopped for another only where it was
    /// given a priority.
    #[must_use]
    pub fn may_be_preempted(&self, task: &Task, now: Timestamp) -> bool {
        let is_wanted = task.desired_status == DesiredStatus::Running && !task.is_stopped();
        is_wanted
            && task.container_instance.is_some()
            && !task.is_protected(now)
            && match task.service() {
                Some(key) => self.service(key).is_some_and(|service| gets_tasks_back(service)),
                None => Priority::said_by(&task.tags).is_some(),
            }
    }
}

/// Whether a task is of no service, on a host, not over, and was given a priority.
pub(super) fn says_its_own(task: &Task) -> bool {
    task.service().is_none()
        && task.container_instance.is_some()
        && !task.is_stopped()
        && Priority::said_by(&task.tags).is_some()
}

/// A daemon service would start the task again where it was.
fn gets_tasks_back(service: &Service) -> bool {
    service.status == ServiceStatus::Active && service.scheduling_strategy == SchedulingStrategy::Replica
}
