//! Hosts in the order of a ranking that no request changes, from which the first with enough room is found without looking at all. Pure.
//!
//! The hosts are kept in blocks that are sorted and follow each other. Each block knows the most that any of its hosts has
//! free of each resource, so that a search passes over blocks in which nothing can fit. With n hosts a search looks at the n / [`BLOCK`]
//! blocks, some nanoseconds for several of them, and at the hosts of those few that may have one; a change moves at most a block's entries.

use super::board::HostIndex;

/// Most hosts of a block: as many as one pass over their entries is not slower than another step of a search.
const BLOCK: usize = 32;

/// Ranks that an order compares.
pub(super) const ORDER_RANKS: usize = 2;

/// What a host is sorted by; the least comes first. Fields in order of importance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OrderKey {
    /// What each strategy says.
    pub(super) ranks: [u64; ORDER_RANKS],
    /// As in [`super::score::Score`].
    pub(super) occupancy: u32,
    /// The host.
    pub(super) host: HostIndex,
}

/// Amounts of the resources that are counted for all hosts, of a host or of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Room {
    /// CPU units.
    pub(super) cpu: u32,
    /// MiB.
    pub(super) memory: u32,
}

impl Room {
    /// Whether so much fits in.
    pub(super) fn holds(self, need: Self) -> bool {
        // Without branches: which of them lacks cannot be foreseen.
        (self.cpu >= need.cpu) & (self.memory >= need.memory)
    }
}

/// What makes amounts of CPU and of memory comparable: by how much they are multiplied, in 2^-20.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scale {
    cpu: u64,
    memory: u64,
}

impl Scale {
    /// In parts of the most that any host has.
    pub(super) fn by(most: Room) -> Self {
        let factor = |most: u32| (1 << 40) / u64::from(most.max(1));
        Self {
            cpu: factor(most.cpu),
            memory: factor(most.memory),
        }
    }
}

/// A room, and what tells whether there may be one that large among several. The most of each resource that any host has says little where
/// some have CPU left and others memory. So it also has how much there is of both together, in three proportions: if one
/// room holds another, each of these is at least as large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline([u32; 5]);

impl Outline {
    pub(super) fn of(room: Room, scale: Scale) -> Self {
        // So that four times as much is still a number, also of what a request asks for that no host has.
        let most = u64::from(u32::MAX / 4);
        let scaled = |amount: u32, factor: u64| ((u128::from(amount) * u128::from(factor)) >> 20).min(most.into());
        let scaled = |amount, factor| u32::try_from(scaled(amount, factor)).expect("no more than the most");
        let (cpu, memory) = (scaled(room.cpu, scale.cpu), scaled(room.memory, scale.memory));
        Self([
            room.cpu,
            room.memory,
            cpu.min(memory),
            cpu.min(memory.saturating_mul(4)),
            cpu.saturating_mul(4).min(memory),
        ])
    }

    fn room(self) -> Room {
        let [cpu, memory, ..] = self.0;
        Room { cpu, memory }
    }

    fn may_hold(self, need: Self) -> bool {
        self.0
            .iter()
            .zip(need.0)
            .fold(true, |holds, (most, need)| holds & (*most >= need))
    }

    fn max(mut self, other: Self) -> Self {
        for (most, other) in self.0.iter_mut().zip(other.0) {
            *most = (*most).max(other);
        }
        self
    }
}

/// A host with its place in an order, and what it has free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: OrderKey,
    pub(super) room: Outline,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// The key of each block's first entry. In step with the two that follow.
    firsts: Vec<OrderKey>,
    /// The most that any host of each block has free.
    most: Vec<Outline>,
    blocks: Vec<Vec<Entry>>,
}

impl Order {
    /// The order of these hosts, each given once.
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.key);
        let mut order = Self::default();
        // Half full, so that the first changes split none.
        for block in entries.chunks(BLOCK / 2) {
            order.insert_block(order.blocks.len(), block.to_vec());
        }
        order
    }

    /// The hosts that have so much free, the first in order first. The caller knows that none that has room has a first rank below
    /// `least`.
    pub(super) fn with_room(&self, need: Outline, least: u64) -> impl Iterator<Item = &Entry> {
        let first = self.block_of(OrderKey {
            ranks: [least, 0],
            ..OrderKey::default()
        });
        let blocks = self.most.iter().zip(&self.blocks);
        blocks
            .skip(first)
            .filter(move |(most, _)| most.may_hold(need))
            .flat_map(|(_, entries)| entries)
            .filter(move |entry| entry.room.room().holds(need.room()))
    }

    /// Adds a host that is not there yet.
    pub(super) fn insert(&mut self, entry: Entry) {
        if self.blocks.is_empty() {
            self.insert_block(0, vec![entry]);
            return;
        }
        let block = self.block_of(entry.key);
        self.most[block] = self.most[block].max(entry.room);
        let entries = &mut self.blocks[block];
        entries.insert(place_in(entries, entry.key), entry);
        self.firsts[block] = self.firsts[block].min(entry.key);
        if self.blocks[block].len() > BLOCK {
            let behind = self.blocks[block].split_off(BLOCK / 2);
            self.refresh(block);
            self.insert_block(block + 1, behind);
        }
    }

    /// Takes out the host that has this key.
    ///
    /// # Panics
    /// If none has.
    pub(super) fn remove(&mut self, key: OrderKey) {
        let block = self.block_of(key);
        let entries = &mut self.blocks[block];
        let place = place_in(entries, key);
        assert_eq!(
            entries.get(place).map(|entry| entry.key),
            Some(key),
            "the host is in the order"
        );
        entries.remove(place);
        if entries.is_empty() {
            self.firsts.remove(block);
            self.most.remove(block);
            self.blocks.remove(block);
        } else {
            self.refresh(block);
        }
    }

    /// Gives a host another key, or another room, or both.
    ///
    /// # Panics
    /// If none has the old key.
    pub(super) fn change(&mut self, old: OrderKey, new: Entry) {
        let block = self.block_of(old);
        let stays = self.blocks.get(block).is_some_and(|entries| entries.len() > 1) && block == self.block_of(new.key);
        if !stays {
            self.remove(old);
            self.insert(new);
            return;
        }
        let entries = &mut self.blocks[block];
        let from = place_in(entries, old);
        assert_eq!(
            entries.get(from).map(|entry| entry.key),
            Some(old),
            "the host is in the order"
        );
        let to = place_in(entries, new.key);
        if to > from {
            entries[from..to].rotate_left(1);
            entries[to - 1] = new;
        } else {
            entries[to..=from].rotate_right(1);
            entries[to] = new;
        }
        self.refresh(block);
    }

    /// Where a host with this key is, or would be.
    fn block_of(&self, key: OrderKey) -> usize {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1)
    }

    fn insert_block(&mut self, at: usize, entries: Vec<Entry>) {
        self.firsts.insert(at, OrderKey::default());
        self.most.insert(at, Outline::default());
        self.blocks.insert(at, entries);
        self.refresh(at);
    }

    fn refresh(&mut self, block: usize) {
        let entries = &self.blocks[block];
        self.firsts[block] = entries[0].key;
        self.most[block] = entries
            .iter()
            .fold(Outline::default(), |most, entry| most.max(entry.room));
    }
}

fn place_in(entries: &[Entry], key: OrderKey) -> usize {
    entries.partition_point(|entry| entry.key < key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outline((cpu, memory): (u32, u32)) -> Outline {
        Outline::of(Room { cpu, memory }, Scale::by(Room { cpu: 30, memory: 20 }))
    }

    fn entry(host: usize, rank: u64, room: (u32, u32)) -> Entry {
        Entry {
            key: OrderKey {
                ranks: [rank, 0],
                occupancy: 0,
                host: HostIndex::at(host),
            },
            room: outline(room),
        }
    }

    fn check(order: &Order) {
        for ((first, most), entries) in order.firsts.iter().zip(&order.most).zip(&order.blocks) {
            assert_eq!(entries.first().map(|entry| entry.key), Some(*first));
            assert!(entries.len() <= BLOCK);
            assert!(entries.windows(2).all(|two| two[0].key < two[1].key));
            let anew = entries
                .iter()
                .fold(Outline::default(), |most, entry| most.max(entry.room));
            assert_eq!(anew, *most);
        }
        assert!(order.firsts.is_sorted());
    }

    proptest! {
        #[test]
        fn order_changed_step_by_step_finds_what_a_sorted_list_does(
            steps in proptest::collection::vec((0usize..200, 0u64..20, (0u32..30, 0u32..30), any::<bool>()), 1..600),
            need in (0u32..30, 0u32..30),
            least in 0u64..20,
        ) {
            let mut order = Order::default();
            let mut listed = std::collections::BTreeMap::new();
            for (host, rank, room, stays) in steps {
                let new = entry(host, rank, room);
                match (listed.get(&host).copied(), stays) {
                    (None, _) => {
                        order.insert(new);
                        listed.insert(host, new);
                    }
                    (Some(Entry { key, .. }), true) => {
                        order.change(key, new);
                        listed.insert(host, new);
                    }
                    (Some(Entry { key, .. }), false) => {
                        order.remove(key);
                        listed.remove(&host);
                    }
                }
            }
            check(&order);
            let need = outline(need);
            let mut expected: Vec<Entry> = listed.into_values().filter(|entry| entry.room.room().holds(need.room())).collect();
            expected.sort_by_key(|entry| entry.key);
            let found: Vec<Entry> = order.with_room(need, 0).copied().collect();
            prop_assert_eq!(&found, &expected);
            let expected_from: Vec<Entry> = expected.iter().filter(|entry| entry.key.ranks[0] >= least).copied().collect();
            let found: Vec<Entry> = order.with_room(need, least).copied().collect();
            prop_assert!(found.ends_with(&expected_from));
            let anew = Order::new(order.blocks.concat());
            prop_assert!(anew.with_room(need, 0).eq(&expected));
        }
    }
}
