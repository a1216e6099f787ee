//! Core's state in the Raft group: the state machine that the group drives, and the group as the API's port sees it.
//! Owns how the two are joined; it must not know what commands mean. Shell.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Instant;

use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, Command, Event, Feature, Rejection, SnapshotRecord};

use crate::api::ports::{PortFuture, ProposeFailure, Replica, Unavailable};
use crate::events::EventMemory;
use crate::monitoring::{MeasuredStorage, Metrics, ProposalOutcome};
use berth_raft::{
    Applied, NoPeers, ProposeError, Published, Raft, RaftFault, RaftOptions, ReadError, RestoreError, StateMachine,
    Transport,
};
use berth_storage::Storage;

/// The Raft group over Berth's state, with what it measures of itself. Clones are the same group.
#[derive(Clone, Debug)]
pub struct StateGroup {
    raft: Raft<ReplicatedState>,
    metrics: Metrics,
    events: EventMemory,
    /// Does not keep the store open once the group has stopped.
    store: Weak<dyn Storage>,
}

impl Deref for StateGroup {
    type Target = Raft<ReplicatedState>;

    fn deref(&self) -> &Self::Target {
        &self.raft
    }
}

impl StateGroup {
    /// Starts the only member of a group on its storage, as [`Raft::start`] does.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage does not hold a sound state of this member.
    pub fn start(store: Arc<dyn Storage>, machine: ReplicatedState, options: RaftOptions) -> Result<Self, RaftFault> {
        Self::start_with(store, machine, options, NoPeers)
    }

    /// Starts a member of a group that may have others, as [`Raft::start`] does.
    ///
    /// # Errors
    /// [`RaftFault`] when the storage does not hold a sound state of this member.
    pub fn start_with(
        store: Arc<dyn Storage>,
        machine: ReplicatedState,
        options: RaftOptions,
        transport: impl Transport,
    ) -> Result<Self, RaftFault> {
        let metrics = Metrics::default();
        let store: Arc<dyn Storage> = Arc::new(MeasuredStorage::new(store, metrics.store_commits.clone()));
        let weak = Arc::downgrade(&store);
        let events = machine.events.clone();
        let raft = Raft::start(store, machine, options, transport)?;
        let [a, b, c, d, e, f, g, h, ..] = raft.status().cluster.0;
        events.of_history(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        Ok(Self {
            raft,
            metrics,
            events,
            store: weak,
        })
    }

    /// Proposes a command and waits until it is committed and applied.
    ///
    /// # Errors
    /// [`ProposeError`], as [`Raft::propose`].
    pub async fn propose(&self, command: Command) -> Result<Applied<ApplyOutcome>, ProposeError> {
        self.measured(self.raft.propose(command)).await
    }

    /// Proposes what this member decided as the leader of a term; it is void in any other.
    ///
    /// # Errors
    /// [`ProposeError`], as [`Raft::propose_in_term`].
    pub async fn propose_in_term(&self, command: Command, term: u64) -> Result<Applied<ApplyOutcome>, ProposeError> {
        self.measured(self.raft.propose_in_term(command, term)).await
    }

    /// As [`Self::propose_in_term`], for what no client waits for: what clients ask for meanwhile overtakes it.
    ///
    /// # Errors
    /// [`ProposeError`], as [`Raft::propose_in_term`].
    pub async fn propose_in_background(
        &self,
        command: Command,
        term: u64,
    ) -> Result<Applied<ApplyOutcome>, ProposeError> {
        self.measured(self.raft.propose_in_background(command, term)).await
    }

    async fn measured(
        &self,
        proposal: impl Future<Output = Result<Applied<ApplyOutcome>, ProposeError>>,
    ) -> Result<Applied<ApplyOutcome>, ProposeError> {
        let waiting = self.metrics.begin_proposal();
        let answer = proposal.await;
        let outcome = match &answer {
            Ok(applied) if applied.outcome.is_ok() => ProposalOutcome::Applied,
            Ok(_) => ProposalOutcome::Rejected,
            Err(_) => ProposalOutcome::Failed,
        };
        self.metrics.end_proposal(waiting, outcome);
        answer
    }

    /// A view that contains every proposal answered before the call.
    ///
    /// # Errors
    /// [`ReadError`], as [`Raft::read`].
    pub async fn read(&self) -> Result<Arc<Published<Arc<ClusterState>>>, ReadError> {
        let began = Instant::now();
        let answer = self.raft.read().await?;
        self.metrics.read_took(began.elapsed());
        Ok(answer)
    }

    /// What is measured of the group and of what uses it.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What this member remembers of what was announced and of which resources changed.
    pub(crate) fn events(&self) -> &EventMemory {
        &self.events
    }

    /// The store; nothing once the group has stopped. Whoever holds it keeps it open.
    pub(crate) fn store(&self) -> Option<Arc<dyn Storage>> {
        self.store.upgrade()
    }

    /// Free space on the disk of the store; nothing once the group has stopped.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.store.upgrade()?.free_bytes().ok()
    }
}

/// What applying a command gave.
pub type ApplyOutcome = Result<Arc<[Event]>, Rejection>;

/// The state that the group keeps.
#[derive(Debug, Default)]
pub struct ReplicatedState {
    state: ClusterState,
    events: EventMemory,
}

impl ReplicatedState {
    /// The state.
    pub(crate) fn into_state(self) -> ClusterState {
        self.state
    }
}

impl StateMachine for ReplicatedState {
    type Command = Command;
    type Outcome = ApplyOutcome;
    type View = Arc<ClusterState>;
    type SnapshotItem = SnapshotRecord;

    fn packs(view: &Self::View) -> bool {
        view.uses(Feature::PackedRecords)
    }

    fn apply(&mut self, index: u64, _term: u64, command: Command) -> ApplyOutcome {
        let applied = self.events.apply(&mut self.state, LogIndex(index), &command);
        applied.map(Arc::from)
    }

    fn view(&self) -> Self::View {
        Arc::new(self.state.clone())
    }

    fn snapshot_items(view: &Self::View) -> Box<dyn Iterator<Item = SnapshotRecord> + '_> {
        Box::new(view.snapshot())
    }

    fn restore(&mut self, items: &mut dyn Iterator<Item = SnapshotRecord>) -> Result<(), RestoreError> {
        self.state = ClusterState::from_snapshot(items).map_err(|error| RestoreError(error.to_string()))?;
        self.events.begin_after(self.state.applied());
        Ok(())
    }
}

impl Replica for StateGroup {
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>> {
        Box::pin(async move {
            let applied = Self::propose(self, command).await.map_err(unavailable)?;
            Ok(applied.outcome?.to_vec())
        })
    }

    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>> {
        Box::pin(async move {
            let published = Self::read(self).await.map_err(|error| match error {
                ReadError::Overloaded => Unavailable::Overloaded(error.to_string()),
                ReadError::Stopped | ReadError::Timeout { .. } => Unavailable::NoAnswer(error.to_string()),
            })?;
            Ok(Arc::clone(&published.view))
        })
    }

    fn seen(&self) -> Arc<ClusterState> {
        Arc::clone(&self.view().view)
    }
}

/// A failed proposal in the API's terms.
pub(crate) fn unavailable(error: ProposeError) -> Unavailable {
    let text = error.to_string();
    match error {
        ProposeError::Overloaded => Unavailable::Overloaded(text),
        ProposeError::TooLarge { .. } => Unavailable::TooLarge(text),
        ProposeError::OutcomeLost
        | ProposeError::NotEncodable { .. }
        | ProposeError::DiskFull { .. }
        | ProposeError::TermPassed
        | ProposeError::Stopped
        | ProposeError::Timeout { .. } => Unavailable::NoAnswer(text),
    }
}
