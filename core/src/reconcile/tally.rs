//! The tasks of a service, sorted by what they are to it. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    DeploymentId, DesiredStatus, HealthStatus, MoveStatus, SchedulingStrategy, Service, Task, TaskMove, TaskStatus,
    Timestamp,
};
use crate::state::{ClusterState, STAYED_UP_MS};

/// The tasks of a service that are not over.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Wanted, of the primary deployment or the one that stands in for it, on a host that may keep them.
    pub(super) current: Vec<Arc<Task>>,
    /// Wanted until they are replaced: of an older deployment.
    pub(super) outdated: Vec<Arc<Task>>,
    /// Wanted until they are replaced: on a host that is draining. Of a daemon service, whatever their deployment is.
    pub(super) draining: Vec<Arc<Task>>,
    /// Tasks of a managed daemon that are the last to leave a host which is draining: others are there still. They count for nothing else.
    pub(super) lingering: Vec<Arc<Task>>,
    /// Wanted until they are replaced on the host that they are moved to.
    pub(super) moving: Vec<Arc<Task>>,
    /// Wanted until they are replaced: their health checks have failed.
    pub(super) unhealthy: Vec<Arc<Task>>,
    /// How many are moved whose replacements are not there yet.
    pub(super) awaited: usize,
    /// Told to stop.
    pub(super) stopping: Vec<Arc<Task>>,
    /// Tasks that run or are about to, in the count that `maximumPercent` limits.
    pub(super) occupying: usize,
    /// Deployments with tasks.
    pub(super) deployments: BTreeSet<DeploymentId>,
}

impl Tally {
    pub(super) fn of(state: &ClusterState, service: &Service) -> Self {
        let kept = [service.primary(), service.starting_deployment()].map(|kept| kept.map(|kept| &kept.id));
        // A service that stands for one of its task sets has none of the tasks of the others.
        let is_own = |task: &Task| !service.is_external() || kept.contains(&task.deployment());
        Self::among(state, service, is_own, |deployment| kept.contains(&deployment))
    }

    /// The tasks of one revision, by themselves.
    pub(super) fn of_revision(state: &ClusterState, service: &Service, revision: &DeploymentId) -> Self {
        let is_own = |task: &Task| task.deployment() == Some(revision);
        Self::among(state, service, is_own, |_| true)
    }

    fn among(
        state: &ClusterState,
        service: &Service,
        counts: impl Fn(&Task) -> bool,
        is_kept: impl Fn(Option<&DeploymentId>) -> bool,
    ) -> Self {
        let moves = state.moves_under_way(&service.key);
        let moves: Vec<&TaskMove> = moves
            .filter(|found| state.task(found.task).is_none_or(|task| counts(task)))
            .collect();
        let awaits = |found: &&&TaskMove| found.status == MoveStatus::Begun { replacement: None };
        // None of its tasks is replaced elsewhere, of whichever deployment it is.
        let is_daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
        let mut tally = Self {
            awaited: moves.iter().filter(awaits).count(),
            ..Self::default()
        };
        for task in state.live_tasks_of_service(&service.key).filter(|task| counts(task)) {
            if lingers(state, service, task) {
                tally.lingering.push(Arc::clone(task));
                continue;
            }
            if let Some(deployment) = task.deployment().filter(|id| !tally.deployments.contains(*id)) {
                tally.deployments.insert(deployment.clone());
            }
            if task.last_status <= TaskStatus::Running {
                tally.occupying += 1;
            }
            let is_kept = is_kept(task.deployment());
            let group = if task.desired_status == DesiredStatus::Stopped {
                &mut tally.stopping
            } else if is_kept && moves.iter().any(|found| found.task == task.id) {
                &mut tally.moving
            } else if task.has_failed_health_checks() {
                &mut tally.unhealthy
            } else if (is_kept || is_daemon) && state.must_leave(task) {
                &mut tally.draining
            } else if !is_kept {
                &mut tally.outdated
            } else {
                &mut tally.current
            };
            group.push(Arc::clone(task));
        }
        tally
    }

    /// Tasks that were not told to stop.
    pub(super) fn wanted(&self) -> Vec<Arc<Task>> {
        self.current.iter().chain(self.to_replace()).cloned().collect()
    }

    /// Tasks to be replaced.
    pub(super) fn to_replace(&self) -> impl Iterator<Item = &Arc<Task>> {
        let still_serve = self.outdated.iter().chain(&self.draining).chain(&self.moving);
        still_serve.chain(&self.unhealthy)
    }

    /// Tasks that serve: those to be replaced as soon as they run unless they are unhealthy, new ones once they have settled.
    pub(super) fn healthy(&self, now: Timestamp) -> usize {
        self.healthy_among(now, |_| true)
    }

    /// Tasks that serve, of those that count.
    pub(super) fn healthy_among(&self, now: Timestamp, counts: impl Fn(&Task) -> bool) -> usize {
        let old = self.to_replace().filter(|t| is_running(t) && !is_unhealthy(t));
        let new = self.current.iter().filter(|t| has_settled(t, now));
        old.chain(new).filter(|t| counts(t)).count()
    }

    /// Whether the service is what it should be: `desired` tasks of the primary deployment that have settled, and
    /// none to be replaced.
    pub(super) fn has_reached(&self, desired: u32, now: Timestamp) -> bool {
        usize::try_from(desired).is_ok_and(|desired| self.current.len() == desired)
            && self.to_replace().next().is_none()
            && self.all_settled(now)
    }

    /// Whether all tasks of the primary deployment have settled.
    pub(super) fn all_settled(&self, now: Timestamp) -> bool {
        self.current.iter().all(|t| has_settled(t, now))
    }

    /// Whether a task of the primary deployment has settled.
    pub(super) fn any_settled(&self, now: Timestamp) -> bool {
        self.current.iter().any(|t| has_settled(t, now))
    }

    /// When the next of the running tasks will have settled.
    pub(super) fn next_to_settle(&self, now: Timestamp) -> Option<Timestamp> {
        let by_time = self.current.iter().filter(|t| is_running(t) && t.health.is_none());
        let settles = by_time.map(|t| settles_at(t));
        settles.filter(|at| *at > now).min()
    }
}

/// Whether a task of a managed daemon stays on a host that is draining, since others are there still.
fn lingers(state: &ClusterState, service: &Service, task: &Task) -> bool {
    service.is_managed_daemon()
        && task.desired_status == DesiredStatus::Running
        && state.must_leave(task)
        && task
            .container_instance
            .is_some_and(|host| state.has_tasks_beside_daemons(host))
}

pub(super) fn is_running(task: &Arc<Task>) -> bool {
    task.last_status == TaskStatus::Running
}

/// Whether the health checks of a task fail, be it that its service minds that yet or not.
pub(super) fn is_unhealthy(task: &Arc<Task>) -> bool {
    task.health
        .is_some_and(|health| health.status == HealthStatus::Unhealthy)
}

/// Whether a task serves: its health checks pass; where it has none, it has run for long enough that its end would no longer count as a
/// failure to start.
pub(crate) fn has_settled(task: &Task, now: Timestamp) -> bool {
    let is_healthy = match task.health {
        Some(health) => health.status == HealthStatus::Healthy,
        None => settles_at(task) <= now,
    };
    task.last_status == TaskStatus::Running && is_healthy
}

fn settles_at(task: &Task) -> Timestamp {
    runs_since(task).plus_ms(STAYED_UP_MS)
}

/// Since when a task runs, as far as anybody has said.
pub(super) fn runs_since(task: &Task) -> Timestamp {
    // Of those that were heard of before it was written down since when they run, only their hosts have said so.
    task.running_since.or(task.started_at).unwrap_or(task.created_at)
}
