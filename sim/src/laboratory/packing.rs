//! Packing: how many equal hosts a policy needs for all tasks at once, beside what is known from the literature on vector bin packing: first-fit decreasing,
//! best-fit decreasing, and the dot-product heuristic of Panigrahy et al. ("Heuristics for Vector Bin Packing", 2011), which fills one
//! host after the other. CPU and memory alone. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use berth_core::model::{ContainerInstanceId, Resources, TaskId};
use berth_core::placement::{
    Ask, Gpus, Outcome, PlacementProblem, Seed, Session, Shape, TaskRequest, TypicalTasks, place_together,
};

use super::policy::Policy;
use super::workload::{self, LabTask};

/// What each way leaves free on the hosts that it needs for the same tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Hosts that no way can do without.
    pub lower_bound: usize,
    /// The tasks by size, the largest first, each to the first host with room.
    pub first_fit_decreasing: Vec<Resources>,
    /// The same, each to the host with the least left.
    pub best_fit_decreasing: Vec<Resources>,
    /// Hosts filled one after the other with the tasks that are most like what is left.
    pub dot_product: Vec<Resources>,
    /// The policy, with the tasks in the order in which they come.
    pub policy: Vec<Resources>,
    /// The policy, with the largest tasks first.
    pub policy_decreasing: Vec<Resources>,
    /// The policy, with the tasks placed together as a batch.
    pub policy_together: Vec<Resources>,
}

impl Packed {
    /// The fewest hosts of the three that know all tasks beforehand.
    #[must_use]
    pub fn best_known(&self) -> usize {
        let known = [&self.first_fit_decreasing, &self.best_fit_decreasing, &self.dot_product];
        known.into_iter().map(Vec::len).min().unwrap_or(0)
    }
}

/// Packs the tasks onto equal hosts. Tasks that are larger than a host are left out.
#[must_use]
pub fn pack(tasks: &[LabTask], host: Resources, policy: &Policy, seed: u64) -> Packed {
    let sizes = tasks.iter().map(|task| task.shape.resources);
    let in_order: Vec<Resources> = sizes.filter(|size| host.checked_sub(*size).is_some()).collect();
    let mut decreasing = in_order.clone();
    decreasing.sort_by_key(|size| Reverse((load(*size, host), *size)));
    let first = |_: Resources| 0;
    let best = |left: Resources| load(left, host);
    let first_fit_decreasing = fit(&decreasing, host, first);
    // No policy needs more than one for each task; twice what first fit needs is more than any that fits at all.
    let offered = (first_fit_decreasing.len() * 2 + 8).min(in_order.len());
    Packed {
        lower_bound: lower_bound(&in_order, host),
        first_fit_decreasing,
        best_fit_decreasing: fit(&decreasing, host, best),
        dot_product: dot_product(&decreasing, host),
        policy: placed(&in_order, host, offered, policy, seed),
        policy_decreasing: placed(&decreasing, host, offered, policy, seed),
        policy_together: placed_together(&in_order, host, offered, policy, seed),
    }
}

/// Parts of a host, of all resources together; a whole one is 2 << 20.
fn load(size: Resources, host: Resources) -> u64 {
    part(size.cpu.0, host.cpu.0) + part(size.memory.0, host.memory.0)
}

fn part(amount: u32, all: u32) -> u64 {
    (u64::from(amount) << 20) / u64::from(all.max(1))
}

fn lower_bound(sizes: &[Resources], host: Resources) -> usize {
    let hosts = |amount: fn(&Resources) -> u32, all: u32| {
        let sum: u64 = sizes.iter().map(|size| u64::from(amount(size))).sum();
        usize::try_from(sum.div_ceil(u64::from(all.max(1)))).unwrap_or(usize::MAX)
    };
    hosts(|size| size.cpu.0, host.cpu.0).max(hosts(|size| size.memory.0, host.memory.0))
}

fn without(left: Resources, size: Resources) -> Resources {
    left.checked_sub(size)
        .expect("it fits, for no task is larger than a host")
}

/// Puts each on the host of least rank with room, the first of equals, or on a new one.
fn fit(sizes: &[Resources], host: Resources, rank: impl Fn(Resources) -> u64) -> Vec<Resources> {
    let mut hosts: Vec<Resources> = vec![];
    for size in sizes {
        let fitting = hosts.iter_mut().filter(|left| left.checked_sub(*size).is_some());
        match fitting.min_by_key(|left| rank(**left)) {
            Some(left) => *left = without(*left, *size),
            None => hosts.push(without(host, *size)),
        }
    }
    hosts
}

fn dot_product(sizes: &[Resources], host: Resources) -> Vec<Resources> {
    let product = |size: &Resources, left: Resources| {
        part(size.cpu.0, host.cpu.0) * part(left.cpu.0, host.cpu.0)
            + part(size.memory.0, host.memory.0) * part(left.memory.0, host.memory.0)
    };
    let (mut rest, mut hosts) = (sizes.to_vec(), vec![]);
    while !rest.is_empty() {
        let mut left = host;
        loop {
            let fitting = rest
                .iter()
                .enumerate()
                .filter(|(_, size)| left.checked_sub(**size).is_some());
            let Some((chosen, size)) = fitting.max_by_key(|(_, size)| product(size, left)) else {
                break;
            };
            left = without(left, *size);
            rest.swap_remove(chosen);
        }
        hosts.push(left);
    }
    hosts
}

/// What the engine leaves on the hosts that it uses with a policy, task after task.
fn placed(sizes: &[Resources], host: Resources, offered: usize, policy: &Policy, seed: u64) -> Vec<Resources> {
    let problem = problem(sizes, host, offered, policy);
    let mut session = Session::new(&problem.hosts, TypicalTasks::default(), Seed(seed));
    let placed = |request| session.place(request).map(|placement| placement.host());
    left(sizes, host, problem.requests.iter().map(placed))
}

/// The same for all at once.
fn placed_together(sizes: &[Resources], host: Resources, offered: usize, policy: &Policy, seed: u64) -> Vec<Resources> {
    let problem = problem(sizes, host, offered, policy);
    let plan = place_together(&problem, Seed(seed));
    // A plan tells its decisions in the order of the requests.
    let places = plan.decisions.into_iter().map(|decision| match decision.outcome {
        Outcome::Placed(placement) => Some(placement.host()),
        Outcome::Unplaced(_) => None,
    });
    left(sizes, host, places)
}

fn problem(sizes: &[Resources], host: Resources, offered: usize, policy: &Policy) -> PlacementProblem {
    let idle = |number: usize| workload::host(number, "", host, Gpus::default(), None);
    let request = |(number, size): (usize, &Resources)| {
        let ask = Ask {
            group: "packing".to_owned(),
            shape: Shape::of(*size),
            strategies: policy.strategies().to_vec(),
            ..Ask::default()
        };
        TaskRequest::new(TaskId(number as u128), ask)
    };
    PlacementProblem {
        hosts: (0..offered).map(idle).collect(),
        requests: sizes.iter().enumerate().map(request).collect(),
        typical: None,
    }
}

/// What is left on the hosts that tasks went to. A policy that leaves tasks without a host although there are twice as many as first fit needs has used them
/// all, and each of these tasks counts as if it had got one more for itself.
fn left(
    sizes: &[Resources],
    host: Resources,
    places: impl Iterator<Item = Option<ContainerInstanceId>>,
) -> Vec<Resources> {
    let (mut hosts, mut alone) = (BTreeMap::new(), vec![]);
    for (size, place) in sizes.iter().zip(places) {
        match place {
            Some(id) => {
                let left = hosts.entry(id).or_insert(host);
                *left = without(*left, *size);
            }
            None => alone.push(without(host, *size)),
        }
    }
    hosts.into_values().chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laboratory::{Synthetic, generate};

    fn tasks(sizes: &[(u32, u32)]) -> Vec<LabTask> {
        let task = |(cpu, memory): &(u32, u32)| LabTask {
            name: String::new(),
            group: "g".to_owned(),
            shape: Shape::of(Resources::new(*cpu, *memory)),
            arrives_s: 0,
            lasts_s: None,
        };
        sizes.iter().map(task).collect()
    }

    fn tightest() -> Policy {
        "tightest".parse().expect("a policy")
    }

    #[test]
    fn tasks_of_two_sizes_are_packed_as_the_heuristics_are_known_to() {
        let sizes = [(60, 10), (60, 10), (40, 90), (40, 90), (200, 1)];
        let packed = pack(&tasks(&sizes), Resources::new(100, 100), &tightest(), 1);
        // Two pairs fill a host each, to the last.
        let full = vec![Resources::new(0, 0); 2];
        let expected = Packed {
            lower_bound: 2,
            first_fit_decreasing: full.clone(),
            best_fit_decreasing: full.clone(),
            dot_product: full.clone(),
            policy: full.clone(),
            policy_decreasing: full.clone(),
            policy_together: full,
        };
        assert_eq!(packed, expected);
    }

    #[test]
    fn own_policy_needs_at_most_a_twentieth_more_hosts_than_the_best_known_where_it_knows_as_much() {
        for kind in Synthetic::ALL {
            let of_seed = |seed| {
                let workload = generate(kind, 1, 3000, seed);
                let packed = pack(&workload.tasks, workload.hosts[0].registered, &tightest(), seed);
                [packed.policy_together.len(), packed.policy.len(), packed.best_known()]
            };
            let sum = |sum: [usize; 3], one: [usize; 3]| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]];
            let [together, one_by_one, best] = (1..4).map(of_seed).fold([0; 3], sum);
            assert!(
                together * 100 <= best * 105,
                "{kind:?}: {together} hosts instead of {best}"
            );
            // Who takes tasks as they come, and does not know those to come, pays most where proportions are far apart.
            let most = if kind == Synthetic::PowersOfTwo { 112 } else { 105 };
            assert!(
                one_by_one * 100 <= best * most,
                "{kind:?}: {one_by_one} hosts instead of {best}"
            );
        }
    }
}
