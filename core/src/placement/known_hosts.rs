//! The hosts of clusters as placement sees them, kept from plan to plan with all that a planner finds hosts by: a host is described anew only
//! where its record or what its tasks hold has changed, and only then does its place among the others change. It holds nothing
//! that could not be found again from the state. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::PlacementPlan;
use super::planner::Planner;
use super::problem::{Host, TaskRequest, typical_of};
use super::seed::Seed;
use crate::model::{ClusterKey, ContainerInstance};
use crate::state::{Allocation, ClusterState};

/// See the module.
#[derive(Debug, Default)]
pub struct KnownHosts {
    /// By id within each cluster.
    clusters: BTreeMap<ClusterKey, Vec<Known>>,
    /// Those of clusters in which tasks were placed.
    planners: BTreeMap<ClusterKey, Planner>,
}

/// Whoever has a copy finds out anew what it needs of what planners know.
impl Clone for KnownHosts {
    fn clone(&self) -> Self {
        Self {
            clusters: self.clusters.clone(),
            planners: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug)]
struct Known {
    instance: Arc<ContainerInstance>,
    allocation: Arc<Allocation>,
    host: Arc<Host>,
}

impl KnownHosts {
    /// Decides where tasks go in a cluster as it is now, as [`super::place`] does.
    pub fn place(
        &mut self,
        state: &ClusterState,
        cluster: &ClusterKey,
        requests: &[TaskRequest],
        seed: Seed,
    ) -> PlacementPlan {
        let hosts = self.of(state, cluster);
        self.place_on(cluster, &hosts, requests, seed)
    }

    /// The same where the hosts of the cluster, in the order of their ids, are known already.
    pub fn place_on(
        &mut self,
        cluster: &ClusterKey,
        hosts: &[Arc<Host>],
        requests: &[TaskRequest],
        seed: Seed,
    ) -> PlacementPlan {
        let planner = match self.planners.remove(cluster) {
            Some(planner) => planner.brought_up_to(hosts, typical_of(requests), seed),
            None => Planner::new(hosts.iter().cloned(), typical_of(requests), seed),
        };
        self.planners.entry(cluster.clone()).or_insert(planner).plan(requests)
    }

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
        self.planners.remove(cluster);
    }
}
