//! [`Waiting`]: services with a task that found no host, and tasks outside services that wait for one, in the order in which they are served once there is room.
//! Those of higher priority come first; of equal ones those that have waited longest since they got something, so that none of very many is left out. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ClusterKey, Priority, ServiceKey};

/// Who waits for room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiter {
    /// A service.
    Service(ServiceKey),
    /// The tasks outside services of a cluster that wait for a host and have this priority: together they have the turns of one service.
    Tasks(ClusterKey, Priority),
}

impl Waiter {
    fn cluster(&self) -> &ClusterKey {
        match self {
            Self::Service(service) => &service.cluster,
            Self::Tasks(cluster, _) => cluster,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    places: BTreeMap<Waiter, Place>,
    in_order: BTreeMap<ClusterKey, BTreeSet<(Place, Waiter)>>,
    next_turn: u64,
}

/// Where one stands, in order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: Reverse<Priority>,
    turn: Turn,
}

/// Since when one has waited and got nothing, in a count of all that began to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Waiting {
    /// Has somebody wait, where it stood before if that is given.
    pub(super) fn join(&mut self, waiter: Waiter, priority: Priority, turn: Option<Turn>) {
        self.leave(&waiter);
        let turn = turn.unwrap_or_else(|| {
            self.next_turn += 1;
            Turn(self.next_turn)
        });
        let priority = Reverse(priority);
        let place = Place { priority, turn };
        let in_order = self.in_order.entry(waiter.cluster().clone()).or_default();
        in_order.insert((place, waiter.clone()));
        self.places.insert(waiter, place);
    }

    /// Has somebody wait no longer; returns where it stood.
    pub(super) fn leave(&mut self, waiter: &Waiter) -> Option<Turn> {
        let place = self.places.remove(waiter)?;
        if let Some(in_order) = self.in_order.get_mut(waiter.cluster()) {
            in_order.remove(&(place, waiter.clone()));
            if in_order.is_empty() {
                self.in_order.remove(waiter.cluster());
            }
        }
        Some(place.turn)
    }

    /// Who waits in a cluster, in their order.
    pub(super) fn of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Waiter> {
        let in_order = self.in_order.get(cluster).into_iter().flatten();
        in_order.map(|(_, waiter)| waiter)
    }

    /// Clusters where tasks outside services wait.
    pub(super) fn clusters_with_tasks(&self) -> BTreeSet<ClusterKey> {
        let clusters = self.places.keys().filter_map(|waiter| match waiter {
            Waiter::Service(_) => None,
            Waiter::Tasks(cluster, _) => Some(cluster.clone()),
        });
        clusters.collect()
    }

    /// Those of them that come before all of `priority`.
    pub(super) fn above(&self, cluster: &ClusterKey, priority: Priority) -> impl Iterator<Item = &Waiter> {
        let in_order = self.in_order.get(cluster).into_iter().flatten();
        let above = in_order.take_while(move |(place, _)| place.priority.0 > priority);
        above.map(|(_, waiter)| waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::world::cluster;

    fn names(waiting: &Waiting) -> Vec<String> {
        let cluster = cluster();
        let names = waiting.of(&cluster).map(|waiter| match waiter {
            Waiter::Service(key) => key.name.as_str().to_owned(),
            Waiter::Tasks(_, priority) => format!("tasks of {priority}"),
        });
        names.collect()
    }

    fn service(name: &str) -> Waiter {
        Waiter::Service(cluster().service(name))
    }

    fn priority(number: &str) -> Priority {
        Priority::parse(number).expect("a priority")
    }

    #[test]
    fn services_wait_by_priority_and_then_in_the_order_in_which_they_came() {
        let mut waiting = Waiting::default();
        for (name, number) in [("z", "50"), ("a", "50"), ("low", "10"), ("high", "90")] {
            waiting.join(service(name), priority(number), None);
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
            waiting.join(service(name), Priority::DEFAULT, None);
        }
        let turn = waiting.leave(&service("a"));
        waiting.join(service("a"), Priority::DEFAULT, turn);
        assert_eq!(names(&waiting), ["a", "b", "c"]);
        waiting.leave(&service("a"));
        waiting.join(service("a"), Priority::DEFAULT, None);
        assert_eq!(names(&waiting), ["b", "c", "a"]);
    }

    #[test]
    fn tasks_outside_services_wait_among_services_by_the_same_rules() {
        let mut waiting = Waiting::default();
        for (waiter, number) in [
            (service("a"), "50"),
            (Waiter::Tasks(cluster(), priority("50")), "50"),
            (service("b"), "50"),
            (Waiter::Tasks(cluster(), priority("80")), "80"),
        ] {
            waiting.join(waiter, priority(number), None);
        }
        assert_eq!(names(&waiting), ["tasks of 80", "a", "tasks of 50", "b"]);
    }

    #[test]
    fn services_that_no_longer_wait_leave_nothing_behind() {
        let mut waiting = Waiting::default();
        waiting.join(service("a"), Priority::DEFAULT, None);
        waiting.leave(&service("a"));
        assert!(waiting.places.is_empty() && waiting.in_order.is_empty());
    }
}
