//! The ways to all other members, as the group knows them. Shell.
//!
//! Where members are is said by their records. Two kinds of members are in none: those that this one does not know yet, since it has
//! just joined, and those that were removed and do not know it. Both speak first, and say where they are reached.

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
    /// How many streams are open from each member, and from those that are none.
    streams: BTreeMap<u64, usize>,
    own_id: Option<u64>,
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

    pub(super) fn group(&self) -> Option<berth_raft::Raft<ReplicatedState>> {
        self.shared.group.get().and_then(WeakRaft::upgrade)
    }

    /// A member has opened its stream to this one. If nothing is known of it here, answers go to where it says that it is, for as
    /// long as what this returns lives.
    pub(super) fn heard(&self, member: u64, address: Option<&str>) -> Hearing {
        let mut state = self.lock();
        *state.streams.entry(member).or_default() += 1;
        let is_bounded = state.links.len() < MAX_LINKS;
        if let Some(address) = address
            && is_bounded
            && !state.members.contains_key(&member)
        {
            self.link(&mut state, member, address);
        }
        Hearing {
            network: self.clone(),
            member,
        }
    }

    fn link(&self, state: &mut State, member: u64, address: &str) {
        if state.own_id == Some(member) {
            return;
        }
        match state.links.get(&member) {
            Some(link) => link.redirect(address),
            None => {
                let context = Arc::clone(&self.shared.context);
                let link = Link::open(&self.shared.runtime, context, member, address.to_owned());
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
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        if let Some(streams) = state.streams.get_mut(&self.member) {
            *streams -= 1;
            if *streams == 0 {
                state.streams.remove(&self.member);
            }
        }
        PeerNetwork::tidy(&mut state);
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
        for (member, address) in state.members.clone() {
            self.network.link(&mut state, member, &address);
        }
        PeerNetwork::tidy(&mut state);
    }
}
