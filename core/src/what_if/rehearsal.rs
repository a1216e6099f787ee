//! A copy of the state that is played until it comes to rest: the reconcilers decide, what they decide is applied, hosts do at once what they are
//! told, and the clock jumps to whatever is due next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Change;
use super::steps::{Step, Steps};
use crate::ids::IdSource;
use crate::model::{
    ClusterKey, ContainerInstanceId, DesiredStatus, HealthStatus, StopCode, Task, TaskId, TaskReport, TaskStatus,
    Timestamp,
};
use crate::reconcile::{Agenda, MASS_LOSS_WINDOW_MS, reconcile};
use crate::state::{ClusterState, Command, Event, Rejection, STAYED_UP_MS, apply};

/// Steps of one rehearsal: a service of 1,000 tasks that is replaced one by one takes some 3,000; a cluster that is not at rest after so many keeps
/// changing for a reason of its own.
const MAX_STEPS: usize = 20_000;

/// How long deployments that wait by themselves are followed, as while they bake.
const LONGEST_WAIT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Added to what is waited for, so that it has happened.
const SLACK_MS: i64 = 1_000;

pub(super) struct Rehearsal {
    state: ClusterState,
    cluster: ClusterKey,
    agenda: Agenda,
    now: Timestamp,
    ids: IdSource,
    /// When a task or host changed last.
    changed_at: Timestamp,
    /// Tasks of which hosts may have to say something.
    to_look_at: BTreeSet<TaskId>,
    steps: Steps,
}

impl Rehearsal {
    pub(super) fn of(state: &ClusterState, cluster: &ClusterKey, now: Timestamp, ids: IdSource) -> Self {
        Self {
            state: state.clone(),
            cluster: cluster.clone(),
            agenda: Agenda::of_cluster(state, cluster),
            now,
            ids,
            changed_at: now,
            to_look_at: state.tasks_of_cluster(cluster).map(|task| task.id).collect(),
            steps: Steps::default(),
        }
    }

    /// Has the steps told that are taken from now on.
    pub(super) fn tell_steps(&mut self) {
        self.steps = Steps::told_from(self.now);
    }

    /// The steps, of the cluster as it is now.
    pub(super) fn steps(&self) -> (Vec<Step>, usize) {
        self.steps.in_words(&self.state)
    }

    pub(super) fn state(&self) -> &ClusterState {
        &self.state
    }

    pub(super) fn cluster(&self) -> &ClusterKey {
        &self.cluster
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// When a task or host changed last.
    pub(super) fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// Has a change happen.
    pub(super) fn make(&mut self, change: &Change) -> Result<(), Rejection> {
        let command = change.command(&self.cluster, self.now, &mut self.ids);
        self.apply(&command)
    }

    /// Has all be decided that follows at once, before hosts have said anything of it.
    pub(super) fn react(&mut self) {
        let mut steps = 0..MAX_STEPS;
        while steps.next().is_some() && self.decide() {}
    }

    /// Plays until no task and no host has changed for as long as a change may be waited for. Returns whether it came to that.
    pub(super) fn settle(&mut self) -> bool {
        self.changed_at = self.now;
        let began = self.now;
        for _ in 0..MAX_STEPS {
            if self.decide() {
                continue;
            }
            // What is decided from here on follows from what hosts have said, or from the time that has passed.
            self.steps.close();
            if self.hosts_report() || self.agenda.has_work() {
                continue;
            }
            let until = self
                .changed_at
                .plus_ms(self.patience_ms())
                .max(self.deployments_wait_until(began));
            match self.agenda.next_wake().filter(|wake| *wake <= until) {
                Some(wake) => self.now = self.now.max(wake),
                None => return true,
            }
        }
        false
    }

    /// Until when what is deployed of the cluster's services waits by itself, as while it bakes, as far as that is followed. What waits for somebody
    /// goes on when he says so, and not by itself.
    fn deployments_wait_until(&self, began: Timestamp) -> Timestamp {
        let services = self.state.services_and_daemons_of(&self.cluster);
        let waits = services.filter_map(|service| {
            let lifecycle = service.service_deployment_under_way()?.lifecycle.as_ref()?;
            lifecycle.waits_until.filter(|until| *until > self.now)
        });
        waits.max().unwrap_or(self.now).min(began.plus_ms(LONGEST_WAIT_MS))
    }

    /// The longest time after which a change leads to another: tasks prove to stay up, hosts that are away are given up, a few at a time.
    fn patience_ms(&self) -> i64 {
        let lost_after_ms = i64::from(self.state.host_settings(&self.cluster).host_lost_after_ms);
        lost_after_ms.max(MASS_LOSS_WINDOW_MS).max(STAYED_UP_MS) + SLACK_MS
    }

    fn decide(&mut self) -> bool {
        let commands = reconcile(&self.state, &mut self.agenda, self.now, &mut self.ids);
        for command in &commands {
            let before = self.steps.before(&self.state, command);
            match self.apply(command) {
                Ok(()) => self.steps.take(&self.state, self.now, command, &before),
                Err(_) => self.agenda.revisit(&self.state, command),
            }
        }
        // A long pass ends with nothing decided where there is much to look at.
        !commands.is_empty() || self.agenda.has_work()
    }

    fn apply(&mut self, command: &Command) -> Result<(), Rejection> {
        let index = self.state.applied();
        let events = apply(&mut self.state, index, command)?;
        // What is over is forgotten in all clusters, which is no reason to look at the others.
        for event in events.into_iter().filter(|event| may_concern(event, &self.cluster)) {
            match &event {
                Event::TaskChanged(change) => {
                    self.changed_at = self.now;
                    self.to_look_at.insert(change.task);
                }
                Event::ContainerInstanceRegistered { .. }
                | Event::ContainerInstanceChanged { .. }
                | Event::ContainerInstanceDeregistered { .. } => self.changed_at = self.now,
                _ => {}
            }
            self.agenda.note(&event);
        }
        Ok(())
    }

    /// Has every host whose agent is connected do what it is told, and say so; returns whether any had something to do.
    fn hosts_report(&mut self) -> bool {
        let mut by_host: BTreeMap<ContainerInstanceId, Vec<TaskReport>> = BTreeMap::new();
        for id in std::mem::take(&mut self.to_look_at) {
            let Some(task) = self.state.task(id).filter(|task| task.cluster == self.cluster) else {
                continue;
            };
            let host = task
                .container_instance
                .and_then(|host| self.state.container_instance(host));
            if let Some(host) = host.filter(|host| host.agent_connected)
                && let Some(status) = next_status(task).or(self.passes(task).then_some(TaskStatus::Running))
            {
                let health = (status == TaskStatus::Running && self.passes(task)).then_some(HealthStatus::Healthy);
                let report = TaskReport {
                    health,
                    ..report(id, status, self.now)
                };
                by_host.entry(host.id).or_default().push(report);
            }
        }
        let worked = !by_host.is_empty();
        for (container_instance, reports) in by_host {
            let command = Command::RecordTaskReports {
                container_instance,
                reports,
                at: self.now,
            };
            // Refused is only what a host says that has left.
            self.apply(&command).ok();
        }
        worked
    }

    /// Whether the health checks of a task are yet to pass: as tasks are thought to start at once, they are thought to be healthy at once.
    /// One that is unhealthy stays so.
    fn passes(&self, task: &Task) -> bool {
        let is_on_its_way = task.desired_status == DesiredStatus::Running && task.last_status <= TaskStatus::Running;
        let is_yet_to_pass = match task.health {
            Some(health) => health.status == HealthStatus::Unknown,
            None => self
                .state
                .task_definition(&task.task_definition)
                .is_some_and(|definition| {
                    let mut containers = definition.containers.iter().filter(|container| container.essential);
                    containers.any(|container| {
                        let check = container.health_check.as_ref();
                        check.is_some_and(|check| check.arguments().is_some())
                    })
                }),
        };
        is_on_its_way && is_yet_to_pass
    }
}

/// Whether something happened to the cluster, or to what belongs to no cluster.
fn may_concern(event: &Event, cluster: &ClusterKey) -> bool {
    match event {
        Event::ServiceCreated(service) | Event::ServiceUpdated(service) => service.cluster == *cluster,
        Event::TaskChanged(change) => change.cluster == *cluster,
        Event::ContainerInstanceRegistered { cluster: of, .. }
        | Event::ContainerInstanceChanged { cluster: of, .. }
        | Event::ContainerInstanceDeregistered { cluster: of, .. } => of == cluster,
        _ => true,
    }
}

fn next_status(task: &Task) -> Option<TaskStatus> {
    let status = match task.desired_status {
        DesiredStatus::Running => TaskStatus::Running,
        DesiredStatus::Stopped => TaskStatus::Stopped,
    };
    (task.last_status < status).then_some(status)
}

fn report(task: TaskId, status: TaskStatus, now: Timestamp) -> TaskReport {
    let ends = status == TaskStatus::Stopped;
    TaskReport {
        started_at: (!ends).then_some(now),
        execution_stopped_at: ends.then_some(now),
        stopped_at: ends.then_some(now),
        stop_code: ends.then_some(StopCode::EssentialContainerExited),
        ..TaskReport::new(task, status)
    }
}
