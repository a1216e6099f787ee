//! The hosts of clusters as placement sees them, kept from plan to plan: a host is described anew only where its record or what its
//! tasks hold has changed. It holds nothing that could not be found again from the state. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::Host;
use crate::model::{ClusterKey, ContainerInstance};
use crate::state::{Allocation, ClusterState};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    /// By id within each cluster.
    clusters: BTreeMap<ClusterKey, Vec<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    instance: Arc<ContainerInstance>,
    allocation: Arc<Allocation>,
    host: Arc<Host>,
}

impl KnownHosts {
    /// The hosts of a cluster as they are now, deregistered ones left out.
    pub fn of(&mut self, state: &ClusterState, cluster: &ClusterKey) -> Vec<Arc<Host>> {
        let before = self.clusters.remove(cluster).unwrap_or_default();
        let mut before = before.into_iter().peekable();
        let mut known = vec![];
        for instance in state.container_instances_of(cluster) {
            while before.next_if(|known| known.instance.id < instance.id).is_some() {}
            let same = before.next_if(|known| known.instance.id == instance.id);
            let allocation = state.allocation(instance.id);
            let unchanged = same.filter(|known| {
                let holds_the_same = Arc::ptr_eq(&known.allocation, &allocation) || known.allocation == allocation;
                Arc::ptr_eq(&known.instance, instance) && holds_the_same
            });
            known.push(unchanged.unwrap_or_else(|| Known {
                instance: Arc::clone(instance),
                allocation,
                host: Arc::new(Host::from_state(state, instance)),
            }));
        }
        let hosts = known.iter().map(|known| Arc::clone(&known.host)).collect();
        if !known.is_empty() {
            self.clusters.insert(cluster.clone(), known);
        }
        hosts
    }

    /// Forgets the hosts of a cluster that is gone.
    pub fn forget(&mut self, cluster: &ClusterKey) {
        self.clusters.remove(cluster);
    }
}
