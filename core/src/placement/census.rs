//! How many hosts have room for tasks of each size, counted on as hosts change rather than anew for each request. Pure.
//!
//! A change of a host costs as many steps as there are sizes between what it had free and what it has.

use super::board::{Board, ExpressionIndex, HostIndex};
use super::order::Room;

/// A size that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeIndex(usize);

/// The hosts for which some expressions hold, apart from those that take no tasks now.
#[derive(Debug)]
pub(super) struct Census {
    member_of: Vec<ExpressionIndex>,
    /// Revision of the board whose changes are taken in.
    revision: usize,
    /// By host; none for one that is not counted.
    rooms: Vec<Option<Room>>,
    hosts: u32,
    sizes: Sizes,
}

/// The sizes, each in both orders.
#[derive(Debug, Default)]
struct Sizes {
    amounts: Vec<Room>,
    by_cpu: Sorted,
    by_memory: Sorted,
}

/// Sizes in the order of one of their two amounts. What belongs to a size is at the same place in each, side by side with its neighbours, so that
/// several are counted at once.
#[derive(Debug, Default)]
struct Sorted {
    amounts: Vec<u32>,
    other_amounts: Vec<u32>,
    sizes: Vec<usize>,
    /// Hosts that have the amount.
    with_one: Vec<u32>,
    /// Hosts that have both, as far as they are counted in this order; modulo 2^32.
    with_both: Vec<u32>,
    /// By size: its place.
    places: Vec<usize>,
}

impl Census {
    /// Counts the hosts of the board as they are now.
    pub(super) fn new(member_of: Vec<ExpressionIndex>, board: &Board) -> Self {
        let mut census = Self {
            member_of,
            revision: board.revision(),
            rooms: Vec::new(),
            hosts: 0,
            sizes: Sizes::default(),
        };
        census.rooms = board.indices().map(|host| census.room(board, host)).collect();
        census.hosts = census.rooms.iter().map(|room| u32::from(room.is_some())).sum();
        census
    }

    /// The expressions that hold for those that it counts.
    pub(super) fn member_of(&self) -> &[ExpressionIndex] {
        &self.member_of
    }

    /// Begins to count the hosts that have so much free.
    pub(super) fn watch(&mut self, size: Room) -> SizeIndex {
        let known = self.sizes.amounts.iter().position(|known| *known == size);
        SizeIndex(known.unwrap_or_else(|| {
            let rooms = || self.rooms.iter().flatten();
            let with_cpu = rooms().map(|room| u32::from(room.cpu >= size.cpu)).sum();
            let with_both = rooms().map(|room| u32::from(room.holds(size))).sum();
            self.sizes.push(size, with_cpu, with_both)
        }))
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board) {
        for host in board.changed_since(self.revision).iter() {
            let new = self.room(board, *host);
            let old = std::mem::replace(&mut self.rooms[host.position()], new);
            self.hosts = self.hosts + u32::from(new.is_some()) - u32::from(old.is_some());
            match (old, new) {
                (Some(old), Some(new)) => self.sizes.change(old, new),
                (Some(old), None) => self.sizes.add(old, u32::MAX),
                (None, Some(new)) => self.sizes.add(new, 1),
                (None, None) => {}
            }
        }
        self.revision = board.revision();
    }

    /// Those that it counts.
    pub(super) fn hosts(&self) -> u32 {
        self.hosts
    }

    /// Those of them that have the CPU of a size.
    pub(super) fn with_cpu(&self, size: SizeIndex) -> u32 {
        self.sizes.with_cpu(size.0)
    }

    /// Those of them that have its CPU and its memory.
    pub(super) fn with_both(&self, size: SizeIndex) -> u32 {
        self.sizes.with_both(size.0)
    }

    /// Whether a host is one of those that have both.
    pub(super) fn counts(&self, host: HostIndex, size: Room) -> bool {
        self.rooms[host.position()].is_some_and(|room| room.holds(size))
    }

    fn room(&self, board: &Board, host: HostIndex) -> Option<Room> {
        let is_counted = board.is_available(host) && self.member_of.iter().all(|e| board.holds(*e, host));
        is_counted.then(|| board.room(host))
    }
}

impl Sizes {
    fn push(&mut self, size: Room, with_cpu: u32, with_both: u32) -> usize {
        self.amounts.push(size);
        self.by_cpu.insert(size.cpu, size.memory, with_cpu, with_both);
        self.by_memory.insert(size.memory, size.cpu, 0, 0);
        self.amounts.len() - 1
    }

    fn with_cpu(&self, size: usize) -> u32 {
        self.by_cpu.with_one[self.by_cpu.places[size]]
    }

    fn with_both(&self, size: usize) -> u32 {
        let counted = |order: &Sorted| order.with_both[order.places[size]];
        counted(&self.by_cpu).wrapping_add(counted(&self.by_memory))
    }

    /// A host has other room than before.
    fn change(&mut self, old: Room, new: Room) {
        if old.holds(new) {
            self.step(new, old, u32::MAX);
        } else if new.holds(old) {
            self.step(old, new, 1);
        } else {
            self.add(old, u32::MAX);
            self.add(new, 1);
        }
    }

    /// Counts a host so often more for the sizes that fit into the larger room and not into the smaller; modulo 2^32, so that
    /// `u32::MAX` takes one away.
    fn step(&mut self, smaller: Room, larger: Room, times: u32) {
        self.by_cpu.count(smaller.cpu, larger.cpu, larger.memory, times);
        // Those that take more CPU than the smaller has were counted just now.
        self.by_memory.count(smaller.memory, larger.memory, smaller.cpu, times);
    }

    /// Counts a host so often more.
    fn add(&mut self, room: Room, times: u32) {
        self.by_cpu.count_up_to(room.cpu, room.memory, times);
    }
}

impl Sorted {
    fn insert(&mut self, amount: u32, other: u32, with_one: u32, with_both: u32) {
        let place = self.amounts.partition_point(|known| *known < amount);
        self.amounts.insert(place, amount);
        self.other_amounts.insert(place, other);
        self.sizes.insert(place, self.sizes.len());
        self.with_one.insert(place, with_one);
        self.with_both.insert(place, with_both);
        self.places.push(place);
        for (place, size) in self.sizes.iter().enumerate() {
            self.places[*size] = place;
        }
    }

    /// Counts a host so often more for the sizes that take more than one amount and at most another, and of these with both for those that take
    /// at most so much of the other.
    fn count(&mut self, more_than: u32, at_most: u32, other: u32, times: u32) {
        let from = self.amounts.partition_point(|amount| *amount <= more_than);
        self.count_range(from, at_most, other, times);
    }

    fn count_up_to(&mut self, at_most: u32, other: u32, times: u32) {
        self.count_range(0, at_most, other, times);
    }

    fn count_range(&mut self, from: usize, at_most: u32, other: u32, times: u32) {
        let until = from + self.amounts[from..].partition_point(|amount| *amount <= at_most);
        let (with_one, with_both) = (&mut self.with_one[from..until], &mut self.with_both[from..until]);
        for ((one, both), amount) in with_one.iter_mut().zip(with_both).zip(&self.other_amounts[from..until]) {
            *one = one.wrapping_add(times);
            *both = both.wrapping_add(u32::from(*amount <= other).wrapping_mul(times));
        }
    }
}
