//! How far strategies are from the fewest hosts that there could be, on problems small enough to try everything. Pure.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::model::{ContainerInstanceId, PlacementExtension, PlacementStrategy, Resources, TaskId};
use berth_core::placement::{
    Ask, Gpus, PlacementPlan, PlacementProblem, Seed, Shape, TaskRequest, place, place_together,
};

use super::workload::host;
use crate::draws::Draws;

/// What each host has of CPU and of memory.
const HOST: u32 = 1000;

/// What each task takes of CPU and of memory at least.
const SMALLEST: u64 = 50;

/// What problems are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Hosts, at most. All ways are tried, so that more than [`Sizes::default`] take long.
    pub hosts: u64,
    /// Tasks, at most, likewise.
    pub tasks: u64,
    /// Percent of a host that a task takes of CPU and of memory, at most; at least it takes 5 % of each.
    pub largest: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            hosts: 8,
            tasks: 12,
            largest: 70,
        }
    }
}

/// How the tasks of a problem were placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// One by one, in the order given.
    OneByOne,
    /// All together.
    Together,
}

/// How often so many hosts more were used than there had to be.
pub type Gaps = BTreeMap<Way, BTreeMap<usize, u64>>;

/// Draws so many problems from a seed, of hosts that are alike and tasks of any sizes that fit on them in some way, and places their tasks with Berth's own
/// strategy.
#[must_use]
pub fn gaps(problems: u64, seed: u64, sizes: Sizes) -> Gaps {
    let mut draws = Draws::new(seed);
    let mut gaps = Gaps::new();
    for number in 0..problems {
        let hosts = usize::try_from(1 + draws.below(sizes.hosts)).expect("few");
        let (tasks, least) = loop {
            let tasks = tasks(&mut draws, sizes);
            if let Some(least) = fewest(&tasks, hosts) {
                break (tasks, least);
            }
        };
        let problem = problem(&tasks, hosts);
        let plans = [
            (Way::OneByOne, place(&problem, Seed(number))),
            (Way::Together, place_together(&problem, Seed(number))),
        ];
        for (way, plan) in plans {
            *gaps
                .entry(way)
                .or_default()
                .entry(gap(&plan, &tasks, least, hosts))
                .or_default() += 1;
        }
    }
    gaps
}

fn tasks(draws: &mut Draws, sizes: Sizes) -> Vec<Resources> {
    let count = 1 + draws.below(sizes.tasks);
    let largest = (sizes.largest * u64::from(HOST) / 100).clamp(SMALLEST, u64::from(HOST));
    let mut amount = || u32::try_from(draws.between(SMALLEST, largest)).expect("no more than a host has");
    (0..count).map(|_| Resources::new(amount(), amount())).collect()
}

/// The fewest hosts that the tasks fit on; `None` if they do not fit on so many.
fn fewest(tasks: &[Resources], hosts: usize) -> Option<usize> {
    let mut tasks = tasks.to_vec();
    // The largest first: what does not fit shows early.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.cpu.0 + task.memory.0));
    let mut best = hosts + 1;
    search(&tasks, &mut Vec::new(), &mut best);
    (best <= hosts).then_some(best)
}

/// Puts the next task on each host in use that it fits on, and on one more.
fn search(tasks: &[Resources], free: &mut Vec<Resources>, best: &mut usize) {
    if free.len() >= *best {
        return;
    }
    let Some((task, later)) = tasks.split_first() else {
        *best = free.len();
        return;
    };
    let mut tried = BTreeSet::new();
    for host in 0..free.len() {
        let before = free[host];
        if let Some(left) = before.checked_sub(*task)
            // Hosts with as much free are all the same.
            && tried.insert((before.cpu, before.memory))
        {
            free[host] = left;
            search(later, free, best);
            free[host] = before;
        }
    }
    if free.len() + 1 < *best
        && let Some(left) = Resources::new(HOST, HOST).checked_sub(*task)
    {
        free.push(left);
        search(later, free, best);
        free.pop();
    }
}

fn problem(tasks: &[Resources], hosts: usize) -> PlacementProblem {
    let host = |number: usize| {
        host(
            number,
            &format!("host-{number}"),
            Resources::new(HOST, HOST),
            Gpus::default(),
            None,
        )
    };
    let request = |(number, resources): (usize, &Resources)| {
        let ask = Ask {
            group: format!("family:{number}"),
            shape: Shape::of(*resources),
            strategies: vec![PlacementStrategy::Extension {
                extension: PlacementExtension::Tightest,
            }],
            ..Ask::default()
        };
        TaskRequest::new(TaskId(number as u128), ask)
    };
    PlacementProblem {
        hosts: (0..hosts).map(host).collect(),
        requests: tasks.iter().enumerate().map(request).collect(),
        typical: None,
    }
}

/// How many hosts more the plan used than the fewest; where tasks are left over, as if they had got hosts of their own.
fn gap(plan: &PlacementPlan, tasks: &[Resources], least: usize, hosts: usize) -> usize {
    let used: BTreeSet<ContainerInstanceId> = plan.placements().map(|(_, host)| host).collect();
    let placed = plan.placements().count();
    let more = if placed < tasks.len() {
        hosts - used.len() + tasks.len() - placed
    } else {
        0
    };
    used.len() + more - least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_hosts_are_found_where_taking_the_first_that_fits_takes_more() {
        let sizes = [(600, 100), (400, 100), (500, 100), (500, 100)];
        let tasks = sizes.map(|(cpu, memory)| Resources::new(cpu, memory));
        assert_eq!(fewest(&tasks, 4), Some(2));
        assert_eq!(fewest(&tasks, 1), None);
    }

    #[test]
    fn problems_are_no_larger_than_asked_for() {
        let sizes = Sizes {
            tasks: 3,
            largest: 20,
            ..Sizes::default()
        };
        let mut draws = Draws::new(1);
        for _ in 0..200 {
            let tasks = tasks(&mut draws, sizes);
            assert!((1..=3).contains(&tasks.len()), "{tasks:?}");
            let fits = |amount: u32| (50..=200).contains(&amount);
            assert!(
                tasks.iter().all(|task| fits(task.cpu.0) && fits(task.memory.0)),
                "{tasks:?}"
            );
        }
        // Three tasks that take a fifth at most fit on one host however they come.
        let gaps = gaps(100, 1, sizes);
        assert!(gaps.values().all(|by_gap| by_gap.keys().eq([&0])), "{gaps:?}");
    }

    #[test]
    fn tasks_placed_together_are_seldom_more_than_one_host_from_the_fewest() {
        let gaps = gaps(400, 1, Sizes::default());
        let share = |way, most| {
            let by_gap = &gaps[&way];
            let near: u64 = by_gap.range(..=most).map(|(_, problems)| problems).sum();
            near * 100 / 400
        };
        assert!(share(Way::Together, 0) >= 95, "{gaps:?}");
        assert!(share(Way::OneByOne, 0) >= 80, "{gaps:?}");
        assert!(share(Way::Together, 1) >= 98, "{gaps:?}");
    }
}
