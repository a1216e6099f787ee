//! [`Crowd`]: the hosts by what every request sees of them, which is whether they take tasks, whose pool they are in and what is free there. A task that finds no
//! host learns from it which of very many are closest, by a look at each sort of hosts rather than at each host. Where it asks for more than room, hosts are
//! looked at one by one, as far as they may be among the closest. It finds what a look at every host would. Pure.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::board::{Board, HostIndex, PoolIndex};
use super::distance::Gap;
use super::filter::{self, FilterKind};
use super::need::Need;
use super::order::Room;
use super::refusal::Refusal;
use crate::model::ServiceName;

/// Hosts that are told of where a task finds none, the closest: as many as `RunTask` answers with. Events name fewer.
pub(super) const MAX_CLOSEST: usize = 100;

/// Of those that lack nothing but room, hosts that are told of, the closest: on them it is asked which tasks could be stopped.
pub const MAX_LACKING_ROOM: usize = 200;

/// See the module.
pub(super) struct Crowd {
    /// Revision of the board whose changes are taken in.
    revision: usize,
    sorts: Vec<Sort>,
    places: BTreeMap<Look, usize>,
    /// Places without hosts.
    vacant: Vec<usize>,
    /// By host: the place of its sort.
    sort_of: Vec<usize>,
    /// Hosts that make room for a task of a service.
    making_room: BTreeMap<ServiceName, BTreeSet<HostIndex>>,
    makes_room_for: BTreeMap<HostIndex, ServiceName>,
}

/// Hosts that are alike.
struct Sort {
    look: Look,
    hosts: BTreeSet<HostIndex>,
}

/// What hosts of a sort have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    stands: Stands,
    pool: Option<PoolIndex>,
    room: Room,
}

/// Which tasks a host takes, whatever is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stands {
    TakesTasks,
    /// Those of daemons.
    MissesDaemon,
    TakesNone,
}

/// The hosts that come closest to taking a task.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nearest {
    /// [`MAX_CLOSEST`] of all, the closest first.
    pub(super) hosts: Vec<HostIndex>,
    /// Those that lack nothing but room which tasks hold: the hosts that make it for the task's service, and [`MAX_LACKING_ROOM`] others, the closest first.
    pub(super) lack_room: Vec<HostIndex>,
    /// How many sorts and hosts were looked at.
    pub(super) looks: usize,
}

impl Crowd {
    pub(super) fn new(board: &Board) -> Self {
        let mut crowd = Self {
            revision: board.revision(),
            sorts: Vec::new(),
            places: BTreeMap::new(),
            vacant: Vec::new(),
            sort_of: Vec::new(),
            making_room: BTreeMap::new(),
            makes_room_for: BTreeMap::new(),
        };
        for host in board.indices() {
            let place = crowd.enter(board, host);
            crowd.sort_of.push(place);
        }
        crowd
    }

    /// Takes in what changed on the board.
    pub(super) fn catch_up(&mut self, board: &Board) {
        for host in board.changed_since(self.revision).iter().copied() {
            self.leave(host);
            self.sort_of[host.position()] = self.enter(board, host);
        }
        self.revision = board.revision();
    }

    /// Has a host stand where it belongs; returns the place of its sort.
    fn enter(&mut self, board: &Board, host: HostIndex) -> usize {
        if let Some(Refusal::MakesRoom(service)) = filter::unavailability(board.host(host)) {
            self.making_room.entry(service.clone()).or_default().insert(host);
            self.makes_room_for.insert(host, service);
        }
        let look = Look::of(board, host);
        let place = *self.places.entry(look).or_insert_with(|| {
            let hosts = BTreeSet::new();
            let sort = Sort { look, hosts };
            if let Some(place) = self.vacant.pop() {
                self.sorts[place] = sort;
                place
            } else {
                self.sorts.push(sort);
                self.sorts.len() - 1
            }
        });
        self.sorts[place].hosts.insert(host);
        place
    }

    fn leave(&mut self, host: HostIndex) {
        let place = self.sort_of[host.position()];
        let Sort { look, hosts } = &mut self.sorts[place];
        hosts.remove(&host);
        if hosts.is_empty() {
            self.places.remove(look);
            self.vacant.push(place);
        }
        if let Some(service) = self.makes_room_for.remove(&host)
            && let Some(hosts) = self.making_room.get_mut(&service)
        {
            hosts.remove(&host);
            if hosts.is_empty() {
                self.making_room.remove(&service);
            }
        }
    }

    fn sorts(&self) -> impl Iterator<Item = &Sort> {
        self.sorts.iter().filter(|sort| !sort.hosts.is_empty())
    }

    /// Whether any host takes a task, and how many sorts and hosts were looked at. The changes of the board must be taken in.
    pub(super) fn has_taker(&self, board: &Board, need: &Need) -> (bool, usize) {
        let own = own_filters(need);
        let mut looks = 0;
        let found = self.sorts().any(|sort| {
            looks += 1;
            let fits = sort.look.gap(need) == Gap::NONE;
            fits && sort.hosts.iter().any(|host| {
                looks += 1;
                !filter::is_refused_by(&own, board, need, *host)
            })
        });
        (found, looks)
    }

    /// The hosts that come closest to taking a task that none takes. The changes of the board must be taken in.
    pub(super) fn nearest(&self, board: &Board, need: &Need) -> Nearest {
        let mut search = Search::new(board, need);
        for Sort { look, hosts } in self.sorts() {
            search.looks += 1;
            let gap = look.gap(need);
            let lacks_room = look.may_lack_room_alone(need);
            for host in hosts {
                // Those that follow are no closer.
                if !search.admits(gap, lacks_room, *host) {
                    break;
                }
                search.look_at(gap, lacks_room, *host);
            }
        }
        let making = self.making_room.get(need.service()).into_iter().flatten();
        search.found(making.copied())
    }
}

/// The same among some hosts.
pub(super) fn nearest_among(board: &Board, need: &Need, hosts: &[HostIndex]) -> Nearest {
    let mut search = Search::new(board, need);
    for host in hosts.iter().copied() {
        let look = Look::of(board, host);
        search.look_at(look.gap(need), look.may_lack_room_alone(need), host);
    }
    search.found(hosts.iter().copied().filter(|host| {
        let for_whom = &board.host(*host).makes_room_for;
        for_whom.as_ref().is_some_and(|name| name.as_str() == need.service())
    }))
}

impl Look {
    fn of(board: &Board, host: HostIndex) -> Self {
        Self {
            stands: match filter::unavailability(board.host(host)) {
                None => Stands::TakesTasks,
                Some(Refusal::MissesDaemon(_)) => Stands::MissesDaemon,
                Some(_) => Stands::TakesNone,
            },
            pool: board.pool(host),
            room: board.room(host),
        }
    }

    fn is_available(self, need: &Need) -> bool {
        match self.stands {
            Stands::TakesTasks => true,
            Stands::MissesDaemon => need.is_of_daemon(),
            Stands::TakesNone => false,
        }
    }

    fn is_in_pool(self, need: &Need) -> bool {
        need.pool.is_none_or(|pool| self.pool == Some(pool))
    }

    /// What stands between its hosts and a task, as far as they have it in common.
    fn gap(self, need: &Need) -> Gap {
        let mut gap = Gap::NONE;
        if !self.is_available(need) {
            gap = gap.and(Gap::UNAVAILABLE);
        }
        if !self.is_in_pool(need) {
            gap = gap.and(Gap::EXCLUDED);
        }
        let needed = need.room();
        for (needs, free) in [(needed.cpu, self.room.cpu), (needed.memory, self.room.memory)] {
            if needs > free {
                gap = gap.and(Gap::short_by(needs - free));
            }
        }
        gap
    }

    /// Whether all that its hosts have in common against a task is what tasks hold.
    fn may_lack_room_alone(self, need: &Need) -> bool {
        self.is_available(need) && self.is_in_pool(need)
    }
}

/// The filters that may refuse one of two hosts that are of a sort.
fn own_filters(need: &Need) -> Vec<FilterKind> {
    let may_refuse = |kind: &FilterKind| match kind {
        FilterKind::Agent | FilterKind::CapacityProvider | FilterKind::Cpu | FilterKind::Memory => false,
        FilterKind::Ports => !need.host_ports.is_empty(),
        FilterKind::Gpu => need.shape.gpu.devices() > 0,
        FilterKind::DistinctInstance => need.distinct_instance,
        FilterKind::MemberOf => !need.member_of.is_empty(),
    };
    FilterKind::ALL.into_iter().filter(may_refuse).collect()
}

/// A search for the closest hosts.
struct Search<'a> {
    board: &'a Board,
    need: &'a Need,
    own_filters: Vec<FilterKind>,
    closest: Best,
    lack_room: Best,
    looks: usize,
}

impl<'a> Search<'a> {
    fn new(board: &'a Board, need: &'a Need) -> Self {
        Self {
            board,
            need,
            own_filters: own_filters(need),
            closest: Best::of(MAX_CLOSEST),
            lack_room: Best::of(MAX_LACKING_ROOM),
            looks: 0,
        }
    }

    /// Whether a host that is at least so far may be among those that are looked for.
    fn admits(&self, gap: Gap, lacks_room: bool, host: HostIndex) -> bool {
        self.closest.admits(gap, host) || (lacks_room && self.lack_room.admits(gap, host))
    }

    /// Looks at one host, which has so much against the task beside what is its own.
    fn look_at(&mut self, mut gap: Gap, mut lacks_room: bool, host: HostIndex) {
        self.looks += 1;
        for kind in &self.own_filters {
            if *kind == FilterKind::MemberOf {
                // Whatever its words are.
                if filter::is_refused_by(&[*kind], self.board, self.need, host) {
                    gap = gap.and(Gap::EXCLUDED);
                    lacks_room = false;
                }
            } else if let Some(refusal) = filter::refusal_by(*kind, self.board, self.need, host) {
                gap = gap.and(Gap::of(&refusal));
                lacks_room &= refusal.is_of_room();
            }
        }
        self.closest.offer(gap, host);
        if lacks_room {
            self.lack_room.offer(gap, host);
        }
    }

    /// What was found, where these hosts make room for the task's service.
    fn found(mut self, making_room: impl Iterator<Item = HostIndex>) -> Nearest {
        let mut making = vec![];
        for host in making_room {
            self.looks += 1;
            let refusals = filter::refusals(self.board, self.need, host);
            let is_room = |refusal: &Refusal| refusal.is_of_room() || matches!(refusal, Refusal::MakesRoom(_));
            if refusals.iter().all(is_room) {
                let gaps = refusals.iter().map(Gap::of);
                making.push((gaps.fold(Gap::NONE, Gap::and), host));
            }
        }
        making.sort_unstable();
        let making = making.into_iter().map(|(_, host)| host);
        Nearest {
            hosts: self.closest.in_order(),
            lack_room: making.chain(self.lack_room.in_order()).collect(),
            looks: self.looks,
        }
    }
}

/// The closest of the hosts that were offered, so many at most.
struct Best {
    most: usize,
    hosts: BinaryHeap<(Gap, HostIndex)>,
}

impl Best {
    fn of(most: usize) -> Self {
        Self {
            most,
            hosts: BinaryHeap::with_capacity(most + 1),
        }
    }

    fn admits(&self, gap: Gap, host: HostIndex) -> bool {
        self.hosts.len() < self.most || self.hosts.peek().is_some_and(|farthest| (gap, host) < *farthest)
    }

    fn offer(&mut self, gap: Gap, host: HostIndex) {
        if self.admits(gap, host) {
            self.hosts.push((gap, host));
            if self.hosts.len() > self.most {
                self.hosts.pop();
            }
        }
    }

    fn in_order(self) -> Vec<HostIndex> {
        let hosts = self.hosts.into_sorted_vec().into_iter();
        hosts.map(|(_, host)| host).collect()
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
