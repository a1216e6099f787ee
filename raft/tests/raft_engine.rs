//! Engines stepped in one thread from one seed, over a network that loses, repeats and reorders, with crashes in the
//! middle of writing, and members that come and go. The same seed gives the same run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use berth_proto::record::{self, RecordKind};
use berth_proto::v1::PeerMessage;
use berth_raft::engine::{Answer, Collected, Engine, Ticket};
use berth_raft::{
    Founding, Identity, MemberRecord, MemberRole, MembershipChange, ProposeError, RaftFault, RaftOptions, Role,
    RunState,
};
use berth_storage::{Batch, MemoryStorage, Scan, Storage, StorageError};
use prost::Message;
use toy::{Set, ToyMap, options};

/// Rounds between two ticks of a member.
const ROUNDS_PER_TICK: u64 = 5;

/// Rounds with faults, and rounds afterwards in which everything must come to rest.
const FAULTY_ROUNDS: u64 = 6_000;
const CALM_ROUNDS: u64 = 3_000;

/// A storage that fails at a commit that was chosen before, as a power cut would: that commit does not happen.
struct Fused {
    inner: Arc<MemoryStorage>,
    commits_left: AtomicU64,
}

impl Storage for Fused {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.get(key)
    }

    fn scan(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        self.inner.scan(range)
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        if self.commits_left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(StorageError::Io {
                action: "sync",
                path: "(cut)".into(),
                source: std::io::Error::other("power cut"),
            });
        }
        self.inner.commit(batch)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(u64::MAX)
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

struct Node {
    store: Arc<MemoryStorage>,
    fuse: Arc<Fused>,
    engine: Option<Engine<ToyMap>>,
    founding: Founding,
}

/// What was asked for, and what has to hold once it is answered.
enum Asked {
    /// A key, and the only term in which it may be set.
    Proposal(String, Option<u64>),
    /// Keys acknowledged when the read was asked for.
    Read(BTreeSet<String>),
    Change,
}

/// What a member is fed with.
type Feed<'a> = Box<dyn FnOnce(&mut Engine<ToyMap>, &mut Collected<ToyMap>) -> Result<(), RaftFault> + 'a>;

struct World {
    random: Random,
    now: u64,
    boots: u64,
    nodes: BTreeMap<u64, Node>,
    network: Vec<(u64, PeerMessage)>,
    isolated: BTreeSet<u64>,
    /// Members that stand still until a round, as a process that is stopped.
    paused: BTreeMap<u64, u64>,
    asked: BTreeMap<Ticket, (u64, Asked)>,
    next_ticket: Ticket,
    next_member: u64,
    acknowledged: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Digest of the state at each index, wherever it was seen first.
    states: BTreeMap<u64, u64>,
    /// Index at which the state of each member was compared last.
    checked: BTreeMap<u64, u64>,
    counts: BTreeMap<&'static str, u64>,
    trace: DefaultHasher,
}

fn member_options(id: u64, founding: Founding) -> RaftOptions {
    RaftOptions {
        member_id: Some(id),
        founding,
        snapshot_after_entries: 30,
        retained_entries: 10,
        ..options()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: 0,
            boots: seed << 20,
            nodes: BTreeMap::new(),
            network: Vec::new(),
            isolated: BTreeSet::new(),
            paused: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_ticket: 0,
            next_member: 1,
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            states: BTreeMap::new(),
            checked: BTreeMap::new(),
            counts: BTreeMap::new(),
            trace: DefaultHasher::new(),
        };
        world.add_node(Founding::default());
        world
    }

    fn add_node(&mut self, founding: Founding) -> u64 {
        let id = self.next_member;
        self.next_member += 1;
        let store = Arc::new(MemoryStorage::default());
        let fuse = Arc::new(Fused {
            inner: Arc::clone(&store),
            commits_left: AtomicU64::new(u64::MAX),
        });
        let node = Node {
            store,
            fuse,
            engine: None,
            founding,
        };
        self.nodes.insert(id, node);
        self.boot(id);
        id
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn boot(&mut self, id: u64) {
        self.boots += 1;
        let node = self.nodes.get_mut(&id).unwrap();
        node.fuse = Arc::new(Fused {
            inner: Arc::clone(&node.store),
            commits_left: AtomicU64::new(u64::MAX),
        });
        let store = Arc::clone(&node.fuse) as Arc<dyn Storage>;
        let options = member_options(id, node.founding.clone());
        node.engine = Some(Engine::open(store, ToyMap::default(), options, self.boots).unwrap());
        self.step(id, |_, _| Ok(()));
    }

    fn crash(&mut self, id: u64) {
        self.nodes.get_mut(&id).unwrap().engine = None;
        // Nobody is left who could hear the answers.
        self.asked.retain(|_, (member, _)| *member != id);
        self.count("crashes");
        for (other, node) in &mut self.nodes {
            if let Some(engine) = node.engine.as_mut().filter(|_| *other != id) {
                engine.unreachable(id);
            }
        }
    }

    /// Feeds a member, lets it work, and takes in what comes of it.
    fn step(
        &mut self,
        id: u64,
        feed: impl FnOnce(&mut Engine<ToyMap>, &mut Collected<ToyMap>) -> Result<(), RaftFault>,
    ) {
        self.step_boxed(id, Box::new(feed));
    }

    fn step_boxed(&mut self, id: u64, feed: Feed<'_>) {
        let Some(engine) = self.nodes.get_mut(&id).and_then(|node| node.engine.as_mut()) else {
            return;
        };
        let mut out = Collected::default();
        let worked = feed(engine, &mut out).and_then(|()| engine.work(&mut out));
        let status = engine.status();
        let (view, digest) = (engine.published(), engine.replicated_digest());
        // What went out before a power cut is out.
        self.take_in(id, &mut out);
        if worked.is_err() {
            self.crash(id);
            return;
        }
        (id, view.index, status.term, digest).hash(&mut self.trace);
        if self.checked.insert(id, view.index) != Some(view.index) {
            let mut hasher = DefaultHasher::new();
            (digest, format!("{:?}", view.view)).hash(&mut hasher);
            let state = hasher.finish();
            let first = *self.states.entry(view.index).or_insert(state);
            assert_eq!(first, state, "member {id} has another state at index {}", view.index);
        }
        if status.run == RunState::Removed {
            self.crash(id);
            self.nodes.remove(&id);
            self.count("removals noticed");
            return;
        }
        if let Some(job) = out.job.take() {
            match job.run(&AtomicBool::new(false)) {
                Ok(done) => self.step_boxed(id, Box::new(|engine, _| engine.job_done(done.unwrap()))),
                Err(_) => self.crash(id),
            }
        }
    }

    fn take_in(&mut self, id: u64, out: &mut Collected<ToyMap>) {
        for message in std::mem::take(&mut out.messages) {
            message.encode_to_vec().hash(&mut self.trace);
            if self.random.chance(20) {
                continue;
            }
            let delay = 1
                + self.random.below(3)
                + if self.random.chance(50) {
                    self.random.below(40)
                } else {
                    0
                };
            if self.random.chance(20) {
                self.network.push((self.now + delay + 2, message.clone()));
            }
            self.network.push((self.now + delay, message));
        }
        for (ticket, answer) in out.answers.drain(..) {
            let Some((member, asked)) = self.asked.remove(&ticket) else {
                continue;
            };
            assert_eq!(member, id);
            match (asked, answer) {
                (Asked::Proposal(key, term), Answer::Proposed(Ok(applied))) => {
                    let foreign = term.filter(|term| *term != applied.term);
                    assert_eq!(foreign, None, "{key} was set in term {}", applied.term);
                    self.acknowledged.insert(key);
                    *self.counts.entry("acknowledged").or_default() += 1;
                }
                (Asked::Proposal(key, _), Answer::Proposed(Err(ProposeError::Overloaded))) => {
                    self.refused.insert(key);
                }
                (Asked::Proposal(key, term), Answer::Proposed(Err(ProposeError::TermPassed))) => {
                    assert!(term.is_some(), "{key} was for any term");
                    self.refused.insert(key);
                    *self.counts.entry("terms passed").or_default() += 1;
                }
                (Asked::Read(before), Answer::Read(Ok(view))) => {
                    let missing: Vec<_> = before.iter().filter(|key| !view.view.contains_key(*key)).collect();
                    assert!(missing.is_empty(), "a read on {id} lacks {missing:?}");
                    *self.counts.entry("reads").or_default() += 1;
                }
                (Asked::Change, Answer::Changed(Ok(_))) => *self.counts.entry("changes").or_default() += 1,
                _ => {}
            }
        }
    }

    /// Any member that runs and has heard from the group.
    fn running(&mut self) -> Option<u64> {
        let running: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.engine.as_ref().is_some_and(|engine| engine.membership().index > 0))
            .map(|(id, _)| *id)
            .filter(|id| !self.paused.contains_key(id))
            .collect();
        let chosen = self.random.below(running.len().max(1) as u64);
        running.into_iter().nth(usize::try_from(chosen).unwrap())
    }

    fn ticket(&mut self, member: u64, asked: Asked) -> Ticket {
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket, (member, asked));
        self.next_ticket
    }

    fn ask(&mut self) {
        let Some(id) = self.running() else { return };
        if self.random.chance(300) {
            let before = self.acknowledged.clone();
            let ticket = self.ticket(id, Asked::Read(before));
            self.step(id, |engine, _| {
                engine.read(ticket);
                Ok(())
            });
        } else {
            let key = format!("count-{}", self.next_ticket);
            let set = Set {
                key: key.clone(),
                value: "x".to_owned(),
            };
            let status = self.nodes[&id].engine.as_ref().unwrap().status();
            let bound = self.random.chance(500) && status.role == Role::Leader;
            let term = bound.then_some(status.term);
            let ticket = self.ticket(id, Asked::Proposal(key, term));
            let data = record::encode(RecordKind::Command, &set).unwrap();
            self.step(id, |engine, out| {
                match term {
                    Some(term) => engine.propose_in_term(ticket, data, term, out),
                    None => engine.propose(ticket, data, out),
                }
                Ok(())
            });
        }
    }

    fn change_members(&mut self) {
        let Some(id) = self.running() else { return };
        let engine = self.nodes[&id].engine.as_ref().unwrap();
        let (Identity { cluster, .. }, members) = (engine.identity(), engine.membership().members);
        let learner = members
            .iter()
            .find(|member| member.role == MemberRole::Learner)
            .map(|member| member.record.id);
        let change = match learner {
            Some(member) => MembershipChange::Promote { member, forced: false },
            None if members.len() < 3 || (members.len() < 5 && self.random.chance(500)) => {
                // One whose addition was not agreed on waits still.
                let waits = |node: &Node| {
                    node.engine
                        .as_ref()
                        .is_some_and(|engine| engine.membership().index == 0)
                };
                let waiting = self.nodes.iter().find(|(_, node)| waits(node)).map(|(id, _)| *id);
                let member = waiting.unwrap_or_else(|| self.add_node(Founding::Join { cluster }));
                MembershipChange::Add(MemberRecord {
                    id: member,
                    ..MemberRecord::default()
                })
            }
            None => {
                let chosen = usize::try_from(self.random.below(members.len() as u64)).unwrap();
                MembershipChange::Remove {
                    member: members[chosen].record.id,
                    forced: false,
                }
            }
        };
        let ticket = self.ticket(id, Asked::Change);
        self.step(id, |engine, out| {
            engine.change_membership(ticket, change, out);
            Ok(())
        });
    }

    fn round(&mut self, faults: bool) {
        self.now += 1;
        let now = self.now;
        let (before, woken) = (self.paused.len(), |until: &u64| *until > now);
        self.paused.retain(|_, until| woken(until));
        if self.paused.len() < before {
            // What a member is asked first when it runs again it must not answer from what it knew.
            (0..8).for_each(|_| self.ask());
        }
        let ids: Vec<u64> = self
            .nodes
            .keys()
            .copied()
            .filter(|id| !self.paused.contains_key(id))
            .collect();
        for id in ids {
            if now % ROUNDS_PER_TICK == id % ROUNDS_PER_TICK {
                self.step(id, |engine, out| {
                    engine.tick(out);
                    Ok(())
                });
            }
        }
        let mut due: BTreeMap<u64, Vec<PeerMessage>> = BTreeMap::new();
        let paused = &self.paused;
        let arrives = |(at, message): &mut (u64, PeerMessage)| *at <= now && !paused.contains_key(&message.to);
        for (_, message) in self.network.extract_if(.., arrives) {
            if !self.isolated.contains(&message.from) && !self.isolated.contains(&message.to) {
                due.entry(message.to).or_default().push(message);
            }
        }
        for (id, messages) in due {
            self.step(id, |engine, out| {
                messages
                    .into_iter()
                    .try_for_each(|message| engine.receive(message, out))
            });
        }
        if self.random.chance(300) {
            self.ask();
        }
        if faults {
            self.fault();
        }
    }

    fn fault(&mut self) {
        if self.random.chance(5)
            && let Some(id) = self.running()
        {
            let commits = self.random.below(6);
            self.nodes[&id].fuse.commits_left.store(commits, Ordering::SeqCst);
        }
        if self.random.chance(15) {
            let down: Vec<u64> = self
                .nodes
                .iter()
                .filter(|(_, node)| node.engine.is_none())
                .map(|(id, _)| *id)
                .collect();
            if let Some(id) = down.first() {
                self.boot(*id);
            }
        }
        if self.random.chance(3) {
            self.isolated.clear();
            if self.random.chance(500) {
                let chosen = self.running();
                self.isolated.extend(chosen);
            }
        }
        if self.random.chance(4)
            && let Some(id) = self.running()
        {
            let until = self.now + 50 + self.random.below(300);
            self.paused.insert(id, until);
        }
        if self.random.chance(8) {
            self.change_members();
        }
        if self.random.chance(3)
            && let (Some(id), Some(to)) = (self.running(), self.running())
        {
            self.step(id, |engine, _| {
                engine.transfer_leadership(to).ok();
                Ok(())
            });
        }
    }

    fn run(mut self) -> (BTreeMap<&'static str, u64>, u64) {
        let voters = |world: &Self| {
            let founder = world.nodes[&1].engine.as_ref().unwrap();
            let members = founder.membership().members;
            members.iter().filter(|member| member.role == MemberRole::Voter).count()
        };
        while voters(&self) < 3 {
            assert!(self.now < CALM_ROUNDS, "three members find together");
            self.round(false);
            if self.now.is_multiple_of(20) {
                self.change_members();
            }
        }
        (0..FAULTY_ROUNDS).for_each(|_| self.round(true));
        self.isolated.clear();
        self.paused.clear();
        let down: Vec<u64> = self.nodes.keys().copied().collect();
        for id in down {
            self.nodes[&id].fuse.commits_left.store(u64::MAX, Ordering::SeqCst);
            if self.nodes[&id].engine.is_none() {
                self.boot(id);
            }
        }
        let before = self.acknowledged.len();
        (0..CALM_ROUNDS).for_each(|_| self.round(false));
        let standing = || {
            let engines = self
                .nodes
                .iter()
                .filter_map(|(id, node)| Some((id, node.engine.as_ref()?)));
            engines
                .map(|(id, engine)| format!("{id}: {:?} {:?}\n", engine.status(), engine.membership()))
                .collect::<String>()
        };
        assert!(
            self.acknowledged.len() > before + 100,
            "the group does not work again: {:?}\n{}",
            self.counts,
            standing()
        );
        let furthest = self.nodes.values().filter_map(|node| node.engine.as_ref());
        let last = furthest
            .max_by_key(|engine| engine.status().applied)
            .unwrap()
            .published();
        for key in &self.acknowledged {
            let applied = last.view.get(key).map_or(0, |value| value.len());
            assert_eq!(applied, 1, "{key} was acknowledged and is applied {applied} times");
        }
        let wrong = last.view.iter().find(|(_, value)| value.len() > 1);
        assert!(wrong.is_none(), "applied more than once: {wrong:?}");
        let refused = self.refused.iter().find(|key| last.view.contains_key(*key));
        assert!(refused.is_none(), "refused, and applied: {refused:?}");
        (self.counts, self.trace.finish())
    }
}

/// `FIRST..END` in it chooses other seeds than those that always run.
const SEEDS_VARIABLE: &str = "BERTH_ENGINE_SEEDS";

/// The seeds of a run.
fn seeds() -> Range<u64> {
    let chosen = std::env::var(SEEDS_VARIABLE).ok();
    let parsed = chosen.as_deref().and_then(|text| text.split_once(".."));
    parsed.map_or(1..7, |(first, end)| first.parse().unwrap()..end.parse().unwrap())
}

#[test]
fn engines_under_faults_lose_nothing_acknowledged_and_agree() {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| World::new(seed).run());
        let (counts, _) = result.unwrap_or_else(|panic| {
            eprintln!("seed {seed}: run it alone with {SEEDS_VARIABLE}={seed}..{}", seed + 1);
            std::panic::resume_unwind(panic)
        });
        for (what, count) in counts {
            *totals.entry(what).or_default() += count;
        }
    }
    if std::env::var_os(SEEDS_VARIABLE).is_some() {
        // A few seeds need not show everything.
        return;
    }
    for what in [
        "acknowledged",
        "reads",
        "crashes",
        "changes",
        "removals noticed",
        "terms passed",
    ] {
        assert!(totals.get(what).is_some_and(|count| *count > 10), "{what}: {totals:?}");
    }
}

#[test]
fn engines_with_the_same_seed_do_the_same() {
    assert_eq!(World::new(77).run(), World::new(77).run());
}
