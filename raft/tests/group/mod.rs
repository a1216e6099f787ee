//! Groups of several members in one process, on storages in memory unless a test brings its own.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_raft::testing::Network;
use berth_raft::{Founding, MemberRecord, Raft, RaftOptions, Role, RunState, Status};
use berth_storage::{MemoryStorage, Storage};

use crate::toy::{self, Set, ToyMap};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A group whose members have the ids 1, 2, 3 and so on; the first is its founder.
pub(crate) struct Group {
    pub(crate) network: Network,
    pub(crate) members: BTreeMap<u64, Raft<ToyMap>>,
    pub(crate) stores: BTreeMap<u64, Arc<dyn Storage>>,
    pub(crate) options: RaftOptions,
}

pub(crate) fn record(id: u64) -> MemberRecord {
    MemberRecord {
        id,
        name: format!("member-{id}"),
        details: BTreeMap::from([("peer".to_owned(), format!("10.0.0.{id}:7300"))]),
    }
}

impl Group {
    /// A group of so many voters.
    pub(crate) async fn of(members: u64, options: RaftOptions) -> Self {
        Self::on((1..=members).map(|_| memory()).collect(), options).await
    }

    /// A group of voters on these storages.
    pub(crate) async fn on(stores: Vec<Arc<dyn Storage>>, options: RaftOptions) -> Self {
        let mut group = Self {
            network: Network::default(),
            members: BTreeMap::new(),
            stores: (1..).zip(stores).collect(),
            options,
        };
        group.start(1);
        group.read(1).await;
        let others: Vec<u64> = group.stores.keys().copied().filter(|id| *id != 1).collect();
        for id in others {
            group.join(id).await;
            group.members[&1].promote(id, DEADLINE).await.unwrap();
        }
        group
    }

    /// Starts a member on its storage, as the founder if it is the first and founds the group.
    pub(crate) fn start(&mut self, id: u64) {
        let founding = match self.members.values().next() {
            Some(other) => Founding::Join {
                cluster: other.identity().cluster,
            },
            None => Founding::default(),
        };
        let options = RaftOptions {
            member_id: Some(id),
            founding,
            ..self.options.clone()
        };
        let store = Arc::clone(&self.stores[&id]);
        let raft = Raft::start(store, ToyMap::default(), options, self.network.clone()).unwrap();
        self.network.connect(&raft);
        self.members.insert(id, raft);
    }

    /// Starts a member on its storage and adds it as a learner.
    pub(crate) async fn join(&mut self, id: u64) {
        self.stores.entry(id).or_insert_with(memory);
        self.start(id);
        let any = self.members.keys().copied().find(|other| *other != id).unwrap();
        self.members[&any].add_member(record(id)).await.unwrap();
    }

    /// Ends a member without a word, as a crash would; its storage stays.
    pub(crate) async fn kill(&mut self, id: u64, noticed: bool) {
        let raft = self.members.remove(&id).unwrap();
        self.network.disconnect(id, noticed);
        // Off the network it can hand over to nobody, and knows it: this only releases its storage.
        (1..=self.stores.len() as u64).for_each(|other| raft.report_unreachable(other));
        let mut status = raft.watch_status();
        drop(raft);
        wait(&mut status, Status::has_stopped).await;
    }

    pub(crate) fn raft(&self, id: u64) -> &Raft<ToyMap> {
        &self.members[&id]
    }

    /// The member that leads, once one does and the others know.
    pub(crate) async fn leader(&self) -> u64 {
        let started = tokio::time::Instant::now();
        loop {
            let statuses: Vec<Status> = self.members.values().map(Raft::status).collect();
            let leading: Vec<&Status> = statuses.iter().filter(|status| status.role == Role::Leader).collect();
            if let Some(leader) = leading.iter().max_by_key(|status| status.term) {
                let id = leader.member_id;
                let agree = statuses
                    .iter()
                    .filter(|status| status.leader == Some(id) && status.term == leader.term);
                if agree.count() > self.stores.len() / 2 {
                    return id;
                }
            }
            assert!(started.elapsed() < DEADLINE, "nobody leads: {statuses:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Any member that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        self.members.keys().copied().find(|id| *id != leader).unwrap()
    }

    pub(crate) async fn propose(&self, id: u64, number: usize) {
        self.members[&id].propose(Set::numbered(number)).await.unwrap();
    }

    /// The number of keys that a linearizable read on a member shows.
    pub(crate) async fn read(&self, id: u64) -> usize {
        let raft = &self.members[&id];
        match raft.read().await {
            Ok(read) => read.view.len(),
            Err(error) => {
                // Those who wait hear that a member has stopped before it is said why.
                drop(tokio::time::timeout(Duration::from_secs(1), raft.stopped()).await);
                panic!("member {id}: {error}: {:#?}", raft.status())
            }
        }
    }

    /// Waits until all members have applied what the furthest has, and checks that they have the same state.
    pub(crate) async fn assert_equal(&self) {
        let target = self.members.values().map(|raft| raft.status().applied).max().unwrap();
        for raft in self.members.values() {
            wait(&mut raft.watch_status(), |status| status.applied >= target).await;
        }
        let first = self.members.values().next().unwrap().view();
        for (id, raft) in &self.members {
            let view = raft.view();
            if view.index == first.index {
                assert!(view.view == first.view, "member {id} has another state");
            }
        }
    }

    pub(crate) async fn shutdown(self) {
        for raft in self.members.values() {
            self.network.disconnect(raft.identity().member_id, false);
        }
        for raft in self.members.into_values() {
            let run = tokio::time::timeout(DEADLINE, raft.shutdown()).await.unwrap();
            assert!(matches!(run, RunState::Stopped | RunState::Removed), "{run:?}");
        }
    }
}

pub(crate) fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::default())
}

/// Waits until a member stands so.
pub(crate) async fn wait(
    status: &mut tokio::sync::watch::Receiver<Status>,
    is_so: impl FnMut(&Status) -> bool,
) -> Status {
    let reached = tokio::time::timeout(DEADLINE, status.wait_for(is_so))
        .await
        .map(|reached| reached.unwrap().clone());
    if let Ok(reached) = reached {
        return reached;
    }
    panic!("not reached: {:?}", *status.borrow())
}

pub(crate) fn options() -> RaftOptions {
    toy::options()
}
