//! A network inside one process, for tests of groups: it loses, repeats and holds back messages as it is told. Shell.
//!
//! Owns who is connected to whom. Messages travel in their encoded form, as they would between processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_proto::v1::PeerMessage;
use prost::Message;

use super::MAX_PEER_MESSAGE_BYTES;
use super::engine::Draws;
use super::handle::{Raft, WeakRaft};
use super::membership::Membership;
use super::state_machine::StateMachine;
use super::transport::Transport;

/// What the network does to messages, each in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Messages that are lost.
    pub lost: u64,
    /// Messages that arrive twice.
    pub repeated: u64,
    /// Messages that arrive behind those sent after them.
    pub late: u64,
}

/// The network; clones are the same one.
#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

struct State {
    members: BTreeMap<u64, Arc<dyn Connection>>,
    cut: BTreeSet<(u64, u64)>,
    faults: Faults,
    late: Vec<PeerMessage>,
    draws: Draws,
}

impl Default for State {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            cut: BTreeSet::new(),
            faults: Faults::default(),
            late: Vec::new(),
            draws: Draws::new(1),
        }
    }
}

/// A member as the network sees it.
trait Connection: Send + Sync {
    fn deliver(&self, message: PeerMessage);
    fn lost_connection_to(&self, member: u64);
}

/// Keeps no member running.
impl<M: StateMachine> Connection for WeakRaft<M> {
    fn deliver(&self, message: PeerMessage) {
        if let Some(Err(error)) = self.upgrade().map(|raft| raft.receive(message)) {
            tracing::debug!(%error, "message not taken in");
        }
    }

    fn lost_connection_to(&self, member: u64) {
        if let Some(raft) = self.upgrade() {
            raft.report_unreachable(member);
        }
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Network")
            .field("faults", &self.lock().faults)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Connects a running member, which was started with a clone of this network as its transport.
    pub fn connect<M: StateMachine>(&self, raft: &Raft<M>) {
        self.lock()
            .members
            .insert(raft.identity().member_id, Arc::new(raft.downgrade()));
    }

    /// Takes a member off the network. With `noticed`, its connections break, as when its process dies; otherwise
    /// it just falls silent, as when its machine does.
    pub fn disconnect(&self, member: u64, noticed: bool) {
        let mut state = self.lock();
        state.members.remove(&member);
        let others: Vec<_> = state.members.values().cloned().collect();
        drop(state);
        if noticed {
            others.iter().for_each(|other| other.lost_connection_to(member));
        }
    }

    /// From now on, messages are treated like this.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.lock();
        state.faults = faults;
        state.late.clear();
    }

    /// Messages from one member to another are lost until [`Network::heal`].
    pub fn cut(&self, from: u64, to: u64) {
        self.lock().cut.insert((from, to));
    }

    /// Messages between one member and all others are lost until [`Network::heal`].
    pub fn isolate(&self, member: u64) {
        let mut state = self.lock();
        let others: Vec<u64> = state.members.keys().copied().filter(|other| *other != member).collect();
        for other in others {
            state.cut.extend([(member, other), (other, member)]);
        }
    }

    /// No messages are lost any more for where they come from or go to.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What arrives now, of what is sent now and what was held back.
    fn arriving(&mut self, messages: Vec<PeerMessage>) -> Vec<(Arc<dyn Connection>, PeerMessage)> {
        let mut arriving = Vec::new();
        let held_back = std::mem::take(&mut self.late);
        for message in messages {
            if self.percent(self.faults.lost) {
                continue;
            }
            if self.percent(self.faults.late) {
                self.late.push(message);
                continue;
            }
            if self.percent(self.faults.repeated) {
                arriving.push(message.clone());
            }
            arriving.push(message);
        }
        arriving.extend(held_back);
        let connected = arriving
            .into_iter()
            .filter(|message| !self.cut.contains(&(message.from, message.to)))
            .filter(|message| self.members.contains_key(&message.from));
        connected
            .filter_map(|message| Some((Arc::clone(self.members.get(&message.to)?), message)))
            .collect()
    }

    fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.draws.below(100) < percent
    }
}

impl Transport for Network {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        let arriving = self.lock().arriving(messages);
        for (member, message) in arriving {
            let bytes = message.encode_to_vec();
            assert!(
                bytes.len() <= MAX_PEER_MESSAGE_BYTES,
                "a message of {} bytes",
                bytes.len()
            );
            if let Ok(message) = PeerMessage::decode(bytes.as_slice()) {
                member.deliver(message);
            }
        }
    }

    fn members_changed(&mut self, _membership: &Membership) {}
}
