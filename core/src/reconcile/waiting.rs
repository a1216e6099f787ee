//! [`Waiting`]: services with a task that found no host, in the order in which they are served once there is room. Those of higher priority come first;
//! of equal ones those that have waited longest since they got something, so that none of very many is left out. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ClusterKey, Priority, ServiceKey};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    places: BTreeMap<ServiceKey, Place>,
    in_order: BTreeMap<ClusterKey, BTreeSet<(Place, ServiceKey)>>,
    next_turn: u64,
}

/// Where a service stands, in order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: Reverse<Priority>,
    turn: Turn,
}

/// Since when a service has waited and got nothing, in a count of all that began to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Waiting {
    /// Has a service wait, where it stood before if that is given.
    pub(super) fn join(&mut self, service: ServiceKey, priority: Priority, turn: Option<Turn>) {
        self.leave(&service);
        let turn = turn.unwrap_or_else(|| {
            self.next_turn += 1;
            Turn(self.next_turn)
        });
        let priority = Reverse(priority);
        let place = Place { priority, turn };
        let in_order = self.in_order.entry(service.cluster.clone()).or_default();
        in_order.insert((place, service.clone()));
        self.places.insert(service, place);
    }

    /// Has a service wait no longer; returns where it stood.
    pub(super) fn leave(&mut self, service: &ServiceKey) -> Option<Turn> {
        let place = self.places.remove(service)?;
        if let Some(in_order) = self.in_order.get_mut(&service.cluster) {
            in_order.remove(&(place, service.clone()));
            if in_order.is_empty() {
                self.in_order.remove(&service.cluster);
            }
        }
        Some(place.turn)
    }

    /// The services of a cluster that wait, in their order.
    pub(super) fn of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &ServiceKey> {
        let in_order = self.in_order.get(cluster).into_iter().flatten();
        in_order.map(|(_, service)| service)
    }

    /// Those of them that come before all of `priority`.
    pub(super) fn above(&self, cluster: &ClusterKey, priority: Priority) -> impl Iterator<Item = &ServiceKey> {
        let in_order = self.in_order.get(cluster).into_iter().flatten();
        let above = in_order.take_while(move |(place, _)| place.priority.0 > priority);
        above.map(|(_, service)| service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::world::cluster;

    fn names(waiting: &Waiting) -> Vec<String> {
        let cluster = cluster();
        let names = waiting.of(&cluster).map(|key| key.name.as_str().to_owned());
        names.collect()
    }

    fn priority(number: &str) -> Priority {
        Priority::parse(number).expect("a priority")
    }

    #[test]
    fn services_wait_by_priority_and_then_in_the_order_in_which_they_came() {
        let mut waiting = Waiting::default();
        for (name, number) in [("z", "50"), ("a", "50"), ("low", "10"), ("high", "90")] {
            waiting.join(cluster().service(name), priority(number), None);
        }
        assert_eq!(names(&waiting), ["high", "z", "a", "low"]);
        let cluster = cluster();
        assert_eq!(waiting.above(&cluster, priority("50")).count(), 1);
        assert_eq!(waiting.above(&cluster, priority("10")).count(), 3);
    }

    #[test]
    fn service_that_got_nothing_keeps_its_turn_and_one_that_got_something_goes_to_the_end() {
        let mut waiting = Waiting::default();
        for name in ["a", "b", "c"] {
            waiting.join(cluster().service(name), Priority::DEFAULT, None);
        }
        let turn = waiting.leave(&cluster().service("a"));
        waiting.join(cluster().service("a"), Priority::DEFAULT, turn);
        assert_eq!(names(&waiting), ["a", "b", "c"]);
        waiting.leave(&cluster().service("a"));
        waiting.join(cluster().service("a"), Priority::DEFAULT, None);
        assert_eq!(names(&waiting), ["b", "c", "a"]);
    }

    #[test]
    fn services_that_no_longer_wait_leave_nothing_behind() {
        let mut waiting = Waiting::default();
        waiting.join(cluster().service("a"), Priority::DEFAULT, None);
        waiting.leave(&cluster().service("a"));
        assert!(waiting.places.is_empty() && waiting.in_order.is_empty());
    }
}
