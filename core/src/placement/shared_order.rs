//! An order of all hosts that kinds of requests share: those with the same strategies and the same expressions, whatever their group and
//! their size. It is made once and then kept in step with the board, so that a decision costs the search of one
//! host and the move of one host. It chooses what a pass over all hosts would. Pure.
//!
//! Hosts that share the values of all fields that the strategies spread over are one class, with an order of its own: where the tasks of a group
//! are decides between classes, and is looked up when a request comes. Where `spread` levels over hosts, those without a task of the
//! group are found in the order, and those with some are looked at one by one if there are no others.

use super::board::{Board, ExpressionIndex, HostIndex, PoolIndex};
use super::filter::{self, FilterKind};
use super::groups::{FieldIndex, GroupIndex};
use super::need::Need;
use super::order::{Entry, Order, OrderKey, Outline};
use super::podium::{Best, Podium};
use super::score::{MAX_STRATEGIES, Score};
use super::strategy::{Count, RankSource, Ranking, Strategy, Ties};
use crate::model::PlacementStrategy;

/// What kinds of requests that share an order have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderOf {
    /// What the strategies spread over.
    pub(super) fields: Vec<FieldIndex>,
    /// The pool of every host in the order, if it is not of all.
    pub(super) pool: Option<PoolIndex>,
    /// Expressions that hold for every host in the order.
    pub(super) member_of: Vec<ExpressionIndex>,
    /// Those that depend on the hosts alone.
    pub(super) strategies: Vec<PlacementStrategy>,
    pub(super) ties: Ties,
}

/// See the module.
pub(super) struct SharedOrder {
    of: OrderOf,
    strategies: Vec<Box<dyn Strategy>>,
    /// Revision of the board whose changes are taken in.
    revision: usize,
    classes: Vec<Class>,
    /// By host; none for one that takes no task of these kinds, whatever there is free.
    standings: Vec<Option<Standing>>,
    /// Classes that the search under way has not looked into; kept for its room.
    queue: Vec<(Counts, usize)>,
}

/// Ranks that the hosts of a class share.
type Counts = [u64; MAX_STRATEGIES];

struct Class {
    /// The values of the fields that its hosts share.
    buckets: Vec<u32>,
    order: Order,
}

#[derive(Clone, Copy)]
struct Standing {
    class: usize,
    key: OrderKey,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) board: &'a Board,
    pub(super) need: &'a Need,
    pub(super) sources: &'a [RankSource],
    /// Filters that may refuse a host of the order that has room.
    pub(super) left_to_ask: &'a [FilterKind],
    /// What is needed.
    pub(super) room: Outline,
    /// The first of the order's ranks that a host with room may have.
    pub(super) least: u64,
    /// Whether the next best is asked for as well.
    pub(super) runner_up: bool,
}

impl SharedOrder {
    /// The order of the board's hosts as they are now. The strategies are those that it is an order of.
    pub(super) fn new(of: OrderOf, strategies: Vec<Box<dyn Strategy>>, board: &Board) -> Self {
        let mut order = Self {
            of,
            strategies,
            revision: board.revision(),
            classes: Vec::new(),
            standings: Vec::new(),
            queue: Vec::new(),
        };
        let mut entries: Vec<Vec<Entry>> = Vec::new();
        for host in board.indices() {
            let standing = order.takes_tasks(board, host).then(|| {
                let class = order.class_of(board, host);
                entries.resize_with(order.classes.len(), Vec::new);
                let entry = order.entry(board, host);
                entries[class].push(entry);
                Standing { class, key: entry.key }
            });
            order.standings.push(standing);
        }
        for (class, entries) in order.classes.iter_mut().zip(entries) {
            class.order = Order::new(entries);
        }
        order
    }

    /// What it is an order of.
    pub(super) fn of(&self) -> &OrderOf {
        &self.of
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board) {
        for host in board.changed_since(self.revision).iter() {
            let new = self.takes_tasks(board, *host).then(|| self.entry(board, *host));
            let old = self.standings[host.position()];
            self.standings[host.position()] = match (old, new) {
                (None, None) => None,
                (Some(Standing { class, key }), Some(new)) => {
                    self.classes[class].order.change(key, new);
                    Some(Standing { class, key: new.key })
                }
                (Some(Standing { class, key }), None) => {
                    self.classes[class].order.remove(key);
                    None
                }
                (None, Some(new)) => {
                    let class = self.class_of(board, *host);
                    self.classes[class].order.insert(new);
                    Some(Standing { class, key: new.key })
                }
            };
        }
        self.revision = board.revision();
    }

    /// The best host, with the score of the next best if that is asked for. The changes of the board must be taken in.
    pub(super) fn best(&mut self, search: Search<'_>) -> Option<Best> {
        let mut podium = Podium::default();
        let leading = search
            .sources
            .iter()
            .take_while(|source| matches!(source, RankSource::Count(Count::Level(_))));
        let leading = leading.count();
        let mut queue = std::mem::take(&mut self.queue);
        queue.clear();
        queue.extend((0..self.classes.len()).map(|class| (self.counts(class, search), class)));
        // By the counts that weigh more than all else, and where they are equal by its number.
        let key = |(counts, class): &(Counts, usize)| {
            let mut lead = *counts;
            lead[leading..].fill(0);
            (lead, *class)
        };
        let first_of = |queue: &[(Counts, usize)]| (0..queue.len()).min_by_key(|place| key(&queue[*place]));
        while let Some(next) = first_of(&queue) {
            let (counts, class) = queue.swap_remove(next);
            if podium.beats(&counts[..leading], search.runner_up) {
                break;
            }
            self.look_into(class, counts, search, &mut podium);
        }
        self.queue = queue;
        let best = podium.best()?;
        Some(Best {
            runner_up: best.runner_up.filter(|_| search.runner_up),
            ..best
        })
    }

    /// What the ranks are for all hosts of a class, where they are counts that the class shares; 0 elsewhere.
    fn counts(&self, class: usize, search: Search<'_>) -> Counts {
        let groups = search.board.groups();
        let mut counts = [0; MAX_STRATEGIES];
        let mut buckets = self.classes[class].buckets.iter();
        for (count, source) in counts.iter_mut().zip(search.sources) {
            if let RankSource::Count(Count::Level(level)) = source
                && let Some(bucket) = buckets.next()
            {
                *count = u64::from(groups.tasks_in(*level, *bucket));
            }
        }
        counts
    }

    fn look_into(&self, class: usize, shared: Counts, search: Search<'_>, podium: &mut Podium) {
        let Search { board, sources, .. } = search;
        let score = |key: &OrderKey, on_host: u32| {
            let mut ranks = shared;
            for (rank, source) in ranks.iter_mut().zip(sources) {
                match source {
                    RankSource::Count(Count::Level(_)) => {}
                    RankSource::Count(Count::OnHost(_)) => *rank = u64::from(on_host),
                    RankSource::Order(own) => *rank = key.ranks[*own],
                }
            }
            Score {
                ranks,
                occupancy: key.occupancy,
                host: board.id(key.host),
            }
        };
        let group = counted_on_hosts(sources);
        let is_free_of_group = |entry: &&Entry| group.is_none_or(|group| board.tasks_of(group, entry.key.host) == 0);
        let wanted = if search.runner_up { 2 } else { 1 };
        let mut found = 0;
        let fitting = self.classes[class].order.with_room(search.room, search.least);
        let fitting = fitting
            .filter(is_free_of_group)
            .filter(|entry| takes(search, entry.key.host));
        for entry in fitting.take(wanted) {
            podium.enter(score(&entry.key, 0), entry.key.host);
            found += 1;
        }
        let Some(group) = group.filter(|_| found < wanted) else {
            return;
        };
        for host in board.groups().hosts_of(group) {
            if let Some(standing) = &self.standings[host.position()]
                && standing.class == class
                && board.room(*host).holds(search.need.room())
                && takes(search, *host)
            {
                podium.enter(score(&standing.key, board.tasks_of(group, *host)), *host);
            }
        }
    }

    /// Whether the host may get a task of these kinds at all; what is free there, and what is on it, is another question.
    fn takes_tasks(&self, board: &Board, host: HostIndex) -> bool {
        board.is_available(host)
            && (self.of.pool.is_none() || board.pool(host) == self.of.pool)
            && self
                .of
                .member_of
                .iter()
                .all(|expression| board.holds(*expression, host))
    }

    fn entry(&self, board: &Board, host: HostIndex) -> Entry {
        Entry {
            key: OrderKey {
                ranks: Ranking::ranks_in_order(&self.strategies, board, host),
                occupancy: self.of.ties.occupancy(board, host),
                host,
            },
            room: board.outline(board.room(host)),
        }
    }

    fn class_of(&mut self, board: &Board, host: HostIndex) -> usize {
        let buckets = self.of.fields.iter().map(|field| board.groups().bucket(*field, host));
        let buckets: Vec<u32> = buckets.collect();
        let known = self.classes.iter().position(|class| class.buckets == buckets);
        known.unwrap_or_else(|| {
            self.classes.push(Class {
                buckets,
                order: Order::default(),
            });
            self.classes.len() - 1
        })
    }
}

/// The group whose tasks on a host are a rank, if one's are.
fn counted_on_hosts(sources: &[RankSource]) -> Option<GroupIndex> {
    sources.iter().find_map(|source| match source {
        RankSource::Count(Count::OnHost(group)) => Some(*group),
        RankSource::Count(Count::Level(_)) | RankSource::Order(_) => None,
    })
}

fn takes(search: Search<'_>, host: HostIndex) -> bool {
    !filter::is_refused_by(search.left_to_ask, search.board, search.need, host)
}
