//! [`Scaled`]: what an agenda remembers of clusters whose hosts are put to sleep and woken, so that nothing is done where none are. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{CapacityProviderName, ClusterKey, ServiceKey, Timestamp};
use crate::scaling::Demand;

/// Time between two looks at the pools of a cluster: short beside what a host takes to wake, long beside the changes of a busy cluster.
const LOOK_EVERY_MS: i64 = 1_000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Scaled {
    /// Whether there is anything by which hosts can be woken. Without it, none is put to sleep.
    pub(super) can_wake: bool,
    clusters: BTreeSet<ClusterKey>,
    looked_at: BTreeMap<ClusterKey, Timestamp>,
    /// Tasks that found no host, by the service that waits for one.
    demands: BTreeMap<ServiceKey, Vec<(CapacityProviderName, Demand)>>,
}

impl Scaled {
    /// Knowing nothing of any cluster.
    pub(super) fn forgetful(&self) -> Self {
        Self {
            can_wake: self.can_wake,
            ..Self::default()
        }
    }

    pub(super) fn has(&self, cluster: &ClusterKey) -> bool {
        self.clusters.contains(cluster)
    }

    /// Remembers whether hosts of a cluster are put to sleep or woken; whether that is news.
    pub(super) fn set(&mut self, cluster: &ClusterKey, is_scaled: bool) -> bool {
        if is_scaled {
            return self.clusters.insert(cluster.clone());
        }
        self.looked_at.remove(cluster);
        self.demands.retain(|service, _| service.cluster != *cluster);
        self.clusters.remove(cluster);
        false
    }

    /// When the cluster may be looked at, if not now. Where the answer is now, it counts as looked at.
    pub(super) fn not_before(&mut self, cluster: &ClusterKey, now: Timestamp) -> Option<Timestamp> {
        let last = self.looked_at.get(cluster).filter(|last| **last <= now);
        if let Some(next) = last.map(|last| last.plus_ms(LOOK_EVERY_MS)).filter(|next| *next > now) {
            return Some(next);
        }
        self.looked_at.insert(cluster.clone(), now);
        None
    }

    /// A service waits for hosts of a capacity provider for as many tasks.
    pub(super) fn wants(&mut self, service: &ServiceKey, pool: CapacityProviderName, demand: Demand) {
        self.demands.entry(service.clone()).or_default().push((pool, demand));
    }

    /// A service waits no longer.
    pub(super) fn wants_nothing(&mut self, service: &ServiceKey) {
        self.demands.remove(service);
    }

    /// What the services of a cluster wait for of a capacity provider.
    pub(super) fn wanted_of<'s>(
        &'s self,
        cluster: &'s ClusterKey,
        pool: &'s CapacityProviderName,
    ) -> impl Iterator<Item = &'s Demand> {
        let from = cluster.service("");
        let demands = self.demands.range(from..);
        let own = demands.take_while(|(service, _)| service.cluster == *cluster);
        own.flat_map(|(_, demands)| demands)
            .filter(move |(of, _)| of == pool)
            .map(|(_, demand)| demand)
    }
}
