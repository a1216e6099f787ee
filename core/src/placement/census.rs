//! How many hosts have room for tasks of each size, counted on as hosts change rather than anew for each request. Pure.
//!
//! A change of a host costs as many steps as there are sizes between what it had free and what it has.

use std::ops::Range;

use super::board::{Board, ExpressionIndex, HostIndex, PoolIndex};
use super::order::Room;

/// A size that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeIndex(usize);

/// The hosts of a pool, or all, for which some expressions hold, apart from those that take no tasks now.
#[derive(Debug)]
pub(super) struct Census {
    pool: Option<PoolIndex>,
    member_of: Vec<ExpressionIndex>,
    /// Revision of the board whose changes are taken in.
    revision: usize,
    rooms: Rooms,
    hosts: u32,
    sizes: Sizes,
}

/// What hosts have free, each in a list of its own by host, so that several hosts are held against a size at once.
#[derive(Debug, Default)]
struct Rooms {
    cpu: Vec<u32>,
    memory: Vec<u32>,
    /// 1 for a host that is counted and 0 for one that is not.
    counted: Vec<u32>,
    /// How many sizes take at most the CPU.
    cpu_places: Vec<u32>,
    /// How many sizes take at most the memory.
    memory_places: Vec<u32>,
}

/// What a host has free, and how many sizes take at most so much of each.
#[derive(Clone, Copy, Debug)]
struct Standing {
    room: Room,
    cpu_place: usize,
    memory_place: usize,
}

/// The sizes, each in both orders.
#[derive(Debug, Default)]
struct Sizes {
    amounts: Vec<Room>,
    by_cpu: Sorted,
    by_memory: Sorted,
    /// Hosts that have the CPU, in the order by CPU.
    with_cpu: Vec<u32>,
}

/// Sizes in the order of one of their two amounts. What belongs to a size is at the same place in each, side by side with its neighbours, so that
/// several are counted at once.
#[derive(Debug, Default)]
struct Sorted {
    amounts: Vec<u32>,
    other_amounts: Vec<u32>,
    sizes: Vec<usize>,
    /// Hosts that have both, as far as they are counted in this order; modulo 2^32.
    with_both: Vec<u32>,
    /// By size: its place.
    places: Vec<usize>,
}

impl Census {
    /// Counts the hosts of the board as they are now.
    pub(super) fn new(pool: Option<PoolIndex>, member_of: Vec<ExpressionIndex>, board: &Board) -> Self {
        let mut census = Self {
            pool,
            member_of,
            revision: board.revision(),
            rooms: Rooms::default(),
            hosts: 0,
            sizes: Sizes::default(),
        };
        for host in board.indices() {
            let counted = census.is_counted(board, host);
            census.hosts += u32::from(counted);
            census.rooms.push(board.room(host), counted);
        }
        census
    }

    /// The pool of those that it counts, if it is not of all, and the expressions that hold for them.
    pub(super) fn of(&self) -> (Option<PoolIndex>, &[ExpressionIndex]) {
        (self.pool, &self.member_of)
    }

    /// Begins to count the hosts that have so much free.
    pub(super) fn watch(&mut self, size: Room) -> SizeIndex {
        let known = self.sizes.amounts.iter().position(|known| *known == size);
        SizeIndex(known.unwrap_or_else(|| {
            let (with_cpu, with_both) = self.rooms.hold_against(size);
            self.sizes.push(size, with_cpu, with_both)
        }))
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board) {
        for host in board.changed_since(self.revision).iter() {
            let counted = self.is_counted(board, *host);
            let (old, was_counted) = self.rooms.standing(*host);
            let new = self.sizes.standing(board.room(*host), old);
            self.rooms.set(*host, new, counted);
            self.hosts = self.hosts + u32::from(counted) - u32::from(was_counted);
            match (was_counted, counted) {
                (true, true) => self.sizes.change(old, new),
                (true, false) => self.sizes.add(old, u32::MAX),
                (false, true) => self.sizes.add(new, 1),
                (false, false) => {}
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
        self.sizes.with_cpu[self.sizes.by_cpu.places[size.0]]
    }

    /// Those of them that have its CPU and its memory.
    pub(super) fn with_both(&self, size: SizeIndex) -> u32 {
        let counted = |order: &Sorted| order.with_both[order.places[size.0]];
        counted(&self.sizes.by_cpu).wrapping_add(counted(&self.sizes.by_memory))
    }

    /// Whether a host is one of those that have both.
    pub(super) fn counts(&self, host: HostIndex, size: Room) -> bool {
        let (rooms, host) = (&self.rooms, host.position());
        rooms.counted[host] == 1 && rooms.cpu[host] >= size.cpu && rooms.memory[host] >= size.memory
    }

    fn is_counted(&self, board: &Board, host: HostIndex) -> bool {
        let is_in_pool = self.pool.is_none() || board.pool(host) == self.pool;
        board.is_available(host) && is_in_pool && self.member_of.iter().all(|e| board.holds(*e, host))
    }
}

impl Rooms {
    /// A host, while no sizes are watched.
    fn push(&mut self, room: Room, counted: bool) {
        self.cpu.push(room.cpu);
        self.memory.push(room.memory);
        self.counted.push(u32::from(counted));
        self.cpu_places.push(0);
        self.memory_places.push(0);
    }

    /// How many of those that are counted have the CPU of a size that is new, and how many both.
    fn hold_against(&mut self, size: Room) -> (u32, u32) {
        let hosts = self.cpu.iter().zip(&self.memory).zip(&self.counted);
        let places = self.cpu_places.iter_mut().zip(&mut self.memory_places);
        let (mut with_cpu, mut with_both) = (0, 0);
        for (((cpu, memory), counted), (cpu_place, memory_place)) in hosts.zip(places) {
            let (has_cpu, has_memory) = (u32::from(*cpu >= size.cpu), u32::from(*memory >= size.memory));
            *cpu_place += has_cpu;
            *memory_place += has_memory;
            with_cpu += has_cpu & counted;
            with_both += has_cpu & has_memory & counted;
        }
        (with_cpu, with_both)
    }

    /// What the host has free, and whether it is counted.
    fn standing(&self, host: HostIndex) -> (Standing, bool) {
        let host = host.position();
        let standing = Standing {
            room: Room {
                cpu: self.cpu[host],
                memory: self.memory[host],
            },
            cpu_place: self.cpu_places[host] as usize,
            memory_place: self.memory_places[host] as usize,
        };
        (standing, self.counted[host] == 1)
    }

    fn set(&mut self, host: HostIndex, standing: Standing, counted: bool) {
        let place = |place: usize| u32::try_from(place).expect("fewer sizes than fit into memory");
        let host = host.position();
        self.cpu[host] = standing.room.cpu;
        self.memory[host] = standing.room.memory;
        self.counted[host] = u32::from(counted);
        self.cpu_places[host] = place(standing.cpu_place);
        self.memory_places[host] = place(standing.memory_place);
    }
}

impl Sizes {
    fn push(&mut self, size: Room, with_cpu: u32, with_both: u32) -> usize {
        self.amounts.push(size);
        let place = self.by_cpu.insert(size.cpu, size.memory, with_both);
        self.with_cpu.insert(place, with_cpu);
        self.by_memory.insert(size.memory, size.cpu, 0);
        self.amounts.len() - 1
    }

    /// How a host stands that has so much free; before it stood as `old`.
    fn standing(&self, room: Room, old: Standing) -> Standing {
        Standing {
            room,
            cpu_place: self.by_cpu.place_from(old.cpu_place, old.room.cpu, room.cpu),
            memory_place: self
                .by_memory
                .place_from(old.memory_place, old.room.memory, room.memory),
        }
    }

    /// A host has other room than before.
    fn change(&mut self, old: Standing, new: Standing) {
        if old.room.holds(new.room) {
            self.step(new, old, u32::MAX);
        } else if new.room.holds(old.room) {
            self.step(old, new, 1);
        } else {
            self.add(old, u32::MAX);
            self.add(new, 1);
        }
    }

    /// Counts a host so often more for the sizes that fit into the larger room and not into the smaller; modulo 2^32, so that
    /// `u32::MAX` takes one away.
    fn step(&mut self, smaller: Standing, larger: Standing, times: u32) {
        self.count_by_cpu(smaller.cpu_place..larger.cpu_place, larger.room.memory, times);
        // Those that take more CPU than the smaller has were counted just now.
        let more_memory = smaller.memory_place..larger.memory_place;
        self.by_memory.count(more_memory, smaller.room.cpu, times);
    }

    /// Counts a host so often more.
    fn add(&mut self, standing: Standing, times: u32) {
        self.count_by_cpu(0..standing.cpu_place, standing.room.memory, times);
    }

    fn count_by_cpu(&mut self, places: Range<usize>, memory: u32, times: u32) {
        for hosts in &mut self.with_cpu[places.clone()] {
            *hosts = hosts.wrapping_add(times);
        }
        self.by_cpu.count(places, memory, times);
    }
}

impl Sorted {
    /// The place of a new size.
    fn insert(&mut self, amount: u32, other: u32, with_both: u32) -> usize {
        let place = self.amounts.partition_point(|known| *known < amount);
        self.amounts.insert(place, amount);
        self.other_amounts.insert(place, other);
        self.sizes.insert(place, self.sizes.len());
        self.with_both.insert(place, with_both);
        self.places.push(place);
        for (place, size) in self.sizes.iter().enumerate() {
            self.places[*size] = place;
        }
        place
    }

    /// How many sizes take at most an amount, where so many take at most another.
    fn place_from(&self, other_place: usize, other: u32, amount: u32) -> usize {
        if amount <= other {
            self.amounts[..other_place].partition_point(|size| *size <= amount)
        } else {
            other_place + self.amounts[other_place..].partition_point(|size| *size <= amount)
        }
    }

    /// Counts a host so often more for the sizes at these places that take at most so much of the other amount.
    fn count(&mut self, places: Range<usize>, other: u32, times: u32) {
        let sizes = self.with_both[places.clone()]
            .iter_mut()
            .zip(&self.other_amounts[places]);
        for (both, amount) in sizes {
            *both = both.wrapping_add(u32::from(*amount <= other).wrapping_mul(times));
        }
    }
}
