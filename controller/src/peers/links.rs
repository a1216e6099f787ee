//! The ways to all other members, as the group knows them. Shell.
//!
//! Where members are is said by their records, and by those that speak to this one: what a member says itself counts for as long as it
//! speaks. So those are answered that are in no record, since this one has just joined and does not know them yet or since they were
//! removed and do not know it, and those that have moved, whose records change only once a majority hears them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use berth_proto::v1::PeerMessage;
use berth_raft::{Membership, Transport, WeakRaft};
use tokio::sync::watch;

use super::ADDRESS;
use super::client::PeerTls;
use super::link::{Link, LinkContext};
use crate::api::Api;
use crate::replica::ReplicatedState;

/// Ways that are kept: more than a group has members, with those that were removed lately.
const MAX_LINKS: usize = 32;

/// The ways to all other members. Clones are the same.
#[derive(Clone)]
pub struct PeerNetwork {
    shared: Arc<Shared>,
}

/// The group's end of the network.
pub struct PeerTransport {
    network: PeerNetwork,
}

struct Shared {
    runtime: tokio::runtime::Handle,
    tls: watch::Sender<Option<PeerTls>>,
    context: Arc<LinkContext>,
    group: Arc<OnceLock<WeakRaft<ReplicatedState>>>,
    api: OnceLock<Arc<Api>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<u64, Link>,
    /// The members' addresses, as the group knows them.
    members: BTreeMap<u64, String>,
    /// The streams that are open from each member, and from those that are none; the newest is the last.
    streams: BTreeMap<u64, Vec<Stream>>,
    /// Number of streams that were ever opened.
    opened: u64,
    own_id: Option<u64>,
}

/// A stream from another member.
struct Stream {
    number: u64,
    /// Where its sender is reached, as that says.
    address: Option<String>,
}

impl State {
    /// Where a member is reached: where it says itself that it is, for as long as it speaks, else where the group knows it.
    fn address_of(&self, member: u64) -> Option<String> {
        let newest = self.streams.get(&member).and_then(|streams| streams.last());
        let said = newest.and_then(|stream| stream.address.clone());
        said.or_else(|| self.members.get(&member).cloned())
    }
}

impl std::fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerNetwork").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PeerTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTransport").finish_non_exhaustive()
    }
}

impl PeerNetwork {
    /// A network that connects to nobody before [`PeerNetwork::show`], and speaks to others on this runtime. `own_address` is where this
    /// member is reached.
    #[must_use]
    pub fn new(own_address: &str, runtime: tokio::runtime::Handle) -> Self {
        let (tls, follows) = watch::channel(None);
        let group: Arc<OnceLock<WeakRaft<ReplicatedState>>> = Arc::default();
        let told = Arc::clone(&group);
        let context = LinkContext {
            tls: follows,
            own_address: own_address.parse().ok(),
            removed: watch::Sender::new(false),
            on_break: Arc::new(move |member| {
                if let Some(raft) = told.get().and_then(WeakRaft::upgrade) {
                    raft.report_unreachable(member);
                }
            }),
        };
        Self {
            shared: Arc::new(Shared {
                runtime,
                tls,
                context: Arc::new(context),
                group,
                api: OnceLock::new(),
                state: Mutex::default(),
            }),
        }
    }

    /// What the group is started with.
    #[must_use]
    pub fn transport(&self) -> PeerTransport {
        PeerTransport { network: self.clone() }
    }

    /// Delivers to this group from now on. It does not keep it running.
    pub fn attach(&self, group: WeakRaft<ReplicatedState>) {
        let own_id = group.upgrade().map(|raft| raft.identity().member_id);
        let mut state = self.lock();
        state.own_id = own_id;
        if let Some(own_id) = own_id {
            state.links.remove(&own_id);
        }
        drop(state);
        // A network has one group, which is attached once.
        self.shared.group.set(group).ok();
    }

    /// Connects to others from now on, and shows them this.
    pub fn show(&self, tls: PeerTls) {
        self.shared.tls.send_replace(Some(tls));
    }

    /// What it shows, once it does.
    #[must_use]
    pub fn shown(&self) -> Option<PeerTls> {
        self.shared.tls.borrow().clone()
    }

    /// Has calls answered by this API that other members pass on.
    pub fn answer_with(&self, api: Arc<Api>) {
        // A controller has one API, which is made once.
        self.shared.api.set(api).ok();
    }

    pub(super) fn api(&self) -> Option<Arc<Api>> {
        self.shared.api.get().cloned()
    }

    /// Waits until another member refuses this one, since it was removed from the cluster.
    pub async fn removed(&self) {
        let mut removed = self.shared.context.removed.subscribe();
        // The sender lives as long as this.
        if removed.wait_for(|removed| *removed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether that member has a stream open to this one.
    #[must_use]
    pub fn hears(&self, member: u64) -> bool {
        self.lock().streams.contains_key(&member)
    }

    /// Whether this one and that member hear each other.
    #[must_use]
    pub fn is_in_touch(&self, member: u64) -> bool {
        let state = self.lock();
        state.streams.contains_key(&member) && state.links.get(&member).is_some_and(Link::is_open)
    }

    pub(super) fn group(&self) -> Option<berth_raft::Raft<ReplicatedState>> {
        self.shared.group.get().and_then(WeakRaft::upgrade)
    }

    /// A member has opened its stream to this one. Answers go to where it says that it is, for as long as what this returns lives.
    pub(super) fn heard(&self, member: u64, address: Option<&str>) -> Hearing {
        let mut state = self.lock();
        state.opened += 1;
        let number = state.opened;
        let address = address.map(str::to_owned);
        state
            .streams
            .entry(member)
            .or_default()
            .push(Stream { number, address });
        if state.links.contains_key(&member) || state.links.len() < MAX_LINKS {
            self.link(&mut state, member);
        }
        Hearing {
            network: self.clone(),
            member,
            number,
        }
    }

    /// Has the way to a member lead to where it is.
    fn link(&self, state: &mut State, member: u64) {
        if state.own_id == Some(member) {
            return;
        }
        let Some(address) = state.address_of(member) else {
            return;
        };
        match state.links.get(&member) {
            Some(link) => link.redirect(&address),
            None => {
                let context = Arc::clone(&self.shared.context);
                let link = Link::open(&self.shared.runtime, context, member, address);
                state.links.insert(member, link);
            }
        }
    }

    /// Closes the ways to those that are no members and say nothing.
    fn tidy(state: &mut State) {
        let State {
            links,
            members,
            streams,
            ..
        } = state;
        links.retain(|member, _| members.contains_key(member) || streams.contains_key(member));
    }

    /// Whole after every step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream from another member that is open.
pub(super) struct Hearing {
    network: PeerNetwork,
    member: u64,
    number: u64,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        if let Some(streams) = state.streams.get_mut(&self.member) {
            streams.retain(|stream| stream.number != self.number);
            if streams.is_empty() {
                state.streams.remove(&self.member);
            }
        }
        PeerNetwork::tidy(&mut state);
        if state.links.contains_key(&self.member) {
            self.network.link(&mut state, self.member);
        }
    }
}

impl Transport for PeerTransport {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        let state = self.network.lock();
        for message in messages {
            // Raft survives that those of which nothing is known hear nothing.
            if let Some(link) = state.links.get(&message.to) {
                link.queue.push(message);
            }
        }
    }

    fn members_changed(&mut self, membership: &Membership) {
        let records = membership.members.iter().map(|member| &member.record);
        let addresses = records.filter_map(|record| Some((record.id, record.details.get(ADDRESS)?.clone())));
        let mut state = self.network.lock();
        state.members = addresses.collect();
        let members: Vec<u64> = state.members.keys().copied().collect();
        for member in members {
            self.network.link(&mut state, member);
        }
        PeerNetwork::tidy(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn member_that_speaks_is_answered_where_it_says_that_it_is_and_is_in_touch_only_once_it_is_reached() {
        let network = PeerNetwork::new("here:1", tokio::runtime::Handle::current());
        network.lock().members.insert(7, "before:1".to_owned());
        let address = || network.lock().address_of(7);
        assert_eq!(address().as_deref(), Some("before:1"));
        let old = network.heard(7, Some("before:1"));
        let new = network.heard(7, Some("after:1"));
        assert_eq!(address().as_deref(), Some("after:1"), "the newest counts");
        assert!(
            network.hears(7) && !network.is_in_touch(7),
            "there is no connection to it"
        );
        drop(old);
        assert_eq!(address().as_deref(), Some("after:1"));
        drop(new);
        assert_eq!(address().as_deref(), Some("before:1"), "as the group knows it");
        assert!(!network.hears(7));
    }
}
