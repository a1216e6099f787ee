//! Who has a session: at most one for each agent, the newest. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_core::model::{AgentId, ClusterKey, ContainerInstanceId, TaskId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::logs::LogCall;

/// Log requests that wait for one agent before more are refused.
pub(super) const MAX_LOG_CALLS: usize = 64;

/// An agent in a cluster.
pub(super) type AgentKey = (ClusterKey, AgentId);

/// The sessions of this controller.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    slots: BTreeMap<AgentKey, Arc<Slot>>,
    by_instance: BTreeMap<ContainerInstanceId, Arc<SessionState>>,
}

/// The one session that an agent may have. It is held locked while the agent's connection or disconnection is proposed,
/// so that the two reach the log in the order in which they happened.
pub(super) type Slot = tokio::sync::Mutex<Option<Arc<SessionState>>>;

/// What others may do to a session.
pub(super) struct SessionState {
    /// Ends the session, without the agent being recorded as disconnected if a newer session has its slot.
    pub(super) end: CancellationToken,
    /// Requests for the agent.
    pub(super) log_calls: mpsc::Sender<LogCall>,
    changes: Mutex<Changes>,
    /// There are changes.
    pub(super) changed: Notify,
}

/// What a session has to tell its agent.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Everything, since it is not known what changed.
    pub(super) all: bool,
    /// Tasks that changed, or are gone.
    pub(super) tasks: BTreeSet<TaskId>,
    /// Tasks that the agent was told of.
    known: BTreeSet<TaskId>,
}

impl SessionState {
    /// A session that has to tell its agent everything.
    pub(super) fn new(end: CancellationToken) -> (Arc<Self>, mpsc::Receiver<LogCall>) {
        let (log_calls, calls) = mpsc::channel(MAX_LOG_CALLS);
        let changes = Changes {
            all: true,
            ..Changes::default()
        };
        let state = Self {
            end,
            log_calls,
            changes: Mutex::new(changes),
            changed: Notify::new(),
        };
        state.changed.notify_one();
        (Arc::new(state), calls)
    }

    /// Takes the changes: whether all is to be told, else which tasks.
    pub(super) fn take_changes(&self) -> (bool, BTreeSet<TaskId>) {
        let mut changes = lock(&self.changes);
        (std::mem::take(&mut changes.all), std::mem::take(&mut changes.tasks))
    }

    /// Remembers what the agent knows of now.
    pub(super) fn remember(&self, full: bool, tasks: impl Iterator<Item = TaskId>, removed: &[TaskId]) {
        let mut changes = lock(&self.changes);
        if full {
            changes.known.clear();
        }
        changes.known.extend(tasks);
        removed.iter().for_each(|task| _ = changes.known.remove(task));
    }

    fn task_changed(&self, task: TaskId) {
        lock(&self.changes).tasks.insert(task);
        self.changed.notify_one();
    }

    fn task_forgotten(&self, task: TaskId) {
        let mut changes = lock(&self.changes);
        // One that is about to be told of may be forgotten before it is: it is known only then.
        if changes.known.contains(&task) || changes.all {
            changes.tasks.insert(task);
            self.changed.notify_one();
        }
    }

    fn all_changed(&self) {
        lock(&self.changes).all = true;
        self.changed.notify_one();
    }
}

impl Registry {
    /// The slot of an agent.
    pub(super) fn slot(&self, agent: &AgentKey) -> Arc<Slot> {
        Arc::clone(lock(&self.sessions).slots.entry(agent.clone()).or_default())
    }

    /// Drops the slot of an agent that nobody uses.
    pub(super) fn drop_unused_slot(&self, agent: &AgentKey) {
        let mut sessions = lock(&self.sessions);
        let unused = |slot: &Arc<Slot>| Arc::strong_count(slot) == 1 && slot.try_lock().is_ok_and(|s| s.is_none());
        if sessions.slots.get(agent).is_some_and(unused) {
            sessions.slots.remove(agent);
        }
    }

    pub(super) fn insert(&self, host: ContainerInstanceId, session: &Arc<SessionState>) {
        lock(&self.sessions).by_instance.insert(host, Arc::clone(session));
    }

    /// Takes a session out, unless a newer one of its host has taken its place.
    pub(super) fn remove(&self, host: ContainerInstanceId, session: &Arc<SessionState>) {
        let mut sessions = lock(&self.sessions);
        if sessions.by_instance.get(&host).is_some_and(|s| Arc::ptr_eq(s, session)) {
            sessions.by_instance.remove(&host);
        }
    }

    pub(super) fn session_count(&self) -> usize {
        lock(&self.sessions).by_instance.len()
    }

    pub(super) fn session_of(&self, host: ContainerInstanceId) -> Option<Arc<SessionState>> {
        lock(&self.sessions).by_instance.get(&host).cloned()
    }

    pub(super) fn task_changed(&self, host: ContainerInstanceId, task: TaskId) {
        if let Some(session) = lock(&self.sessions).by_instance.get(&host) {
            session.task_changed(task);
        }
    }

    /// The task is forgotten; its host is not known any more.
    pub(super) fn task_forgotten(&self, task: TaskId) {
        lock(&self.sessions)
            .by_instance
            .values()
            .for_each(|session| session.task_forgotten(task));
    }

    pub(super) fn host_changed(&self, host: ContainerInstanceId) {
        if let Some(session) = lock(&self.sessions).by_instance.get(&host) {
            session.all_changed();
        }
    }

    pub(super) fn all_changed(&self) {
        lock(&self.sessions)
            .by_instance
            .values()
            .for_each(|session| session.all_changed());
    }

    /// Ends every session; the agents connect again.
    pub(super) fn end_all(&self) {
        lock(&self.sessions)
            .by_instance
            .values()
            .for_each(|session| session.end.cancel());
    }
}

/// What is behind these locks is whole after every step, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
