//! Who has a session: at most one for each agent, the newest. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_core::model::{AgentId, ClusterKey, ContainerInstanceId, TaskId};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

use super::assignments::{News, Told};
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

/// The one session that an agent may have.
type Slot = tokio::sync::Mutex<Option<Arc<SessionState>>>;

/// An agent's slot, held locked while the agent's connection or disconnection is proposed, so that the two reach the log in
/// the order in which they happened. One that holds no session once it is let go is dropped: agents that are refused,
/// whatever they call themselves, leave nothing behind.
pub(super) struct HeldSlot<'a> {
    registry: &'a Registry,
    agent: AgentKey,
    /// `None` while it is waited for.
    locked: Option<OwnedMutexGuard<Option<Arc<SessionState>>>>,
}

impl HeldSlot<'_> {
    /// The session that has the slot.
    pub(super) fn session(&self) -> Option<&Arc<SessionState>> {
        self.locked.as_ref().and_then(|slot| slot.as_ref())
    }

    /// Gives the slot to a session, or to none; the one that had it before.
    pub(super) fn replace(&mut self, session: Option<Arc<SessionState>>) -> Option<Arc<SessionState>> {
        let slot = self.locked.as_deref_mut()?;
        std::mem::replace(slot, session)
    }
}

impl Drop for HeldSlot<'_> {
    fn drop(&mut self) {
        self.locked = None;
        self.registry.drop_unused_slot(&self.agent);
    }
}

/// What others may do to a session.
pub(super) struct SessionState {
    /// Ends the session, without the agent being recorded as disconnected if a newer session has its slot.
    pub(super) end: CancellationToken,
    /// Requests for the agent. A queue keeps room for some dozen entries from its beginning, which are small therefore.
    pub(super) log_calls: mpsc::Sender<Box<LogCall>>,
    changes: Mutex<Changes>,
    /// There are changes.
    pub(super) changed: Notify,
    /// The agent called, where it is one that calls and is not called.
    pub(super) called: Notify,
}

/// What a session has to tell its agent.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Everything, since it is not known what changed.
    pub(super) all: bool,
    /// Tasks that changed, or are gone.
    pub(super) tasks: BTreeSet<TaskId>,
    /// Tasks that the agent was told of, and what.
    known: BTreeMap<TaskId, Told>,
}

impl SessionState {
    /// A session that has to tell its agent everything.
    pub(super) fn new(end: CancellationToken) -> (Arc<Self>, mpsc::Receiver<Box<LogCall>>) {
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
            called: Notify::new(),
        };
        state.changed.notify_one();
        (Arc::new(state), calls)
    }

    /// Takes the changes: whether all is to be told, else which tasks.
    pub(super) fn take_changes(&self) -> (bool, BTreeSet<TaskId>) {
        let mut changes = lock(&self.changes);
        (std::mem::take(&mut changes.all), std::mem::take(&mut changes.tasks))
    }

    /// What the agent was told of these tasks, of those that it was told of.
    pub(super) fn known(&self, tasks: &BTreeSet<TaskId>) -> BTreeMap<TaskId, Told> {
        let changes = lock(&self.changes);
        let known = tasks.iter().filter_map(|task| Some((*task, *changes.known.get(task)?)));
        known.collect()
    }

    /// Remembers what the agent knows by a message.
    pub(super) fn remember(&self, news: &News) {
        let mut changes = lock(&self.changes);
        if news.message.full {
            changes.known.clear();
        }
        changes.known.extend(news.told.iter().copied());
        news.removed.iter().for_each(|task| _ = changes.known.remove(task));
    }

    fn task_changed(&self, task: TaskId) {
        lock(&self.changes).tasks.insert(task);
        self.changed.notify_one();
    }

    fn task_forgotten(&self, task: TaskId) {
        let mut changes = lock(&self.changes);
        // One that is about to be told of may be forgotten before it is: it is known only then.
        if changes.known.contains_key(&task) || changes.all {
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
    /// Locks the slot of an agent, once nobody else holds it.
    pub(super) async fn hold_slot(&self, agent: &AgentKey) -> HeldSlot<'_> {
        // Made before the wait, so that giving it up leaves no slot behind either.
        let mut held = HeldSlot {
            registry: self,
            agent: agent.clone(),
            locked: None,
        };
        let slot = Arc::clone(lock(&self.sessions).slots.entry(agent.clone()).or_default());
        held.locked = Some(slot.lock_owned().await);
        held
    }

    fn drop_unused_slot(&self, agent: &AgentKey) {
        let mut sessions = lock(&self.sessions);
        let unused = |slot: &Arc<Slot>| Arc::strong_count(slot) == 1 && slot.try_lock().is_ok_and(|s| s.is_none());
        if sessions.slots.get(agent).is_some_and(unused) {
            sessions.slots.remove(agent);
        }
    }

    /// Agents that have a session or are about to.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        lock(&self.sessions).slots.len()
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

    pub(super) fn task_forgotten(&self, host: ContainerInstanceId, task: TaskId) {
        if let Some(session) = lock(&self.sessions).by_instance.get(&host) {
            session.task_forgotten(task);
        }
    }

    pub(super) fn host_changed(&self, host: ContainerInstanceId) {
        if let Some(session) = lock(&self.sessions).by_instance.get(&host) {
            session.all_changed();
        }
    }

    /// The host may have to sleep.
    pub(super) fn power_changed(&self, host: ContainerInstanceId) {
        if let Some(session) = lock(&self.sessions).by_instance.get(&host) {
            session.changed.notify_one();
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

#[cfg(test)]
mod tests {
    use berth_core::model::Scope;

    use super::*;

    #[tokio::test]
    async fn slot_with_a_session_stays_and_one_without_goes_also_when_a_wait_for_it_is_given_up() {
        let registry = Registry::default();
        let agent = (Scope::new("1", "here").cluster("web"), AgentId::from("agent"));
        let (session, _calls) = SessionState::new(CancellationToken::new());
        registry.hold_slot(&agent).await.replace(Some(Arc::clone(&session)));
        assert_eq!(registry.slots(), 1);
        let mut slot = registry.hold_slot(&agent).await;
        assert!(slot.session().is_some_and(|held| Arc::ptr_eq(held, &session)));
        let waited = tokio::time::timeout(std::time::Duration::ZERO, registry.hold_slot(&agent)).await;
        assert!(waited.is_err(), "two hold one slot");
        slot.replace(None);
        drop(slot);
        assert_eq!(registry.slots(), 0);
    }
}
