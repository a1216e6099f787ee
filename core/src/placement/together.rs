//! [`place_together`]: many tasks of many groups placed at once, on fewer hosts than one by one. Pure.
//!
//! Wanted, the first weighing most: where not all can be placed, groups get equal shares; no task is left over that could have a host; groups are
//! level over what they spread over; few hosts are begun. A leader does so with services that want tasks at the same moment. In steps:
//!
//! 1. Tasks that fill hosts are divided over the classes that they spread over (say, zones), each group as level as it can be, and
//!    what is left to choose so that the classes get equal loads.
//! 2. In each class they are packed, host by host (`packing.rs`).
//! 3. All others, and what found no room in its class, are placed one by one.
//! 4. If a task is left over then for which there would be room without the others, all are placed anew one by one, the next one always that of the group that has the smallest share
//!    (dominant resource fairness, Ghodsi et al., NSDI 2011), what it had before included.
//!
//! Nothing depends on what a planner was used for before: kinds, fields and classes come in the order of the requests and of the hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::board::{Board, HostIndex};
use super::filter;
use super::groups::{FieldIndex, LevelIndex};
use super::need::Need;
use super::order::Room;
use super::packing::{self, Amounts, Bin, Load, Pile};
use super::plan::{Outcome, Placement, PlacementPlan};
use super::planner::Planner;
use super::problem::{PlacementProblem, TaskRequest};
use super::roads::Road;
use super::score::MAX_STRATEGIES;
use super::seed::Seed;
use super::strategy::Ties;
use crate::model::Manner;

/// Classes of hosts over which tasks are divided; where there are more, as with a value for each host, tasks are placed one by one.
const MAX_CLASSES: usize = 64;

/// Decides for all requests together where they go.
///
/// Equal problems and seeds give equal plans; the order of the hosts does not matter, that of the requests only among those that are alike, and
/// where not all can be placed.
///
/// # Panics
/// If a host is in the problem twice.
#[must_use]
pub fn place_together(problem: &PlacementProblem, seed: Seed) -> PlacementPlan {
    let hosts = problem.hosts.iter().cloned().map(Arc::new);
    Planner::new(hosts, problem.typical_tasks(), seed).plan(&problem.requests, Manner::Together)
}

/// What becomes of each request, and in what manner.
pub(super) fn place_all(planner: &mut Planner, requests: &[TaskRequest]) -> (Manner, Vec<Outcome>) {
    let placements = Together::new(planner, requests).place();
    if placements.contains(&None) && are_in_each_others_way(planner, requests, &placements) {
        take_off(planner, requests, &placements);
        return (Manner::InTurns, place_in_turns(planner, requests));
    }
    let both = requests.iter().zip(placements);
    let outcomes = both.map(|(request, placement)| match placement {
        Some(placement) => Outcome::Placed(placement),
        None => planner.decide(request),
    });
    (Manner::Together, outcomes.collect())
}

/// Whether there would be room for a task that has no host, if the others had none.
fn are_in_each_others_way(planner: &mut Planner, requests: &[TaskRequest], placements: &[Option<Placement>]) -> bool {
    take_off(planner, requests, placements);
    let mut known = BTreeSet::new();
    let mut left_over = requests
        .iter()
        .zip(placements)
        .filter(|(_, placement)| placement.is_none());
    // What has no host at all, however few tasks there are, is no reason.
    let found = left_over.any(|(request, _)| {
        let is_new = request.only_hosts.is_some() || known.insert(planner.kind_of(request));
        is_new && planner.has_host_for(request)
    });
    for (request, placement) in requests.iter().zip(placements) {
        if let Some(placement) = placement {
            planner.put_back(request, placement.host(), placement.gpus);
        }
    }
    found
}

fn take_off(planner: &mut Planner, requests: &[TaskRequest], placements: &[Option<Placement>]) {
    for (request, placement) in requests.iter().zip(placements) {
        if let Some(placement) = placement {
            planner.take_off(request, placement.host(), placement.gpus);
        }
    }
}

/// A batch that is being placed.
struct Together<'p> {
    planner: &'p mut Planner,
    whole: Whole,
    requests: &'p [TaskRequest],
    placements: Vec<Option<Placement>>,
    /// What is to be packed, in the order in which the first of each kind was asked for.
    packed: Vec<Packed>,
}

/// Requests of a kind that are to be packed.
struct Packed {
    kind: usize,
    /// Those that have no host yet, as places among the requests.
    waiting: VecDeque<usize>,
}

/// All that the hosts offer together.
struct Whole {
    cpu: u64,
    memory: u64,
}

impl Whole {
    fn of(board: &Board) -> Self {
        let sum = |amount: fn(Room) -> u32| {
            board
                .indices()
                .map(|host| u64::from(amount(board.registered(host))))
                .sum()
        };
        Self {
            cpu: sum(|room| room.cpu),
            memory: sum(|room| room.memory),
        }
    }

    /// The larger of the two parts of the whole that it takes, in 2^-32.
    fn share(&self, room: Room) -> u64 {
        let part = |amount: u32, whole: u64| (u64::from(amount) << 32) / whole.max(1);
        part(room.cpu, self.cpu).max(part(room.memory, self.memory))
    }
}

fn levels(planner: &Planner, kind: usize) -> Vec<LevelIndex> {
    match planner.road(kind) {
        Road::Shared(road) => road.levels(),
        Road::Own | Road::EachTaskItsOwn => Vec::new(),
    }
}

/// Hosts with the same values of the fields that some kinds spread over.
struct Class {
    /// The values.
    buckets: Vec<u32>,
    hosts: Vec<HostIndex>,
    /// How much the tasks that are to go there ask for, in the unit of [`Whole::share`].
    load: u64,
}

impl<'p> Together<'p> {
    fn new(planner: &'p mut Planner, requests: &'p [TaskRequest]) -> Self {
        let (mut packed, mut place_of) = (Vec::<Packed>::new(), BTreeMap::new());
        for (place, request) in requests.iter().enumerate() {
            let kind = planner.kind_of(request);
            if request.only_hosts.is_some() || !is_packed(planner, kind) {
                continue;
            }
            let place_of = place_of.entry(kind).or_insert_with(|| {
                packed.push(Packed {
                    kind,
                    waiting: VecDeque::new(),
                });
                packed.len() - 1
            });
            packed[*place_of].waiting.push_back(place);
        }
        // What has no host at all leaves no trace in what the others get.
        packed.retain(|packed| planner.has_taker(packed.kind));
        Self {
            whole: Whole::of(planner.board()),
            planner,
            requests,
            placements: vec![None; requests.len()],
            packed,
        }
    }

    fn place(mut self) -> Vec<Option<Placement>> {
        let mut by_fields = Vec::<(Vec<FieldIndex>, Vec<usize>)>::new();
        for (place, packed) in self.packed.iter().enumerate() {
            let groups = self.planner.board().groups();
            let levels = levels(self.planner, packed.kind).into_iter();
            let fields = levels.map(|level| groups.field_of(level)).collect();
            match by_fields.iter_mut().find(|(others, _)| *others == fields) {
                Some((_, alike)) => alike.push(place),
                None => by_fields.push((fields, vec![place])),
            }
        }
        for (fields, packed) in by_fields {
            self.pack(&fields, packed);
        }
        let planner = self.planner;
        let requests = self.requests.iter().zip(self.placements);
        let placements = requests.map(|(request, placement)| placement.or_else(|| planner.decide_alone(request)));
        placements.collect()
    }

    fn weight(&self, packed: usize) -> u64 {
        self.whole.share(self.planner.need(self.packed[packed].kind).room())
    }

    /// Packs kinds that spread over the same fields.
    fn pack(&mut self, fields: &[FieldIndex], mut packed: Vec<usize>) {
        // The largest first: what comes last can be divided most finely.
        packed.sort_by_key(|packed| (Reverse(self.weight(*packed)), *packed));
        let mut classes = self.classes(fields);
        if classes.len() > MAX_CLASSES {
            return;
        }
        let mut quotas = vec![BTreeMap::<usize, u32>::new(); classes.len()];
        for packed in packed {
            for class in self.divide(packed, &mut classes) {
                *quotas[class].entry(packed).or_default() += 1;
            }
        }
        for (class, quota) in classes.iter().zip(&quotas) {
            if !quota.is_empty() {
                self.fill(&class.hosts, quota);
            }
        }
    }

    /// The classes of the hosts that take tasks, in the order of the first host of each.
    fn classes(&self, fields: &[FieldIndex]) -> Vec<Class> {
        let board = self.planner.board();
        let (mut classes, mut place_of) = (Vec::<Class>::new(), BTreeMap::new());
        for host in board.indices().filter(|host| board.is_available(*host)) {
            let buckets: Vec<u32> = fields.iter().map(|field| board.groups().bucket(*field, host)).collect();
            let place = *place_of.entry(buckets).or_insert_with_key(|buckets| {
                classes.push(Class {
                    buckets: buckets.clone(),
                    hosts: Vec::new(),
                    load: 0,
                });
                classes.len() - 1
            });
            classes[place].hosts.push(host);
        }
        classes
    }

    /// The class for each task of a kind: where its group has fewest tasks, and of those the one with the smallest load for what it has.
    fn divide(&self, packed: usize, classes: &mut [Class]) -> Vec<usize> {
        let Packed { kind, waiting } = &self.packed[packed];
        let (weight, levels) = (self.weight(packed), levels(self.planner, *kind));
        let board = self.planner.board();
        let takes = |class: &Class| is_taken_by_any(self.planner, *kind, class.hosts.iter().copied());
        let eligible: Vec<usize> = (0..classes.len()).filter(|class| takes(&classes[*class])).collect();
        // By position among the levels, and bucket.
        let mut more = BTreeMap::<(usize, u32), u64>::new();
        let mut chosen = Vec::with_capacity(waiting.len());
        for _ in waiting {
            let counts = |class: &Class| {
                let mut counts = [0; MAX_STRATEGIES];
                for (place, (level, bucket)) in levels.iter().zip(&class.buckets).enumerate() {
                    let before = u64::from(board.groups().tasks_in(*level, *bucket));
                    counts[place] = before + more.get(&(place, *bucket)).copied().unwrap_or(0);
                }
                counts
            };
            let load_per_host = |class: &Class| class.load / class.hosts.len() as u64;
            let key = |class: &usize| (counts(&classes[*class]), load_per_host(&classes[*class]), *class);
            let Some(class) = eligible.iter().copied().min_by_key(key) else {
                break;
            };
            classes[class].load += weight;
            for (place, bucket) in classes[class].buckets.iter().enumerate() {
                *more.entry((place, *bucket)).or_default() += 1;
            }
            chosen.push(class);
        }
        chosen
    }

    /// Packs so many tasks of each kind on these hosts.
    fn fill(&mut self, hosts: &[HostIndex], quota: &BTreeMap<usize, u32>) {
        let board = self.planner.board();
        let amounts = |room: Room| Amounts {
            cpu: room.cpu,
            memory: room.memory,
        };
        let packed: Vec<usize> = quota.keys().copied().collect();
        let kinds = packed.iter().map(|packed| self.packed[*packed].kind);
        let needs: Vec<&Need> = kinds.map(|kind| self.planner.need(kind)).collect();
        let piles: Vec<Pile> = needs
            .iter()
            .zip(quota.values())
            .map(|(need, tasks)| Pile {
                need: amounts(need.room()),
                tasks: *tasks,
            })
            .collect();
        let least = |amount: fn(&Pile) -> u32| piles.iter().map(amount).min().unwrap_or(0);
        let (least_cpu, least_memory) = (least(|pile| pile.need.cpu), least(|pile| pile.need.memory));
        let has_room = |host: &&HostIndex| {
            let free = board.room(**host);
            free.cpu >= least_cpu && free.memory >= least_memory
        };
        let mut hosts: Vec<HostIndex> = hosts.iter().filter(has_room).copied().collect();
        // The fullest first, and of idle ones the largest.
        hosts.sort_by_cached_key(|host| {
            let free = board.room(*host);
            let idle = board.tasks(*host) == 0;
            let left = self.whole.share(free);
            (idle, if idle { u64::MAX - left } else { left }, *host)
        });
        let bins: Vec<Bin> = hosts
            .iter()
            .map(|host| Bin {
                free: amounts(board.room(*host)),
                size: amounts(board.registered(*host)),
                in_use: board.tasks(*host) > 0,
            })
            .collect();
        let takes = |bin: usize, pile: usize| {
            let need = needs[pile];
            match need.distinct_instance {
                _ if need.pool.is_none() && need.member_of.is_empty() && !need.distinct_instance => u32::MAX,
                _ if filter::stopped_by(board, need, hosts[bin]).is_some() => 0,
                true => 1,
                false => u32::MAX,
            }
        };
        let loads = packing::pack(&bins, &piles, takes);
        for Load { bin, pile, tasks } in loads {
            for _ in 0..tasks {
                self.put(packed[pile], hosts[bin]);
            }
        }
    }

    /// Puts the next task of a kind on a host, unless something is against it by now.
    fn put(&mut self, packed: usize, host: HostIndex) {
        let Packed { kind, waiting } = &mut self.packed[packed];
        if let Some(place) = waiting.pop_front() {
            self.placements[place] = self.planner.put(*kind, &self.requests[place], host);
        }
    }
}

/// Whether any of the hosts takes a task of the kind. The last are asked first: those before them are filled before them.
fn is_taken_by_any(planner: &Planner, kind: usize, hosts: impl DoubleEndedIterator<Item = HostIndex>) -> bool {
    let (need, board) = (planner.need(kind), planner.board());
    let mut hosts = hosts.rev();
    hosts.any(|host| filter::stopped_by(board, need, host).is_none())
}

/// Whether the kind fills hosts, and minds nothing beyond that but the classes that it spreads over.
fn is_packed(planner: &Planner, kind: usize) -> bool {
    let Road::Shared(road) = planner.road(kind) else {
        return false;
    };
    planner.need(kind).ranking.ties() == Ties::Fuller && !road.counts_on_hosts()
}

/// Serves the requests one by one, always one of the group with the smallest share.
pub(super) fn place_in_turns(planner: &mut Planner, requests: &[TaskRequest]) -> Vec<Outcome> {
    let whole = Whole::of(planner.board());
    let mut groups = BTreeMap::<&str, VecDeque<usize>>::new();
    for (place, request) in requests.iter().enumerate() {
        groups.entry(&request.group).or_default().push_back(place);
    }
    let mut turns = BTreeSet::<(u64, &str)>::new();
    for (group, places) in &groups {
        let (need, board) = planner.need_of(&requests[places[0]]);
        // Tasks that it has are taken to be like those that it wants.
        let share = whole
            .share(need.room())
            .saturating_mul(board.groups().all_of(need.group));
        turns.insert((share, group));
    }
    let mut outcomes = vec![None; requests.len()];
    while let Some((share, group)) = turns.pop_first() {
        let Some(place) = groups.get_mut(group).and_then(VecDeque::pop_front) else {
            continue;
        };
        let outcome = planner.decide(&requests[place]);
        let got = match outcome {
            Outcome::Placed(_) => whole.share(planner.need_of(&requests[place]).0.room()),
            Outcome::Unplaced(_) => 0,
        };
        outcomes[place] = Some(outcome);
        turns.insert((share.saturating_add(got), group));
    }
    outcomes.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Attributes, ContainerInstanceId, PlacementConstraint, PlacementExtension, PlacementStrategy, Resources, TaskId,
    };
    use crate::placement::{Ask, Host, Shape, place};

    const ZONES: usize = 3;

    fn hosts(count: usize) -> Vec<Host> {
        let host = |number: usize| {
            let id = ContainerInstanceId(number as u128);
            Host {
                attributes: Attributes::from([("zone".to_owned(), Some((number % ZONES).to_string()))]),
                ..Host::idle(id, format!("host-{number}"), Resources::new(1000, 1000))
            }
        };
        (0..count).map(host).collect()
    }

    /// Tasks of services that spread over zones and fill hosts.
    fn requests(tasks: usize, services: &[Resources], constraints: &[PlacementConstraint]) -> Vec<TaskRequest> {
        let zones = PlacementStrategy::Spread {
            field: "attribute:zone".to_owned(),
        };
        let tightest = PlacementStrategy::Extension {
            extension: PlacementExtension::Tightest,
        };
        let request = |number: usize| {
            let ask = Ask {
                group: format!("service:{}", number % services.len()),
                shape: Shape::of(services[number % services.len()]),
                constraints: constraints.to_vec(),
                strategies: vec![zones.clone(), tightest.clone()],
                ..Ask::default()
            };
            TaskRequest::new(TaskId(number as u128), ask)
        };
        (0..tasks).map(request).collect()
    }

    fn problem(hosts: Vec<Host>, requests: Vec<TaskRequest>) -> PlacementProblem {
        PlacementProblem {
            hosts,
            requests,
            typical: None,
        }
    }

    fn used(plan: &PlacementPlan) -> usize {
        plan.placements().map(|(_, host)| host).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn services_placed_together_are_level_over_zones_and_take_fewer_hosts_than_one_by_one() {
        let sizes = [(250, 150), (150, 260), (310, 90), (70, 280), (45, 60)];
        let sizes = sizes.map(|(cpu, memory)| Resources::new(cpu, memory));
        let problem = problem(hosts(300), requests(500, &sizes, &[]));
        let plan = place_together(&problem, Seed(1));
        let mut zones = BTreeMap::<(&str, u128), i32>::new();
        for ((_, host), request) in plan.placements().zip(&problem.requests) {
            *zones.entry((&request.group, host.0 % ZONES as u128)).or_default() += 1;
        }
        for group in zones.keys().map(|(group, _)| *group).collect::<BTreeSet<_>>() {
            let tasks: Vec<i32> = (0..3)
                .map(|zone| zones.get(&(group, zone)).copied().unwrap_or(0))
                .collect();
            assert!(
                tasks
                    .iter()
                    .max()
                    .zip(tasks.iter().min())
                    .is_some_and(|(most, least)| most - least <= 1),
                "{tasks:?}"
            );
        }
        let one_by_one = used(&place(&problem, Seed(1)));
        let least = (100 * (150 + 260 + 90 + 280 + 60)) / 1000 + 1;
        let together = used(&plan);
        // Zones that are level cannot all have the tasks that complement each other best.
        assert!(
            together < one_by_one && together * 100 <= least * 108,
            "{together} {one_by_one} {least}"
        );
    }

    #[test]
    fn services_that_do_not_all_fit_get_equal_shares() {
        let sizes = [(500, 100), (100, 250), (250, 250)].map(|(cpu, memory)| Resources::new(cpu, memory));
        let problem = problem(hosts(9), requests(300, &sizes, &[]));
        let plan = place_together(&problem, Seed(1));
        let placed: BTreeSet<TaskId> = plan.placements().map(|(task, _)| task).collect();
        let mut shares = [0; 3];
        for request in problem.requests.iter().filter(|request| placed.contains(&request.id)) {
            let Resources { cpu, memory } = request.shape.resources;
            shares[usize::try_from(request.id.0 % 3).expect("small")] += cpu.0.max(memory.0);
        }
        // A third of nine hosts would be 3,000; where one service's tasks fit no more, another's may.
        assert!(shares.iter().all(|share| *share >= 2_800), "{shares:?}");
    }

    #[test]
    fn task_that_no_host_could_take_changes_nothing_for_the_others() {
        let sizes = [(250, 150), (150, 260), (310, 90), (70, 280), (45, 60)];
        let sizes = sizes.map(|(cpu, memory)| Resources::new(cpu, memory));
        let mut requests = requests(200, &sizes, &[]);
        let alone = place_together(&problem(hosts(90), requests.clone()), Seed(1));
        let ask = Ask {
            shape: Shape::of(Resources::new(5000, 1)),
            ..Ask::clone(&requests[0])
        };
        requests.push(TaskRequest::new(TaskId(1000), ask));
        let plan = place_together(&problem(hosts(90), requests), Seed(1));
        assert!(plan.placements().eq(alone.placements()));
    }

    #[test]
    fn tasks_that_must_not_share_a_host_do_not() {
        let sizes = [(100, 100), (200, 100)].map(|(cpu, memory)| Resources::new(cpu, memory));
        let distinct = [PlacementConstraint::DistinctInstance];
        let problem = problem(hosts(9), requests(18, &sizes, &distinct));
        let plan = place_together(&problem, Seed(1));
        let placements = plan.placements().zip(&problem.requests);
        let pairs: BTreeSet<_> = placements.map(|((_, host), request)| (host, &request.group)).collect();
        assert_eq!(pairs.len(), 18);
    }
}
