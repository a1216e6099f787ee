//! What a host is to run, as messages: all of it, or what changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::model::{
    ContainerInstanceId, ContainerInstanceStatus, DesiredStatus, Task, TaskId, TaskSpec, TaskStatus,
};
use berth_core::state::ClusterState;
use berth_proto::record::{self, RecordError, RecordKind};
use berth_proto::v1::{AssignedStatus, AssignedTask, Assignments};

use berth_raft::Published;

/// What an agent was told of a task. What else changes of it the agent has said itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    desired: DesiredStatus,
    is_over: bool,
}

impl Told {
    fn of(task: &Task) -> Self {
        Self {
            desired: task.desired_status,
            is_over: task.is_stopped(),
        }
    }
}

/// A message, and what the agent knows by it.
#[derive(Debug)]
pub(super) struct News {
    pub(super) message: Assignments,
    pub(super) told: Vec<(TaskId, Told)>,
    pub(super) removed: Vec<TaskId>,
}

impl News {
    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        !self.message.full && self.told.is_empty() && self.removed.is_empty()
    }
}

/// Everything that the host is to have; of those that it has already, `has`, without their specs.
pub(super) fn full(
    view: &Published<Arc<ClusterState>>,
    host: ContainerInstanceId,
    has: &BTreeSet<TaskId>,
) -> Result<News, RecordError> {
    let takes_part = view
        .view
        .container_instance(host)
        .is_some_and(|h| h.status != ContainerInstanceStatus::Inactive);
    let tasks = view.view.tasks_of_instance(host).filter(|_| takes_part);
    let tasks = tasks.map(|task| (task, has.contains(&task.id)));
    news(view, true, tasks, vec![])
}

/// What became of `changed`, as far as it concerns the host and is not `known` to its agent from this session.
pub(super) fn diff(
    view: &Published<Arc<ClusterState>>,
    host: ContainerInstanceId,
    changed: &BTreeSet<TaskId>,
    known: &BTreeMap<TaskId, Told>,
) -> Result<News, RecordError> {
    let (mut tasks, mut removed) = (vec![], vec![]);
    for id in changed {
        match view.view.task(*id).filter(|t| t.container_instance == Some(host)) {
            Some(task) if known.get(id) == Some(&Told::of(task)) => {}
            Some(task) => tasks.push((task, known.contains_key(id))),
            None => removed.push(*id),
        }
    }
    news(view, false, tasks.into_iter(), removed)
}

/// A message about tasks, each with whether the agent has its spec.
fn news<'a>(
    view: &'a Published<Arc<ClusterState>>,
    full: bool,
    tasks: impl Iterator<Item = (&'a Arc<Task>, bool)>,
    removed: Vec<TaskId>,
) -> Result<News, RecordError> {
    let mut told = vec![];
    let tasks: Result<Vec<_>, _> = tasks
        .inspect(|(task, _)| told.push((task.id, Told::of(task))))
        .map(|(task, has_spec)| assigned(&view.view, task, has_spec))
        .collect();
    let message = Assignments {
        term: view.term,
        index: view.index,
        full,
        tasks: tasks?,
        removed: removed.iter().map(ToString::to_string).collect(),
    };
    Ok(News { message, told, removed })
}

fn assigned(state: &ClusterState, task: &Task, has_spec: bool) -> Result<AssignedTask, RecordError> {
    let definition = state
        .task_definition(&task.task_definition)
        .filter(|_| !task.is_stopped() && !has_spec);
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
