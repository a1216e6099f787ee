//! What is measured of a course. Pure.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::decisions::Scene;
use berth_core::model::{ContainerInstanceStatus, LogIndex, Timestamp, attribute_names};
use berth_core::placement::Host;

/// What came of a course.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Tasks that were to be placed.
    pub tasks: usize,
    /// Those that went to another host than was recorded.
    pub elsewhere: usize,
    /// Those for which there was no host when they came.
    pub waited: usize,
    /// Those that were gone, or were to go on waiting, before there was one.
    pub never_placed: usize,
    /// The longest that one waited which found a host, in milliseconds.
    pub longest_wait_ms: i64,
    /// Tasks that had to move, since the host that they were on here was lost or left.
    pub moved: usize,
    /// How often a service said that it found no host for a task.
    pub shortages: usize,
    /// Of those times, at how many there was room for one here.
    pub with_room: usize,
    /// The most hosts that had a task at once.
    pub hosts_used_most: usize,
    /// The cluster over time; the last look is at the end.
    pub looks: Vec<Look>,
}

/// The cluster after an entry of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// The entry.
    pub index: LogIndex,
    /// The newest time that was known.
    pub at: Option<Timestamp>,
    /// Hosts with a task.
    pub hosts_used: usize,
    /// The most CPU units that are free on one host that takes tasks.
    pub free_cpu: u32,
    /// The most MiB that are free on one host that takes tasks.
    pub free_memory: u32,
    /// By how many tasks the zone with the most of a group is above the one with the fewest, for the group of which that is most.
    pub zone_skew: u32,
    /// Tasks that wait.
    pub waiting: usize,
}

impl Figures {
    /// The cluster at the end.
    #[must_use]
    pub fn end(&self) -> Look {
        self.looks.last().copied().unwrap_or_default()
    }

    /// The mean of something over the looks.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "some hundred looks")]
    pub fn mean(&self, of: impl Fn(&Look) -> f64) -> f64 {
        self.looks.iter().map(of).sum::<f64>() / self.looks.len().max(1) as f64
    }
}

impl Look {
    pub(super) fn at(scene: &Scene, index: LogIndex, at: Option<Timestamp>, waiting: usize) -> Self {
        let takes_tasks = |host: &&Host| host.status == ContainerInstanceStatus::Active && host.agent_connected;
        let free = || {
            scene
                .hosts()
                .map(|host| &**host)
                .filter(takes_tasks)
                .map(|host| host.free)
        };
        Self {
            index,
            at,
            hosts_used: scene.hosts_used(),
            free_cpu: free().map(|free| free.cpu.0).max().unwrap_or(0),
            free_memory: free().map(|free| free.memory.0).max().unwrap_or(0),
            zone_skew: zone_skew(scene),
            waiting,
        }
    }
}

/// Over the zones in which there are hosts; those that name none are one of their own.
fn zone_skew(scene: &Scene) -> u32 {
    let zone_of = |host: &Host| {
        host.attributes
            .get(attribute_names::AVAILABILITY_ZONE)
            .cloned()
            .flatten()
    };
    let mut zones = BTreeSet::new();
    let mut counts = BTreeMap::<&str, BTreeMap<Option<String>, u32>>::new();
    for host in scene.hosts() {
        let zone = zone_of(host);
        for (group, tasks) in &host.tasks_by_group {
            *counts.entry(group).or_default().entry(zone.clone()).or_default() += tasks;
        }
        zones.insert(zone);
    }
    let skew = |by_zone: &BTreeMap<Option<String>, u32>| {
        let of = |zone: &Option<String>| by_zone.get(zone).copied().unwrap_or(0);
        let (most, fewest) = (zones.iter().map(of).max(), zones.iter().map(of).min());
        most.unwrap_or(0) - fewest.unwrap_or(0)
    };
    counts.values().map(skew).max().unwrap_or(0)
}
