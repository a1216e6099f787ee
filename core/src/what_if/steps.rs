//! The steps in which a change comes about: what is started and stopped together, before hosts have said anything of it. Pure.

use std::collections::BTreeMap;

use super::outlook::{HostName, name_of};
use crate::model::{ContainerInstanceId, DesiredStatus, Task, TaskId, Timestamp};
use crate::state::{ClusterState, Command};

/// Steps that are told: a rollout one by one of as many tasks as a person wants to read of.
const MAX_STEPS: usize = 200;

/// What is started and stopped together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// After how many milliseconds, if hosts did at once what they are told.
    pub after_ms: i64,
    /// Tasks that are started, by group, then by host.
    pub starts: Vec<TasksOnHost>,
    /// Tasks that are told to stop, by group, then by host.
    pub stops: Vec<TasksOnHost>,
}

/// Tasks of one group on one host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TasksOnHost {
    /// The group, `service:NAME` for a service's.
    pub group: String,
    /// The host.
    pub host: HostName,
    /// How many.
    pub tasks: usize,
}

/// How many tasks of each group are on each host.
type Counts = BTreeMap<(String, ContainerInstanceId), usize>;

#[derive(Clone, Debug)]
struct Taken {
    at: Timestamp,
    starts: Counts,
    stops: Counts,
}

/// The steps taken so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    /// Since when steps are told; `None` if they are not.
    since: Option<Timestamp>,
    taken: Vec<Taken>,
    left_out: usize,
    /// Whether what is decided next belongs to the last step.
    is_open: bool,
}

impl Steps {
    /// None yet, to be told from `since` on.
    pub(super) fn told_from(since: Timestamp) -> Self {
        Self {
            since: Some(since),
            ..Self::default()
        }
    }

    /// Tasks that `command` may stop and that are wanted yet.
    pub(super) fn before(&self, state: &ClusterState, command: &Command) -> Vec<TaskId> {
        match command {
            Command::StopTasks { tasks, .. } | Command::PreemptTasks { tasks, .. } if self.since.is_some() => {
                tasks.iter().copied().filter(|id| is_wanted(state, *id)).collect()
            }
            _ => vec![],
        }
    }

    /// Adds what `command` did, where `before` it these were wanted.
    pub(super) fn take(&mut self, state: &ClusterState, now: Timestamp, command: &Command, before: &[TaskId]) {
        if self.since.is_none() {
            return;
        }
        let started: Vec<&Task> = match command {
            Command::CreateTasks { tasks } => tasks.iter().collect(),
            Command::MoveTask(step) => step.replacement.iter().collect(),
            _ => vec![],
        };
        let stopped = before.iter().filter(|id| !is_wanted(state, **id));
        let stopped: Vec<&Task> = stopped.filter_map(|id| state.task(*id)).map(|task| &**task).collect();
        if started.is_empty() && stopped.is_empty() {
            return;
        }
        if !self.is_open && self.taken.len() == MAX_STEPS {
            self.left_out += 1;
            return;
        }
        if !self.is_open {
            self.is_open = true;
            self.taken.push(Taken {
                at: now,
                starts: Counts::new(),
                stops: Counts::new(),
            });
        }
        let Some(step) = self.taken.last_mut() else { return };
        count(&mut step.starts, started);
        count(&mut step.stops, stopped);
    }

    /// What is decided next belongs to another step.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// The steps, and how many more there are.
    pub(super) fn in_words(&self, state: &ClusterState) -> (Vec<Step>, usize) {
        let named = |counts: &Counts| {
            let tasks = counts.iter().map(|((group, host), tasks)| TasksOnHost {
                group: group.clone(),
                host: name_of(state, *host),
                tasks: *tasks,
            });
            let mut tasks: Vec<TasksOnHost> = tasks.collect();
            tasks.sort();
            tasks
        };
        let since = self.since.unwrap_or_default();
        let steps = self.taken.iter().map(|taken| Step {
            after_ms: taken.at.ms_since(since).max(0),
            starts: named(&taken.starts),
            stops: named(&taken.stops),
        });
        (steps.collect(), self.left_out)
    }
}

fn is_wanted(state: &ClusterState, id: TaskId) -> bool {
    let task = state.task(id);
    task.is_some_and(|task| task.desired_status == DesiredStatus::Running)
}

fn count(counts: &mut Counts, tasks: Vec<&Task>) {
    for task in tasks {
        if let Some(host) = task.container_instance {
            *counts.entry((task.group.clone(), host)).or_default() += 1;
        }
    }
}
