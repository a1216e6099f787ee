//! The hosts of clusters as placement sees them, kept from plan to plan with all that a planner finds hosts by: a host is described anew only
//! where its record or what its tasks hold has changed, and only then does its place among the others change. So a plan costs what changed since
//! the last one, however many hosts there are. It holds nothing that could not be found again from the state. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::board::HostIndex;
use super::fragmentation::TypicalTasks;
use super::plan::PlacementPlan;
use super::planner::Planner;
use super::problem::{Host, TaskRequest, typical_of};
use super::scale_in::ScaleIn;
use super::seed::Seed;
use crate::model::{
    ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus, Manner, ServiceName, TaskId,
};
use crate::state::{ClusterState, HostsSeen};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    clusters: BTreeMap<ClusterKey, Known>,
    /// Hosts that refuse tasks since their room is kept for one of a service, whatever the state says.
    kept_room: BTreeMap<ContainerInstanceId, ServiceName>,
    /// How many hosts were looked at one by one.
    looks: usize,
}

/// The hosts of a cluster.
#[derive(Debug)]
struct Known {
    /// Of which moment they are.
    seen: HostsSeen,
    /// In the order of their ids, deregistered ones left out.
    hosts: Vec<Arc<Host>>,
    planner: KeptPlanner,
    /// Hosts that the planner knows as they were.
    changed: BTreeSet<HostIndex>,
    /// Hosts that are to be described anew although the state says the same of them.
    outdated: BTreeSet<ContainerInstanceId>,
}

/// A planner, once tasks were placed.
#[derive(Debug, Default)]
struct KeptPlanner(Option<Planner>);

impl KeptPlanner {
    /// The planner for hosts in the order of their ids: the same as before, but for those that changed.
    fn brought_up_to(
        &mut self,
        hosts: &[Arc<Host>],
        changed: BTreeSet<HostIndex>,
        typical: TypicalTasks,
        seed: Seed,
    ) -> &mut Planner {
        let planner = match self.0.take() {
            Some(planner) => planner.brought_up_to(hosts, changed, typical, seed),
            None => Planner::new(hosts.iter().cloned(), typical, seed),
        };
        self.0.insert(planner)
    }

    /// Brings the planner that there is up to its hosts, for requests like the last.
    fn keep_up(&mut self, hosts: &[Arc<Host>], changed: BTreeSet<HostIndex>) {
        if let Some((typical, seed)) = self.0.as_ref().map(Planner::terms) {
            self.brought_up_to(hosts, changed, typical, seed);
        }
    }
}

/// Whoever has a copy finds out anew what it needs of what planners know.
impl Clone for Known {
    fn clone(&self) -> Self {
        Self {
            seen: self.seen.clone(),
            hosts: self.hosts.clone(),
            planner: KeptPlanner::default(),
            changed: BTreeSet::new(),
            outdated: self.outdated.clone(),
        }
    }
}

impl KnownHosts {
    /// Has these hosts refuse tasks until this is called again, since their room is kept for a service.
    pub fn keep_room(&mut self, kept: BTreeMap<ContainerInstanceId, ServiceName>) {
        let before = std::mem::replace(&mut self.kept_room, kept);
        for known in self.clusters.values_mut() {
            known.outdated.extend(before.keys().chain(self.kept_room.keys()));
        }
    }

    /// Decides where tasks go in a cluster as it is now.
    pub fn place(
        &mut self,
        state: &ClusterState,
        cluster: &ClusterKey,
        requests: &[TaskRequest],
        manner: Manner,
        seed: Seed,
    ) -> PlacementPlan {
        let planner = self.planner(state, cluster, typical_of(requests), seed);
        let plan = planner.plan(requests, manner);
        let looks = planner.take_looks();
        self.looks = self.looks.saturating_add(looks);
        plan
    }

    /// How many hosts were looked at so far one by one, for plans: those that are alike once, and those that an order spares not at all.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.looks
    }

    /// Decides which tasks of a cluster to stop, as [`super::choose_to_stop`] does.
    pub fn choose_to_stop(
        &mut self,
        state: &ClusterState,
        cluster: &ClusterKey,
        scale_in: &ScaleIn<'_>,
        count: usize,
    ) -> Vec<TaskId> {
        self.planner(state, cluster, scale_in.typical(), scale_in.seed)
            .choose_to_stop(scale_in, count)
    }

    /// The hosts of a cluster as they are now, deregistered ones left out, in the order of their ids.
    #[cfg(test)]
    pub(super) fn of(&mut self, state: &ClusterState, cluster: &ClusterKey) -> &[Arc<Host>] {
        &self.catch_up(state, cluster).hosts
    }

    /// Takes in now what changed of the hosts of clusters where tasks were placed, so that the next plan there need not.
    pub fn keep_up(&mut self, state: &ClusterState) {
        // Where hosts came or went, the next plan begins anew.
        let kept = &self.kept_room;
        self.clusters
            .retain(|cluster, known| known.describe_anew(state, cluster, kept));
        for known in self.clusters.values_mut().filter(|known| !known.changed.is_empty()) {
            let changed = std::mem::take(&mut known.changed);
            known.planner.keep_up(&known.hosts, changed);
        }
    }

    /// Forgets the hosts of a cluster that is gone.
    pub fn forget(&mut self, cluster: &ClusterKey) {
        self.clusters.remove(cluster);
    }

    fn planner(
        &mut self,
        state: &ClusterState,
        cluster: &ClusterKey,
        typical: TypicalTasks,
        seed: Seed,
    ) -> &mut Planner {
        let known = self.catch_up(state, cluster);
        let changed = std::mem::take(&mut known.changed);
        known.planner.brought_up_to(&known.hosts, changed, typical, seed)
    }

    fn catch_up(&mut self, state: &ClusterState, cluster: &ClusterKey) -> &mut Known {
        let (known, kept) = (self.clusters.entry(cluster.clone()), &self.kept_room);
        let known = known.or_insert_with(|| Known::of(state, cluster, kept));
        if !known.describe_anew(state, cluster, kept) {
            *known = Known::of(state, cluster, kept);
        }
        known
    }
}

impl Known {
    fn of(state: &ClusterState, cluster: &ClusterKey, kept: &BTreeMap<ContainerInstanceId, ServiceName>) -> Self {
        let hosts = state.container_instances_of(cluster);
        Self {
            seen: state.hosts_seen(),
            hosts: hosts.map(|host| Arc::new(describe(state, host, kept))).collect(),
            planner: KeptPlanner::default(),
            changed: BTreeSet::new(),
            outdated: BTreeSet::new(),
        }
    }

    /// Describes what changed as it is now. Whether that could be: not if there are others than before.
    fn describe_anew(
        &mut self,
        state: &ClusterState,
        cluster: &ClusterKey,
        kept: &BTreeMap<ContainerInstanceId, ServiceName>,
    ) -> bool {
        let mut changed = state.hosts_changed_since(&self.seen);
        changed.append(&mut self.outdated);
        for id in changed {
            let place = self.hosts.binary_search_by_key(&id, |host| host.id).ok();
            match (place, host_of(state, cluster, id, kept)) {
                (Some(place), Some(host)) => {
                    self.hosts[place] = Arc::new(host);
                    self.changed.insert(HostIndex::at(place));
                }
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => return false,
            }
        }
        self.seen = state.hosts_seen();
        true
    }
}

fn host_of(
    state: &ClusterState,
    cluster: &ClusterKey,
    id: ContainerInstanceId,
    kept: &BTreeMap<ContainerInstanceId, ServiceName>,
) -> Option<Host> {
    let instance = state.container_instance(id)?;
    let is_there = instance.cluster == *cluster && instance.status != ContainerInstanceStatus::Inactive;
    is_there.then(|| describe(state, instance, kept))
}

fn describe(
    state: &ClusterState,
    instance: &ContainerInstance,
    kept: &BTreeMap<ContainerInstanceId, ServiceName>,
) -> Host {
    let mut host = Host::from_state(state, instance);
    host.makes_room_for = host.makes_room_for.or_else(|| kept.get(&instance.id).cloned());
    host
}

/// The same for hosts that somebody else keeps, such as those of a recording.
#[derive(Debug, Default)]
pub struct FollowedHosts {
    hosts: Vec<Arc<Host>>,
    planner: KeptPlanner,
}

impl FollowedHosts {
    /// Decides where tasks go among these hosts, in the order of their ids.
    pub fn place(
        &mut self,
        hosts: Vec<Arc<Host>>,
        requests: &[TaskRequest],
        manner: Manner,
        seed: Seed,
    ) -> PlacementPlan {
        if !self
            .hosts
            .iter()
            .map(|host| host.id)
            .eq(hosts.iter().map(|host| host.id))
        {
            self.planner = KeptPlanner::default();
        }
        let both = self.hosts.iter().zip(&hosts).enumerate();
        let changed = both.filter(|(_, (before, now))| !Arc::ptr_eq(before, now));
        let changed = changed.map(|(place, _)| HostIndex::at(place)).collect();
        self.hosts = hosts;
        let planner = self
            .planner
            .brought_up_to(&self.hosts, changed, typical_of(requests), seed);
        planner.plan(requests, manner)
    }
}
