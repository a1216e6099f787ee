//! Many tasks put on few hosts together: host by host, each filled from all that is left before the next is begun. Pure; it knows hosts
//! as bins and tasks that are alike as piles.
//!
//! Whoever places tasks one by one has to take them as they come, and leaves on each host what the next task does not fit into. Here the
//! host is fixed and the task is free: of all that fit, the one goes in that leaves the host best filled. What "best" is has
//! no one answer (two-dimensional vector bin packing is NP-hard), so three rules are tried and the result with the fewest hosts is
//! taken. The rules are bin-centric ones after Panigrahy, Talwar, Uyeda and Wieder, "Heuristics for Vector Bin Packing" (2011), which
//! weigh each resource by how much of it all tasks that are left ask for.
//!
//! With h hosts that get a task, t tasks and p piles it takes O((t + h) p).

/// What a rule computes in: parts of a host, and weights that add up to as many.
const WHOLE: i64 = 1 << 16;

/// Amounts of the two resources that every task takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    /// CPU units.
    pub(super) cpu: u32,
    /// MiB.
    pub(super) memory: u32,
}

/// A host to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    /// What it has free.
    pub(super) free: Amounts,
    /// What it has in all.
    pub(super) size: Amounts,
    /// Whether tasks are on it, so that one more makes no other host necessary.
    pub(super) in_use: bool,
}

/// Tasks that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pile {
    /// What each takes.
    pub(super) need: Amounts,
    /// How many there are.
    pub(super) tasks: u32,
}

/// Tasks of a pile on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) bin: usize,
    pub(super) pile: usize,
    pub(super) tasks: u32,
}

/// Which of the tasks that fit goes in next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The one that most resembles what is free: the greatest dot product of the two, weighed by what is scarce.
    Likeness,
    /// The one behind which what is free is in the proportion of what is asked for; the larger of two such.
    Proportion,
    /// Both: the square of what is out of proportion, less the dot product.
    Both,
}

const RULES: [Rule; 3] = [Rule::Likeness, Rule::Proportion, Rule::Both];

/// Puts the tasks into the bins, in as few as the rules manage. Bins are begun in the order given, those in use before the others.
/// A bin takes of a pile at most as many as `takes` says. What fits nowhere is in no load.
pub(super) fn pack(bins: &[Bin], piles: &[Pile], takes: impl Fn(usize, usize) -> u32) -> Vec<Load> {
    let attempt = |rule| {
        let loads = fill(bins, piles, &takes, rule);
        let placed: u64 = loads.iter().map(|load| u64::from(load.tasks)).sum();
        (placed, loads)
    };
    let begun = |loads: &[Load]| {
        let mut last = None;
        // The loads of a bin follow each other.
        let fresh = loads
            .iter()
            .filter(|load| !bins[load.bin].in_use && last.replace(load.bin) != Some(load.bin));
        fresh.count()
    };
    let attempts = RULES.map(attempt).into_iter();
    let best = attempts.min_by_key(|(placed, loads)| (std::cmp::Reverse(*placed), begun(loads)));
    best.map(|(_, loads)| loads).unwrap_or_default()
}

fn fill(bins: &[Bin], piles: &[Pile], takes: &impl Fn(usize, usize) -> u32, rule: Rule) -> Vec<Load> {
    let mut left: Vec<u32> = piles.iter().map(|pile| pile.tasks).collect();
    let mut asked = Asked::of(piles);
    let mut loads = Vec::new();
    let (used, idle): (Vec<usize>, Vec<usize>) = (0..bins.len()).partition(|bin| bins[*bin].in_use);
    for bin in used.into_iter().chain(idle) {
        if asked.tasks == 0 {
            break;
        }
        let size = bins[bin].size;
        let mut free = bins[bin].free;
        // What may go in at all, with how many of it.
        let fitting = (0..piles.len()).filter(|pile| left[*pile] > 0 && fits(piles[*pile].need, free));
        let allowed = fitting.map(|pile| (pile, left[pile].min(takes(bin, pile))));
        let mut allowed: Vec<(usize, u32)> = allowed.filter(|(_, tasks)| *tasks > 0).collect();
        while !allowed.is_empty() {
            let weights = asked.weights(size);
            let place = (0..allowed.len()).min_by_key(|place| {
                let need = piles[allowed[*place].0].need;
                (rule.rank(need, free, size, weights), allowed[*place].0)
            });
            let Some(place) = place else { break };
            let (pile, tasks) = &mut allowed[place];
            let (pile, need) = (*pile, piles[*pile].need);
            *tasks -= 1;
            left[pile] -= 1;
            asked.remove(need);
            free = less(free, need);
            match loads.last_mut() {
                Some(Load { bin: b, pile: p, tasks }) if (*b, *p) == (bin, pile) => *tasks += 1,
                _ => loads.push(Load { bin, pile, tasks: 1 }),
            }
            allowed.retain(|(pile, tasks)| *tasks > 0 && fits(piles[*pile].need, free));
        }
    }
    loads
}

/// What all tasks that are left ask for.
struct Asked {
    tasks: u64,
    cpu: u64,
    memory: u64,
}

impl Asked {
    fn of(piles: &[Pile]) -> Self {
        let sum = |amount: fn(&Pile) -> u32| piles.iter().map(|p| u64::from(p.tasks) * u64::from(amount(p))).sum();
        Self {
            tasks: piles.iter().map(|pile| u64::from(pile.tasks)).sum(),
            cpu: sum(|pile| pile.need.cpu),
            memory: sum(|pile| pile.need.memory),
        }
    }

    fn remove(&mut self, need: Amounts) {
        self.tasks -= 1;
        self.cpu -= u64::from(need.cpu);
        self.memory -= u64::from(need.memory);
    }

    /// How scarce CPU and memory are on hosts of this size: two weights whose sum is [`WHOLE`].
    fn weights(&self, size: Amounts) -> (i64, i64) {
        // In as many digits as a division leaves: hosts that all tasks together would fill, in parts of a host.
        let hosts = |asked: u64, size: u32| (u128::from(asked) << 16) / u128::from(size.max(1));
        let (cpu, memory) = (hosts(self.cpu, size.cpu), hosts(self.memory, size.memory));
        let weight = (cpu * WHOLE.unsigned_abs() as u128).checked_div(cpu + memory);
        let weight = weight
            .and_then(|weight| i64::try_from(weight).ok())
            .unwrap_or(WHOLE / 2);
        (weight, WHOLE - weight)
    }
}

impl Rule {
    /// How much better another task would be; the least is best.
    fn rank(self, need: Amounts, free: Amounts, size: Amounts, (by_cpu, by_memory): (i64, i64)) -> i64 {
        let part = |amount: u32, of: u32| (i64::from(amount) << 16) / i64::from(of.max(1));
        let (cpu, memory) = (part(need.cpu, size.cpu), part(need.memory, size.memory));
        let (free_cpu, free_memory) = (part(free.cpu, size.cpu), part(free.memory, size.memory));
        let likeness = || (by_cpu * cpu / WHOLE) * free_cpu + (by_memory * memory / WHOLE) * free_memory;
        // How far what is left would be from the proportion of what is asked for.
        let apart = ((free_cpu - cpu) * by_memory - (free_memory - memory) * by_cpu).abs() / WHOLE;
        match self {
            Self::Likeness => -likeness(),
            Self::Proportion => apart - (cpu + memory) * 15 / 100,
            Self::Both => apart * apart - likeness() * 3 / 10,
        }
    }
}

fn fits(need: Amounts, free: Amounts) -> bool {
    need.cpu <= free.cpu && need.memory <= free.memory
}

fn less(free: Amounts, need: Amounts) -> Amounts {
    Amounts {
        cpu: free.cpu - need.cpu,
        memory: free.memory - need.memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts(cpu: u32, memory: u32) -> Amounts {
        Amounts { cpu, memory }
    }

    fn idle(cpu: u32, memory: u32) -> Bin {
        Bin {
            free: amounts(cpu, memory),
            size: amounts(cpu, memory),
            in_use: false,
        }
    }

    fn pile(cpu: u32, memory: u32, tasks: u32) -> Pile {
        Pile {
            need: amounts(cpu, memory),
            tasks,
        }
    }

    fn begun(loads: &[Load]) -> usize {
        loads
            .iter()
            .map(|load| load.bin)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    }

    #[test]
    fn tasks_that_complement_each_other_share_hosts() {
        let bins = [idle(1000, 1000); 20];
        let piles = [pile(700, 200, 10), pile(300, 800, 10)];
        let loads = pack(&bins, &piles, |_, _| u32::MAX);
        assert_eq!(begun(&loads), 10);
    }

    #[test]
    fn tasks_go_to_hosts_in_use_before_others_are_begun() {
        let mut bins = [idle(1000, 1000); 3];
        (bins[1].in_use, bins[1].free) = (true, amounts(300, 300));
        let loads = pack(&bins, &[pile(100, 100, 4)], |_, _| u32::MAX);
        let load = |bin, tasks| Load { bin, pile: 0, tasks };
        assert_eq!(loads, [load(1, 3), load(0, 1)]);
    }

    /// Sizes that look random, from so much to so much, small ones as often as large ones are rare.
    fn sizes(count: u64, most: u32) -> impl Iterator<Item = u32> {
        (0..count).map(move |number| {
            let draw =
                crate::placement::Seed(number).draw(crate::model::TaskId(1), crate::model::ContainerInstanceId(1));
            let halved = u32::try_from(draw % 6).expect("small");
            (most >> halved) - u32::try_from(draw / 7 % u64::from(most >> (halved + 1))).expect("small")
        })
    }

    #[test]
    fn tasks_of_mixed_sizes_take_hardly_more_hosts_than_they_must() {
        for (most_cpu, most_memory) in [(9000, 36_000), (5000, 20_000), (9000, 10_000), (2000, 36_000)] {
            let memory: Vec<u32> = sizes(777, most_memory).skip(77).collect();
            let piles: Vec<Pile> = sizes(700, most_cpu)
                .zip(memory)
                .map(|(cpu, memory)| pile(cpu, memory, 7))
                .collect();
            let bins = vec![idle(16_384, 65_536); 4000];
            let loads = pack(&bins, &piles, |_, _| u32::MAX);
            let total = |amount: fn(&Pile) -> u32| piles.iter().map(|p| u64::from(amount(p) * p.tasks)).sum::<u64>();
            let least = total(|p| p.need.cpu)
                .div_ceil(16_384)
                .max(total(|p| p.need.memory).div_ceil(65_536));
            assert_eq!(loads.iter().map(|load| load.tasks).sum::<u32>(), 4900);
            let begun = begun(&loads) as u64;
            assert!(
                begun * 100 <= least * 103,
                "{begun} hosts, where {least} are the least ({most_cpu}, {most_memory})"
            );
        }
    }

    proptest! {
        #[test]
        fn hosts_get_no_more_than_they_have_free_and_take(
            bins in proptest::collection::vec((0u32..50, 0u32..50, 0u32..20, 0u32..20, any::<bool>()), 0..6),
            piles in proptest::collection::vec((0u32..30, 0u32..30, 0u32..5), 0..5),
            limits in proptest::collection::vec(0u32..4, 30),
        ) {
            let bin = |(cpu, memory, more_cpu, more_memory, in_use)| Bin {
                free: amounts(cpu, memory),
                size: amounts(cpu + more_cpu, memory + more_memory),
                in_use,
            };
            let bins: Vec<Bin> = bins.into_iter().map(bin).collect();
            let piles: Vec<Pile> = piles.into_iter().map(|(cpu, memory, tasks)| pile(cpu, memory, tasks)).collect();
            let limit = |bin: usize, pile: usize| limits[bin * 5 + pile];
            let loads = pack(&bins, &piles, limit);
            let mut on = std::collections::BTreeMap::<(usize, usize), u32>::new();
            for load in &loads {
                *on.entry((load.bin, load.pile)).or_default() += load.tasks;
            }
            for (at, bin) in bins.iter().enumerate() {
                let sum = |amount: fn(Amounts) -> u32| (0..piles.len())
                    .map(|p| on.get(&(at, p)).copied().unwrap_or(0) * amount(piles[p].need)).sum::<u32>();
                prop_assert!(sum(|a| a.cpu) <= bin.free.cpu && sum(|a| a.memory) <= bin.free.memory);
            }
            for (at, pile) in piles.iter().enumerate() {
                let tasks: u32 = (0..bins.len()).map(|bin| on.get(&(bin, at)).copied().unwrap_or(0)).sum();
                prop_assert!(tasks <= pile.tasks);
                // What is left finds no room on any host that would take one more.
                for (bin, b) in bins.iter().enumerate().filter(|_| tasks < pile.tasks) {
                    let left = |amount: fn(Amounts) -> u32| amount(b.free) - (0..piles.len())
                        .map(|p| on.get(&(bin, p)).copied().unwrap_or(0) * amount(piles[p].need)).sum::<u32>();
                    let more = on.get(&(bin, at)).copied().unwrap_or(0) < limit(bin, at);
                    prop_assert!(!(more && fits(pile.need, amounts(left(|a| a.cpu), left(|a| a.memory)))));
                }
            }
        }
    }
}
