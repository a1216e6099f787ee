//! The connections of clients, and which of them has to go when there are too many.
//!
//! Owns who may be dropped in favour of whom: first strangers, then those of whom nothing is expected at the moment, and among equals
//! the one that has kept the server waiting longest; never one whose request is being served. So no number of connections on which
//! nothing comes shuts out a client that has something to say. It must not know what is said. Pure but for its lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections that there are.
pub(super) struct Connections {
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    open: usize,
    /// Counts the waits.
    waits: u64,
    /// Those that the server waits for, in the order in which they are dropped.
    waiting: BTreeMap<Rank, Waiting>,
}

/// What is dropped first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Whether a signed request has come over it.
    is_known: bool,
    since: u64,
}

struct Waiting {
    /// Whether a body is what is waited for, which takes memory.
    has_body: bool,
    end: Arc<CancellationToken>,
}

/// One connection; it counts until this is dropped, or the connection is.
pub(super) struct Place {
    connections: Arc<Connections>,
    /// Cancelled when the connection has to go, and when the server stops.
    end: Arc<CancellationToken>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_known: bool,
    /// Its place among those that are waited for; none while its request is served.
    rank: Option<Rank>,
    /// It has to go, or has gone.
    is_dropped: bool,
}

impl Connections {
    /// Room for so many connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            inner: Mutex::default(),
        })
    }

    /// Takes one more in, another one going if there is no room. `None` where every one has a request that is being served.
    /// `end` is cancelled when it has to go.
    pub(super) fn enter(self: &Arc<Self>, end: CancellationToken) -> Option<Place> {
        let mut inner = self.lock();
        if inner.open >= self.most && !inner.drop_first(|_| true) {
            return None;
        }
        inner.open += 1;
        drop(inner);
        let place = Place {
            connections: Arc::clone(self),
            end: Arc::new(end),
            state: Mutex::default(),
        };
        place.wait(false);
        Some(place)
    }

    /// Drops the connection that is the first to go. Whether there was one.
    pub(super) fn drop_one(&self) -> bool {
        self.lock().drop_first(|_| true)
    }

    /// Drops the connection that is the first to go of those whose body is waited for. Whether there was one.
    pub(super) fn drop_one_with_body(&self) -> bool {
        self.lock().drop_first(|waiting| waiting.has_body)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn drop_first(&mut self, may_go: impl Fn(&Waiting) -> bool) -> bool {
        let first = self.waiting.iter().find(|(_, waiting)| may_go(waiting));
        let Some(rank) = first.map(|(rank, _)| *rank) else {
            return false;
        };
        if let Some(waiting) = self.waiting.remove(&rank) {
            waiting.end.cancel();
            self.open = self.open.saturating_sub(1);
        }
        true
    }
}

impl Place {
    /// The next request is waited for.
    pub(super) fn waits_for_request(&self) {
        self.wait(false);
    }

    /// The body of a request is waited for.
    pub(super) fn waits_for_body(&self) {
        self.wait(true);
    }

    /// Its request is to be served: from now on it stays. `false` where it has been dropped before.
    pub(super) fn stays(&self) -> bool {
        let mut state = lock(&self.state);
        state.leave_line(&mut self.connections.lock());
        !state.is_dropped
    }

    /// Notes that a signed request has come over it.
    pub(super) fn make_known(&self) {
        lock(&self.state).is_known = true;
    }

    /// Resolves when it has to go, or the server stops.
    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    fn wait(&self, has_body: bool) {
        let mut state = lock(&self.state);
        let mut inner = self.connections.lock();
        state.leave_line(&mut inner);
        if state.is_dropped {
            return;
        }
        inner.waits += 1;
        let rank = Rank {
            is_known: state.is_known,
            since: inner.waits,
        };
        let end = Arc::clone(&self.end);
        inner.waiting.insert(rank, Waiting { has_body, end });
        state.rank = Some(rank);
    }
}

impl State {
    /// It is not waited for any more. Where others have taken it out of those that are, it has been dropped, and stays so.
    fn leave_line(&mut self, inner: &mut Inner) {
        if let Some(rank) = self.rank.take() {
            self.is_dropped |= inner.waiting.remove(&rank).is_none();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever was dropped is not counted any more.
        if self.stays() {
            let mut inner = self.connections.lock();
            inner.open = inner.open.saturating_sub(1);
        }
    }
}

/// What is behind these locks is whole after every step, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(places: &[&Place]) -> Vec<bool> {
        places.iter().map(|place| place.end.is_cancelled()).collect()
    }

    fn enter(connections: &Arc<Connections>) -> Option<Place> {
        connections.enter(CancellationToken::new())
    }

    #[test]
    fn connection_too_many_takes_the_place_of_the_stranger_that_has_been_silent_longest() {
        let connections = Connections::new(3);
        let known = enter(&connections).expect("room");
        known.make_known();
        known.waits_for_request();
        let (old, young) = (enter(&connections).expect("room"), enter(&connections).expect("room"));
        let next = enter(&connections).expect("room");
        assert_eq!(gone(&[&known, &old, &young, &next]), [false, true, false, false]);
        drop(old);
        let last = enter(&connections).expect("room");
        assert_eq!(gone(&[&known, &young, &next, &last]), [false, true, false, false]);
    }

    #[test]
    fn connection_that_is_served_stays_and_a_known_one_goes_when_nobody_else_can() {
        let connections = Connections::new(2);
        let (served, idle) = (enter(&connections).expect("room"), enter(&connections).expect("room"));
        assert!(served.stays());
        idle.make_known();
        idle.waits_for_request();
        let next = enter(&connections).expect("room");
        assert_eq!(gone(&[&served, &idle]), [false, true]);
        assert!(next.stays());
        assert!(enter(&connections).is_none());
        drop(served);
        assert!(enter(&connections).is_some());
    }

    #[test]
    fn body_that_is_waited_for_longest_goes_when_memory_is_short() {
        let connections = Connections::new(3);
        let (silent, slow, slower) = (
            enter(&connections).expect("room"),
            enter(&connections).expect("room"),
            enter(&connections).expect("room"),
        );
        slower.waits_for_body();
        slow.waits_for_body();
        assert!(connections.drop_one_with_body());
        assert_eq!(gone(&[&silent, &slow, &slower]), [false, false, true]);
        assert!(connections.drop_one_with_body() && !connections.drop_one_with_body());
        assert_eq!(gone(&[&silent, &slow]), [false, true]);
    }
}
