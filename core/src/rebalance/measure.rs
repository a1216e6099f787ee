//! What moves are to make better. Pure.

use std::collections::BTreeMap;

use crate::model::{ContainerInstanceId, Resources};

/// How well the tasks are placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Hosts that take tasks and have none but those that every host has, in the order of their ids.
    pub empty: Vec<ContainerInstanceId>,
    /// What is free of the host with the most room: a task that needs more fits nowhere.
    pub largest: Resources,
    /// Groups that are spread over availability zones, in alphabetical order.
    pub spreads: Vec<Spread>,
}

/// How a group is spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The group, `service:NAME`.
    pub group: String,
    /// Tasks in each zone that has a host on which they may be.
    pub zones: BTreeMap<String, usize>,
}

impl Spread {
    /// By how many tasks the fullest zone has more than the emptiest.
    #[must_use]
    pub fn skew(&self) -> usize {
        skew(&self.zones)
    }
}

/// By how many tasks the fullest of `zones` has more than the emptiest.
pub(crate) fn skew(zones: &BTreeMap<String, usize>) -> usize {
    let (most, least) = (zones.values().max(), zones.values().min());
    most.copied().unwrap_or(0) - least.copied().unwrap_or(0)
}
