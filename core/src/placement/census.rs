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

#[derive(Debug, Default)]
struct Sizes {
    /// By size.
    amounts: Vec<Room>,
    /// By size: hosts that have the CPU.
    with_cpu: Vec<u32>,
    /// By size: hosts that have both.
    with_both: Vec<u32>,
    /// The sizes in the order of their CPU, and of their memory.
    by_cpu: Vec<(u32, usize)>,
    by_memory: Vec<(u32, usize)>,
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
            self.sizes.push(size);
            let index = self.sizes.amounts.len() - 1;
            for room in self.rooms.iter().flatten() {
                self.sizes.count_one(index, *room);
            }
            index
        }))
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board) {
        for host in board.changed_since(self.revision) {
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
        self.sizes.with_cpu[size.0]
    }

    /// Those of them that have its CPU and its memory.
    pub(super) fn with_both(&self, size: SizeIndex) -> u32 {
        self.sizes.with_both[size.0]
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
    fn push(&mut self, size: Room) {
        let index = self.amounts.len();
        self.amounts.push(size);
        self.with_cpu.push(0);
        self.with_both.push(0);
        for (sorted, amount) in [(&mut self.by_cpu, size.cpu), (&mut self.by_memory, size.memory)] {
            sorted.insert(
                sorted.partition_point(|known| *known < (amount, index)),
                (amount, index),
            );
        }
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
        for (_, size) in between(&self.by_cpu, smaller.cpu, larger.cpu) {
            self.with_cpu[*size] = self.with_cpu[*size].wrapping_add(times);
            if self.amounts[*size].memory <= larger.memory {
                self.with_both[*size] = self.with_both[*size].wrapping_add(times);
            }
        }
        for (_, size) in between(&self.by_memory, smaller.memory, larger.memory) {
            // The others were counted above.
            if self.amounts[*size].cpu <= smaller.cpu {
                self.with_both[*size] = self.with_both[*size].wrapping_add(times);
            }
        }
    }

    /// Counts a host so often more.
    fn add(&mut self, room: Room, times: u32) {
        for (size, amounts) in self.amounts.iter().enumerate() {
            let cpu = u32::from(room.cpu >= amounts.cpu).wrapping_mul(times);
            let both = u32::from(room.holds(*amounts)).wrapping_mul(times);
            self.with_cpu[size] = self.with_cpu[size].wrapping_add(cpu);
            self.with_both[size] = self.with_both[size].wrapping_add(both);
        }
    }

    fn count_one(&mut self, size: usize, room: Room) {
        self.with_cpu[size] += u32::from(room.cpu >= self.amounts[size].cpu);
        self.with_both[size] += u32::from(room.holds(self.amounts[size]));
    }
}

/// The sizes that take more than one amount, and at most another.
fn between(sorted: &[(u32, usize)], more_than: u32, at_most: u32) -> &[(u32, usize)] {
    let from = sorted.partition_point(|(amount, _)| *amount <= more_than);
    let length = sorted[from..].partition_point(|(amount, _)| *amount <= at_most);
    &sorted[from..from + length]
}
