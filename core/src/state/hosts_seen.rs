//! [`HostsSeen`]: which hosts changed from one moment to another, found without a look at the others. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Allocation, ClusterState, MissingDaemon};
use crate::model::{ContainerInstance, ContainerInstanceId};

/// A moment in the lives of all hosts. It shares with the state what has not changed since.
#[derive(Clone, Debug)]
pub struct HostsSeen {
    container_instances: OrdMap<ContainerInstanceId, Arc<ContainerInstance>>,
    allocations: OrdMap<ContainerInstanceId, Arc<Allocation>>,
    missing_daemons: OrdMap<ContainerInstanceId, MissingDaemon>,
}

impl ClusterState {
    /// The hosts as they are now.
    #[must_use]
    pub fn hosts_seen(&self) -> HostsSeen {
        HostsSeen {
            container_instances: self.container_instances.clone(),
            allocations: self.index.allocations.clone(),
            missing_daemons: self.index.missing_daemons.clone(),
        }
    }

    /// Hosts of all clusters whose record changed since, what their tasks hold, or which daemon they miss, and those that came or went. It costs about what changed: what the two
    /// moments share is passed over.
    #[must_use]
    pub fn hosts_changed_since(&self, seen: &HostsSeen) -> BTreeSet<ContainerInstanceId> {
        let records = seen.container_instances.diff(&self.container_instances).map(key_of);
        let allocations = seen.allocations.diff(&self.index.allocations).map(key_of);
        let missing = seen.missing_daemons.diff(&self.index.missing_daemons).map(key_of);
        records.chain(allocations).chain(missing).collect()
    }
}

/// Of what is different.
fn key_of<V>(item: DiffItem<'_, '_, ContainerInstanceId, V>) -> ContainerInstanceId {
    match item {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) => *id,
        DiffItem::Update { new: (id, _), .. } => *id,
    }
}
