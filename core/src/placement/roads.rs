//! How requests of a kind find the best host without a look at all of them, where what they ask for allows it: by an order that kinds share,
//! and by a census of the room that hosts have. Pure.

use std::collections::VecDeque;

use super::board::{Board, ExpressionIndex, PoolIndex};
use super::census::{Census, SizeIndex};
use super::filter::FilterKind;
use super::groups::{GroupIndex, LevelIndex};
use super::need::Need;
use super::order::Outline;
use super::plan::Funnel;
use super::podium::Best;
use super::shared_order::{OrderOf, Search, SharedOrder};
use super::strategy::{Count, RankSource, Strategy, strategy_of};
use crate::model::PlacementStrategy;

/// Most hosts with tasks of a group that a request looks at one by one; a group on more of them has an order of its own.
const MAX_LOOKED_AT: usize = 512;

/// Most classes of hosts that a shared order may have: they are looked at one by one.
const MAX_CLASSES: usize = 256;

/// Most orders that are kept from plan to plan: each takes some 100 bytes for each host.
const MAX_ORDERS: usize = 32;

/// Most orders that are remembered as asked for once.
const MAX_ASKED_FOR: usize = 32;

/// How requests of a kind may find their host.
pub(super) enum Road {
    /// By an order that kinds share.
    Shared(Box<SharedRoad>),
    /// By an order of the kind's own.
    Own,
    /// By a look at every host, since each task has an order of its own.
    EachTaskItsOwn,
}

/// The road of a kind by an order that it shares.
pub(super) struct SharedRoad {
    of: OrderOf,
    sources: Vec<RankSource>,
    /// Filters that may refuse a host of the order that has room.
    left_to_ask: Vec<FilterKind>,
    /// What the kind needs.
    room: Outline,
    /// The first of the order's ranks that a host with room for the kind may have.
    least: u64,
    /// The strategies of the order, until it takes them.
    strategies: Vec<Box<dyn Strategy>>,
    group: GroupIndex,
    /// Its place among the orders, once it is known.
    order: Option<usize>,
    /// In the census of the hosts of the kind's pool, or of all, and in that of those of them for which its expressions hold.
    counted: Option<[(usize, SizeIndex); 2]>,
    /// The census of all hosts, once it is needed and made.
    all: Option<usize>,
}

/// What kinds share.
#[derive(Default)]
pub(super) struct Roads {
    orders: Vec<SharedOrder>,
    /// Orders that one request asked for; the last ones.
    asked_for: VecDeque<OrderOf>,
    censuses: Vec<Census>,
}

impl Road {
    /// The road of a kind with these strategies.
    pub(super) fn of(need: &Need, strategies: &[PlacementStrategy], board: &mut Board) -> Self {
        if !need.ranking.is_alike_for_all_tasks() {
            return Self::EachTaskItsOwn;
        }
        let answers_vary = need.member_of.iter().any(|e| board.depends_on_tasks(*e));
        if answers_vary || need.shape.gpu.devices() > 0 || !need.host_ports.is_empty() {
            return Self::Own;
        }
        let sources = need.ranking.sources().filter(|sources| are_few_classes(sources, board));
        sources.map_or(Self::Own, |sources| {
            Self::Shared(Box::new(SharedRoad::new(need, strategies, sources, board)))
        })
    }
}

impl SharedRoad {
    fn new(need: &Need, strategies: &[PlacementStrategy], sources: Vec<RankSource>, board: &mut Board) -> Self {
        let own = strategies.iter().zip(&sources);
        let own = own.filter(|(_, source)| matches!(source, RankSource::Order(_)));
        let own: Vec<PlacementStrategy> = own.map(|(strategy, _)| strategy.clone()).collect();
        let mut member_of = need.member_of.clone();
        member_of.sort_unstable();
        member_of.dedup();
        let fields = levels(&sources).map(|level| board.groups().field_of(level)).collect();
        let strategies: Vec<Box<dyn Strategy>> = own.iter().map(|s| strategy_of(s, need.group, board)).collect();
        Self {
            of: OrderOf {
                fields,
                pool: need.pool,
                member_of,
                strategies: own,
                ties: need.ranking.ties(),
            },
            room: board.outline(need.room()),
            least: strategies
                .first()
                .map_or(0, |first| first.least_rank(board, &need.shape)),
            left_to_ask: FilterKind::ALL
                .into_iter()
                .filter(|filter| is_left_to_ask(*filter, need))
                .collect(),
            strategies,
            sources,
            group: need.group,
            order: None,
            counted: None,
            all: None,
        }
    }

    /// Whether the number of tasks on a host is one of the ranks.
    pub(super) fn counts_on_hosts(&self) -> bool {
        let on_hosts = |source: &RankSource| matches!(source, RankSource::Count(Count::OnHost(_)));
        self.sources.iter().any(on_hosts)
    }

    /// The levels that the kind spreads over, the first weighing most.
    pub(super) fn levels(&self) -> Vec<LevelIndex> {
        levels(&self.sources).collect()
    }

    /// Whether it is shorter than one of the kind's own.
    pub(super) fn is_short(&self, board: &Board) -> bool {
        !self.counts_on_hosts() || board.groups().hosts_of(self.group).len() <= MAX_LOOKED_AT
    }
}

/// Whether a filter may refuse a host of a shared order that has room. The order has only hosts that take tasks, are in the kind's pool and for
/// which its expressions hold; the kind needs no ports and no GPUs.
fn is_left_to_ask(filter: FilterKind, need: &Need) -> bool {
    match filter {
        FilterKind::Agent | FilterKind::CapacityProvider | FilterKind::Cpu | FilterKind::Memory => false,
        FilterKind::Ports | FilterKind::Gpu | FilterKind::MemberOf => false,
        FilterKind::DistinctInstance => need.distinct_instance,
    }
}

fn are_few_classes(sources: &[RankSource], board: &Board) -> bool {
    let groups = board.groups();
    let values = levels(sources).map(|level| groups.values_of(groups.field_of(level)));
    values.fold(1_usize, usize::saturating_mul) <= MAX_CLASSES
}

fn levels(sources: &[RankSource]) -> impl Iterator<Item = LevelIndex> {
    sources.iter().filter_map(|source| match source {
        RankSource::Count(Count::Level(level)) => Some(*level),
        RankSource::Count(Count::OnHost(_)) | RankSource::Order(_) => None,
    })
}

impl Roads {
    /// Whether there are so many that it is better to begin anew.
    pub(super) fn are_many(&self) -> bool {
        self.orders.len() > MAX_ORDERS
    }

    /// Whether this is the first request to ask for its order: one that no other needs is not worth making.
    pub(super) fn is_first_to_ask(&mut self, road: &SharedRoad) -> bool {
        if road.order.is_some() || self.find(road).is_some() || self.asked_for.contains(&road.of) {
            return false;
        }
        self.asked_for.truncate(MAX_ASKED_FOR - 1);
        self.asked_for.push_front(road.of.clone());
        true
    }

    fn find(&self, road: &SharedRoad) -> Option<usize> {
        self.orders.iter().position(|order| *order.of() == road.of)
    }

    /// How many hosts passed which filter, and the best with the score of the next best; without `explains` only the best.
    pub(super) fn choose(
        &mut self,
        road: &mut SharedRoad,
        board: &Board,
        need: &Need,
        explains: bool,
    ) -> (Funnel, Option<Best>) {
        let place = road.order.or_else(|| self.find(road)).unwrap_or_else(|| {
            let strategies = std::mem::take(&mut road.strategies);
            self.orders.push(SharedOrder::new(road.of.clone(), strategies, board));
            self.orders.len() - 1
        });
        road.order = Some(place);
        let order = &mut self.orders[place];
        order.catch_up(board);
        let best = order.best(Search {
            board,
            need,
            sources: &road.sources,
            left_to_ask: &road.left_to_ask,
            room: road.room,
            least: road.least,
            runner_up: explains,
        });
        let funnel = if explains {
            self.funnel(road, board, need)
        } else {
            Funnel::default()
        };
        (funnel, best)
    }

    /// How many hosts passed which filter. The kind needs no ports and no GPUs.
    fn funnel(&mut self, road: &mut SharedRoad, board: &Board, need: &Need) -> Funnel {
        let counted = road.counted.get_or_insert_with(|| {
            [Vec::new(), road.of.member_of.clone()].map(|member_of| {
                let census = self.census(need.pool, member_of, board);
                (census, self.censuses[census].watch(need.room()))
            })
        });
        let [(pool, size), (members, member_size)] = *counted;
        let all = *road.all.get_or_insert_with(|| self.census(None, Vec::new(), board));
        for census in [all, pool, members] {
            self.censuses[census].catch_up(board);
        }
        let (takes_tasks, pool) = (self.censuses[all].hosts(), &self.censuses[pool]);
        let members = &self.censuses[members];
        let with_group = |census: &Census| {
            let hosts = match need.distinct_instance {
                true => board.groups().hosts_of(need.group),
                false => &[],
            };
            let hosts = hosts.iter().filter(|host| census.counts(**host, need.room()));
            u32::try_from(hosts.count()).expect("fewer hosts than fit into memory")
        };
        let distinct = pool.with_both(size) - with_group(pool);
        let member_of = match need.member_of.is_empty() {
            true => distinct,
            false => members.with_both(member_size) - with_group(members),
        };
        Funnel::of(board.host_count(), |filter| match filter {
            FilterKind::Agent => takes_tasks,
            FilterKind::CapacityProvider => pool.hosts(),
            FilterKind::Cpu => pool.with_cpu(size),
            FilterKind::Memory | FilterKind::Ports | FilterKind::Gpu => pool.with_both(size),
            FilterKind::DistinctInstance => distinct,
            FilterKind::MemberOf => member_of,
        })
    }

    fn census(&mut self, pool: Option<PoolIndex>, member_of: Vec<ExpressionIndex>, board: &Board) -> usize {
        let of = (pool, member_of.as_slice());
        let known = self.censuses.iter().position(|census| census.of() == of);
        known.unwrap_or_else(|| {
            self.censuses.push(Census::new(pool, member_of, board));
            self.censuses.len() - 1
        })
    }
}
