//! The state as a sequence of records, and back: what a snapshot holds. The indexes are not in it; they are built
//! anew while the records are put in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    Alarm, CapacityProvider, Cluster, ContainerInstance, Family, LogIndex, Rebalance, Scope, Service, Task,
    TaskDefinition,
};

use super::{ClusterState, Document, FeatureLevel, RememberedRequest, TokenKey, daemons, task_definitions};

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SnapshotRecord {
    /// Index of the last command applied; the first record of every snapshot.
    Applied(LogIndex),
    /// The level that the group has agreed on, if any; before everything that belongs to it.
    FeatureLevel(FeatureLevel),
    /// A cluster.
    Cluster(Arc<Cluster>),
    /// A capacity provider. With [`Feature::CapacityProviders`](super::Feature) alone.
    CapacityProvider(Arc<CapacityProvider>),
    /// A revision.
    TaskDefinition(Arc<TaskDefinition>),
    /// The last revision of a family.
    LastRevision(Scope, Family, u32),
    /// A host.
    ContainerInstance(Arc<ContainerInstance>),
    /// A service.
    Service(Arc<Service>),
    /// A task.
    Task(Arc<Task>),
    /// A request that came with a client token.
    Request(TokenKey, RememberedRequest),
    /// A document, by its name.
    Document(String, Arc<Document>),
    /// The rebalancing of a cluster that is under way, or the last one. With [`Feature::Rebalancing`](super::Feature) alone.
    Rebalance(Arc<Rebalance>),
    /// An alarm. With [`Feature::Alarms`](super::Feature) alone.
    Alarm(Arc<Alarm>),
    /// The last record: how many came before it.
    End(u64),
}

/// A snapshot that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It has no beginning or no end.
    #[error("the snapshot is cut off: it has no {0} record")]
    CutOff(&'static str),
    /// Records are missing from its middle.
    #[error("the snapshot should hold {expected} records and holds {found}")]
    RecordsMissing {
        /// As its last record says.
        expected: u64,
        /// As counted.
        found: u64,
    },
}

impl ClusterState {
    /// The records that the state can be built from again.
    pub fn snapshot(&self) -> impl Iterator<Item = SnapshotRecord> + '_ {
        let records = std::iter::once(SnapshotRecord::Applied(self.applied))
            .chain(self.feature_level.iter().cloned().map(SnapshotRecord::FeatureLevel))
            .chain(self.clusters.values().cloned().map(SnapshotRecord::Cluster))
            .chain(
                self.capacity_providers
                    .values()
                    .cloned()
                    .map(SnapshotRecord::CapacityProvider),
            )
            .chain(
                self.task_definitions
                    .values()
                    .cloned()
                    .map(SnapshotRecord::TaskDefinition),
            )
            .chain(
                self.last_revisions
                    .iter()
                    .map(|((s, f), r)| SnapshotRecord::LastRevision(s.clone(), f.clone(), *r)),
            )
            .chain(
                self.container_instances
                    .values()
                    .cloned()
                    .map(SnapshotRecord::ContainerInstance),
            )
            .chain(self.services.values().cloned().map(SnapshotRecord::Service))
            .chain(self.tasks.values().cloned().map(SnapshotRecord::Task))
            .chain(
                self.tokens
                    .requests
                    .iter()
                    .map(|(k, r)| SnapshotRecord::Request(k.clone(), r.clone())),
            )
            .chain(
                self.documents
                    .iter()
                    .map(|(name, document)| SnapshotRecord::Document(name.clone(), Arc::clone(document))),
            )
            .chain(self.rebalances.values().cloned().map(SnapshotRecord::Rebalance))
            .chain(self.alarms.values().cloned().map(SnapshotRecord::Alarm));
        let count = 1
            + usize::from(self.feature_level.is_some())
            + self.clusters.len()
            + self.capacity_providers.len()
            + self.task_definitions.len()
            + self.last_revisions.len()
            + self.container_instances.len()
            + self.services.len()
            + self.tasks.len()
            + self.tokens.requests.len()
            + self.documents.len()
            + self.rebalances.len()
            + self.alarms.len();
        records.chain(std::iter::once(SnapshotRecord::End(count as u64)))
    }

    /// The state that `records` were taken from.
    ///
    /// # Errors
    /// Where records are missing.
    pub fn from_snapshot(records: impl IntoIterator<Item = SnapshotRecord>) -> Result<Self, SnapshotError> {
        let mut state = Self::default();
        let mut began = false;
        for (found, record) in (0u64..).zip(records) {
            match record {
                SnapshotRecord::Applied(index) => {
                    state.applied = index;
                    began = true;
                }
                SnapshotRecord::FeatureLevel(level) => state.feature_level = Some(level),
                SnapshotRecord::Cluster(c) => drop(state.clusters.insert(c.key.clone(), c)),
                SnapshotRecord::CapacityProvider(p) => drop(state.capacity_providers.insert(p.key.clone(), p)),
                SnapshotRecord::TaskDefinition(d) => task_definitions::put(&mut state, d),
                SnapshotRecord::LastRevision(s, f, r) => drop(state.last_revisions.insert((s, f), r)),
                SnapshotRecord::ContainerInstance(c) => state.put_instance(Arc::unwrap_or_clone(c)),
                SnapshotRecord::Service(s) => drop(state.services.insert(s.key.clone(), s)),
                SnapshotRecord::Task(t) => state.put_task(Arc::unwrap_or_clone(t)),
                SnapshotRecord::Request(key, request) => state.tokens.restore(key, request),
                SnapshotRecord::Document(name, document) => drop(state.documents.insert(name, document)),
                SnapshotRecord::Rebalance(r) => drop(state.rebalances.insert(r.cluster.clone(), r)),
                SnapshotRecord::Alarm(a) => drop(state.alarms.insert(a.key.clone(), a)),
                SnapshotRecord::End(expected) if !began => {
                    return Err(SnapshotError::RecordsMissing { expected, found });
                }
                SnapshotRecord::End(expected) if expected == found => {
                    daemons::index(&mut state);
                    return Ok(state);
                }
                SnapshotRecord::End(expected) => return Err(SnapshotError::RecordsMissing { expected, found }),
            }
        }
        Err(SnapshotError::CutOff(if began { "last" } else { "first" }))
    }
}
