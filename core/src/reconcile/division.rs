//! How tasks are divided among the capacity providers of a strategy: by base first, then by weight (ECS's rule). Pure.
//!
//! Where a service's tasks go is a sequence that its strategy alone decides: the tasks of the base, then each next task to a capacity provider that has
//! less than its exact share, and of those to the one that is served the least for its weight (the quota method of Balinski and Young). After any number of
//! tasks, no capacity provider is a whole task away from its exact share. A service with so many tasks should have as many of each as the
//! sequence up to there; those that differ, since hosts went or had no room, are brought back to it with each task that starts or stops.

use std::sync::Arc;

use crate::model::{CapacityProviderName, CapacityProviderStrategyItem, Service, Task};

/// Tasks of one capacity provider, or of any host, by number.
pub(super) type Part = (Option<CapacityProviderName>, usize);

/// Where `count` more tasks of a service are to go, beside those that it has; parts without a task are left out.
pub(super) fn of_new(service: &Service, has: &[Arc<Task>], count: usize) -> Vec<Part> {
    let strategy = &service.capacity_provider_strategy;
    if strategy.is_empty() {
        return vec![(None, count)];
    }
    let added = more(strategy, counts(strategy, has), count);
    let parts = strategy.iter().zip(added).filter(|(_, count)| *count > 0);
    parts
        .map(|(item, count)| (Some(item.capacity_provider.clone()), count))
        .collect()
}

/// The tasks of a service by what they are to its strategy, and how many of each are to stop so that `count` fewer are left.
pub(super) fn of_surplus(service: &Service, has: &[Arc<Task>], count: usize) -> Vec<(Vec<Arc<Task>>, usize)> {
    let strategy = &service.capacity_provider_strategy;
    let place = |task: &Arc<Task>| place_of(strategy, task.capacity_provider.as_ref());
    if strategy.is_empty() {
        return vec![(has.to_vec(), count)];
    }
    // Those that the strategy does not know have no part in it, and go first.
    let others: Vec<Arc<Task>> = has.iter().filter(|task| place(task).is_none()).cloned().collect();
    let of_others = count.min(others.len());
    let removed = fewer(strategy, counts(strategy, has), count - of_others);
    let mut parts = vec![(others, of_others)];
    parts.extend(removed.into_iter().enumerate().map(|(wanted, count)| {
        let tasks = has.iter().filter(|task| place(task) == Some(wanted));
        (tasks.cloned().collect(), count)
    }));
    parts
}

/// How many of `count` tasks that belong to no service go to each capacity provider of a strategy. Each gets its exact share, or the whole number of tasks
/// right below or above it; `turn` decides which, and does so for each as often as its share says, if it is evenly drawn.
#[must_use]
pub fn at_once(strategy: &[CapacityProviderStrategyItem], count: u32, turn: u64) -> Vec<u32> {
    let mut left = count;
    let mut parts: Vec<u32> = vec![];
    for item in strategy {
        let of_base = item.base.min(left);
        left -= of_base;
        parts.push(of_base);
    }
    let all = weights(strategy);
    let (mut weight, mut given) = (0, 0);
    for (part, item) in parts.iter_mut().zip(strategy) {
        weight += u64::from(item.weight);
        let until = (u64::from(left) * weight + turn % all) / all;
        *part += u32::try_from(until - given).unwrap_or(0);
        given = until;
    }
    parts
}

fn counts(strategy: &[CapacityProviderStrategyItem], tasks: &[Arc<Task>]) -> Vec<usize> {
    let mut counts = vec![0; strategy.len()];
    for task in tasks {
        if let Some(place) = place_of(strategy, task.capacity_provider.as_ref()) {
            counts[place] += 1;
        }
    }
    counts
}

fn place_of(strategy: &[CapacityProviderStrategyItem], name: Option<&CapacityProviderName>) -> Option<usize> {
    let name = name?;
    strategy.iter().position(|item| item.capacity_provider == *name)
}

/// All weights together; 1 where they are 0, which requests are refused for.
fn weights(strategy: &[CapacityProviderStrategyItem]) -> u64 {
    strategy.iter().map(|item| u64::from(item.weight)).sum::<u64>().max(1)
}

/// How many of `count` more tasks go to each.
fn more(strategy: &[CapacityProviderStrategyItem], mut counts: Vec<usize>, count: usize) -> Vec<usize> {
    let mut sequence = Sequence::of(strategy);
    let all: usize = counts.iter().sum();
    (0..all).for_each(|_| _ = sequence.next_place());
    let mut added = vec![0; strategy.len()];
    for _ in 0..count {
        sequence.next_place();
        // What is missing comes to 1 in all, so that what is missing most is missing.
        let place = furthest(sequence.given.iter().copied().zip(counts.iter().copied()));
        counts[place] += 1;
        added[place] += 1;
    }
    added
}

/// How many of `count` tasks fewer are of each.
fn fewer(strategy: &[CapacityProviderStrategyItem], mut counts: Vec<usize>, count: usize) -> Vec<usize> {
    let mut sequence = Sequence::of(strategy);
    let all: usize = counts.iter().sum();
    let mut places: Vec<usize> = (0..all).map(|_| sequence.next_place()).collect();
    let mut wanted = sequence.given;
    let mut removed = vec![0; strategy.len()];
    for _ in 0..count.min(all) {
        let last = places.pop().expect("as many places as tasks");
        wanted[last] -= 1;
        let place = furthest(counts.iter().copied().zip(wanted.iter().copied()));
        counts[place] -= 1;
        removed[place] += 1;
    }
    removed
}

/// The first place whose first number is the most above its second.
fn furthest(pairs: impl Iterator<Item = (usize, usize)>) -> usize {
    let above = pairs.enumerate().map(|(place, (first, second))| {
        let above = first.cast_signed() - second.cast_signed();
        (above, std::cmp::Reverse(place))
    });
    above.max().map_or(0, |(_, std::cmp::Reverse(place))| place)
}

/// Where one task after the other goes.
struct Sequence<'s> {
    strategy: &'s [CapacityProviderStrategyItem],
    /// Tasks of each so far.
    given: Vec<usize>,
    /// Tasks so far that were given by weight.
    by_weight: u64,
}

impl<'s> Sequence<'s> {
    fn of(strategy: &'s [CapacityProviderStrategyItem]) -> Self {
        Self {
            strategy,
            given: vec![0; strategy.len()],
            by_weight: 0,
        }
    }

    fn next_place(&mut self) -> usize {
        let below_base = |place: &usize| self.given[*place] < base(&self.strategy[*place]);
        let place = match (0..self.strategy.len()).find(below_base) {
            Some(place) => place,
            None => {
                self.by_weight += 1;
                self.next_by_weight()
            }
        };
        self.given[place] += 1;
        place
    }

    fn next_by_weight(&self) -> usize {
        let all = weights(self.strategy);
        let weighed = |place: usize| {
            let item = &self.strategy[place];
            (
                self.given[place].saturating_sub(base(item)) as u64,
                u64::from(item.weight),
            )
        };
        let has_less = |place: &usize| {
            let (given, weight) = weighed(*place);
            given * all < weight * self.by_weight
        };
        let less_served = |place: &usize, other: &usize| {
            let ((given, weight), (others, others_weight)) = (weighed(*place), weighed(*other));
            // By given + 1 over weight, without a division.
            let order = ((given + 1) * others_weight).cmp(&((others + 1) * weight));
            order.then(place.cmp(other))
        };
        (0..self.strategy.len())
            .filter(has_less)
            .min_by(less_served)
            .unwrap_or(0)
    }
}

fn base(item: &CapacityProviderStrategyItem) -> usize {
    usize::try_from(item.base).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strategy(items: &[(u32, u32)]) -> Vec<CapacityProviderStrategyItem> {
        let item = |(number, (base, weight)): (usize, &(u32, u32))| CapacityProviderStrategyItem {
            capacity_provider: format!("pool-{number}").into(),
            weight: *weight,
            base: *base,
        };
        items.iter().enumerate().map(item).collect()
    }

    fn any_strategy() -> impl Strategy<Value = Vec<CapacityProviderStrategyItem>> {
        let weights = prop::collection::vec(0..=1000u32, 1..8).prop_filter("some weight", |w| w.iter().any(|w| *w > 0));
        (weights, 0..20u32, any::<prop::sample::Index>()).prop_map(|(weights, base, of)| {
            let of = of.index(weights.len());
            let items = weights.iter().enumerate();
            let items: Vec<_> = items.map(|(n, w)| (if n == of { base } else { 0 }, *w)).collect();
            strategy(&items)
        })
    }

    /// Whether each has its base and a number right beside its exact share of the rest.
    fn is_exact(strategy: &[CapacityProviderStrategyItem], counts: &[u64]) -> bool {
        let (all, weights) = (counts.iter().sum::<u64>(), weights(strategy));
        let base: u64 = strategy.iter().map(|item| u64::from(item.base)).sum();
        let rest = all.saturating_sub(base);
        strategy.iter().zip(counts).all(|(item, count)| {
            let of_base = u64::from(item.base).min(all);
            let share = u64::from(item.weight) * rest;
            *count >= of_base && ((count - of_base) * weights).abs_diff(share) < weights
        })
    }

    fn wide(counts: &[usize]) -> Vec<u64> {
        counts.iter().map(|count| *count as u64).collect()
    }

    fn sum(counts: &[usize], others: &[usize]) -> Vec<usize> {
        counts.iter().zip(others).map(|(count, other)| count + other).collect()
    }

    #[test]
    fn tasks_go_to_the_base_first_and_then_by_weight() {
        let strategy = strategy(&[(2, 1), (0, 3)]);
        let after = |count| more(&strategy, vec![0, 0], count);
        assert_eq!([after(1), after(2)], [[1, 0], [2, 0]]);
        assert_eq!([after(3), after(6), after(10)], [[2, 1], [3, 3], [4, 6]]);
    }

    #[test]
    fn service_that_lost_a_pool_is_brought_back_by_what_starts() {
        let strategy = strategy(&[(0, 1), (0, 1)]);
        assert_eq!(more(&strategy, vec![0, 5], 5), [5, 0]);
        assert_eq!(more(&strategy, vec![0, 5], 2), [2, 0]);
        assert_eq!(fewer(&strategy, vec![0, 5], 2), [0, 2]);
    }

    #[test]
    fn capacity_provider_without_weight_gets_its_base_alone() {
        assert_eq!(more(&strategy(&[(3, 0), (0, 1)]), vec![0, 0], 10), [3, 7]);
        assert_eq!(at_once(&strategy(&[(3, 0), (0, 1)]), 10, 7), [3, 7]);
    }

    #[test]
    fn one_task_at_a_time_goes_to_each_as_often_as_its_weight_says() {
        let strategy = strategy(&[(0, 1), (0, 3)]);
        let mut all = [0, 0];
        for turn in 0..400 {
            let parts = at_once(&strategy, 1, turn);
            all = [all[0] + parts[0], all[1] + parts[1]];
        }
        assert_eq!(all, [100, 300]);
    }

    proptest! {
        #[test]
        fn service_that_grows_and_shrinks_is_always_within_a_task_of_its_exact_shares(
            strategy in any_strategy(), steps in prop::collection::vec((any::<bool>(), 0..60usize), 1..12)
        ) {
            let mut counts = vec![0; strategy.len()];
            for (grows, count) in steps {
                if grows {
                    counts = sum(&counts, &more(&strategy, counts.clone(), count));
                } else {
                    let count = count.min(counts.iter().sum());
                    let removed = fewer(&strategy, counts.clone(), count);
                    counts = counts.iter().zip(removed).map(|(has, gone)| has - gone).collect();
                }
                prop_assert!(is_exact(&strategy, &wide(&counts)), "{:?} by {:?}", counts, strategy);
            }
        }

        #[test]
        fn service_that_was_disturbed_is_exact_once_it_has_grown_past_it(
            strategy in any_strategy(), disturbed in prop::collection::vec(0..30usize, 8)
        ) {
            let counts: Vec<usize> = strategy.iter().zip(disturbed).map(|(item, n)| if item.weight > 0 { n } else { 0 }).collect();
            let all: usize = counts.iter().sum();
            // Enough for the least of the weights to come to what was disturbed: 30 of 50 parts of 8,000.
            let count = 5_000;
            prop_assume!(strategy.iter().all(|item| item.weight == 0 || item.weight > 50));
            let after = sum(&counts, &more(&strategy, counts.clone(), count));
            prop_assert_eq!(after.iter().sum::<usize>(), all + count);
            prop_assert!(is_exact(&strategy, &wide(&after)), "{:?} by {:?}", after, strategy);
        }

        #[test]
        fn tasks_at_once_are_within_a_task_of_their_exact_shares(
            strategy in any_strategy(), count in 1..=10u32, turn in any::<u64>()
        ) {
            let parts = at_once(&strategy, count, turn);
            prop_assert_eq!(parts.iter().sum::<u32>(), count);
            let parts: Vec<u64> = parts.into_iter().map(u64::from).collect();
            prop_assert!(is_exact(&strategy, &parts), "{:?} by {:?}", parts, strategy);
        }
    }
}
