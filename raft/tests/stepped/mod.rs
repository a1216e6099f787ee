//! A few engines stepped by hand: messages arrive at once or are lost, and time passes when the test says so.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_proto::record::{self, RecordKind};
use berth_proto::v1::PeerMessage;
use berth_raft::engine::{Answer, Collected, Engine, Job, Ticket};
use berth_raft::{
    Applied, Founding, MemberRecord, MembershipChange, MembershipError, ProposeError, Published, RaftOptions, Role,
    StateMachine,
};
use berth_storage::{MemoryStorage, Storage};

use crate::toy::{Set, ToyMap, options};

/// Ticks within which anything here has an answer.
const PATIENCE: u64 = 300;

/// Engines of one group, with the ids 1, 2, 3 and so on.
pub(crate) struct Stepped {
    pub(crate) engines: BTreeMap<u64, Engine<ToyMap>>,
    /// Messages on this way are lost: from, to.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) answers: BTreeMap<Ticket, Answer<ToyMap>>,
    /// Jobs wait until the test has them done, as where writing a snapshot takes long.
    pub(crate) holds_jobs: bool,
    jobs: Vec<(u64, Job<ToyMap>)>,
    network: VecDeque<PeerMessage>,
    next_ticket: Ticket,
    pub(crate) ticks: u64,
}

impl Stepped {
    /// A group of so many voters, led by member 1, which had the time to hear from all of them.
    pub(crate) fn of(members: u64) -> Self {
        let mut group = Self::empty();
        group.open(1, Founding::default(), Arc::new(MemoryStorage::default()));
        for id in 2..=members {
            group.open_joining(id);
            group.change_until_made(1, &add(id));
            group.change_until_made(1, &promote(id));
        }
        group.pass(100);
        group
    }

    /// Member 1 alone, on the storage that it had, its jobs held.
    pub(crate) fn alone_on(store: Arc<dyn Storage>) -> Self {
        let mut group = Self::empty();
        group.holds_jobs = true;
        group.open(1, Founding::default(), store);
        group
    }

    fn empty() -> Self {
        Self {
            engines: BTreeMap::new(),
            cut: BTreeSet::new(),
            answers: BTreeMap::new(),
            holds_jobs: false,
            jobs: Vec::new(),
            network: VecDeque::new(),
            next_ticket: 0,
            ticks: 0,
        }
    }

    /// A member on an empty storage that waits to be added to the group of member 1.
    pub(crate) fn open_joining(&mut self, id: u64) {
        let cluster = self.engines[&1].identity().cluster;
        self.open(id, Founding::Join { cluster }, Arc::new(MemoryStorage::default()));
    }

    fn open(&mut self, id: u64, founding: Founding, store: Arc<dyn Storage>) {
        let options = RaftOptions {
            member_id: Some(id),
            founding,
            ..options()
        };
        let engine = Engine::open(store, ToyMap::default(), options, id).unwrap();
        self.engines.insert(id, engine);
        self.step(id, |_, _| {});
    }

    /// Feeds a member, lets it work, and takes in what comes of it.
    pub(crate) fn step(&mut self, id: u64, feed: impl FnOnce(&mut Engine<ToyMap>, &mut Collected<ToyMap>)) {
        let engine = self.engines.get_mut(&id).unwrap();
        let mut out = Collected::default();
        feed(engine, &mut out);
        engine.work(&mut out).unwrap();
        if self.holds_jobs {
            self.jobs.extend(out.job.take().map(|job| (id, job)));
        }
        while let Some(done) = out.job.take().and_then(|job| job.run(&AtomicBool::new(false)).unwrap()) {
            engine.job_done(done).unwrap();
            engine.work(&mut out).unwrap();
        }
        self.network.extend(out.messages);
        self.answers.extend(out.answers);
    }

    /// Does the jobs that were held, and holds no more.
    pub(crate) fn do_jobs(&mut self) {
        self.holds_jobs = false;
        for (id, job) in std::mem::take(&mut self.jobs) {
            let done = job.run(&AtomicBool::new(false)).unwrap().unwrap();
            self.step(id, |engine, _| engine.job_done(done).unwrap());
        }
        self.deliver();
    }

    /// Lets all messages arrive, and those that answer them.
    pub(crate) fn deliver(&mut self) {
        while self.deliver_one() {}
    }

    /// Lets the next message arrive, unless it is lost; whether there was one.
    pub(crate) fn deliver_one(&mut self) -> bool {
        let Some(message) = self.network.pop_front() else {
            return false;
        };
        let (from, to) = (message.from, message.to);
        if self.engines.contains_key(&to) && !self.cut.contains(&(from, to)) {
            self.step(to, |engine, out| engine.receive(message, out).unwrap());
        }
        true
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.ticks += 1;
            for id in self.engines.keys().copied().collect::<Vec<u64>>() {
                self.step(id, Engine::tick);
            }
            self.deliver();
        }
    }

    /// Lets time pass until a member leads, and not one message longer.
    pub(crate) fn pass_until_leads(&mut self, member: u64) {
        self.pass_until(|group| group.engines[&member].status().role == Role::Leader);
    }

    /// The same, for any member but one.
    pub(crate) fn pass_until_leads_other_than(&mut self, member: u64) {
        let leads = |engine: &Engine<ToyMap>| engine.status().role == Role::Leader;
        self.pass_until(|group| group.engines.iter().any(|(id, engine)| *id != member && leads(engine)));
    }

    fn pass_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            for id in self.engines.keys().copied().collect::<Vec<u64>>() {
                self.step(id, Engine::tick);
            }
            loop {
                if is_so(self) {
                    return;
                }
                if !self.deliver_one() {
                    break;
                }
            }
        }
        panic!("not so within {PATIENCE} ticks");
    }

    /// Loses what two members say to each other from now on.
    pub(crate) fn part(&mut self, one: u64, other: u64) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Loses what a member says and is told from now on.
    pub(crate) fn isolate(&mut self, id: u64) {
        for other in self.engines.keys().copied().collect::<Vec<u64>>() {
            self.part(id, other);
        }
    }

    /// Proposes on a member; the answer will be found under the ticket.
    pub(crate) fn propose(&mut self, id: u64, number: usize) -> Ticket {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let data = record::encode(RecordKind::Command, &Set::numbered(number)).unwrap();
        self.step(id, |engine, out| engine.propose(ticket, data, out));
        self.deliver();
        ticket
    }

    /// Proposes on a member what is for the log of one term only; the answer will be found under the ticket.
    pub(crate) fn propose_in_term(&mut self, id: u64, number: usize, term: u64) -> Ticket {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let data = record::encode(RecordKind::Command, &Set::numbered(number)).unwrap();
        self.step(id, |engine, out| engine.propose_in_term(ticket, data, term, out));
        self.deliver();
        ticket
    }

    /// The answer to a proposal, once it is there.
    pub(crate) fn proposed(&mut self, ticket: Ticket) -> Result<Applied<usize>, ProposeError> {
        match self.answer(ticket) {
            Answer::Proposed(answer) => answer,
            _ => panic!("the ticket is not that of a proposal"),
        }
    }

    /// What a linearizable read on a member shows.
    pub(crate) fn read(&mut self, id: u64) -> Arc<Published<<ToyMap as StateMachine>::View>> {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.step(id, |engine, _| engine.read(ticket));
        self.deliver();
        match self.answer(ticket) {
            Answer::Read(answer) => answer.unwrap(),
            _ => panic!("the ticket is not that of a read"),
        }
    }

    /// Whether a member has applied a proposal.
    pub(crate) fn has(&self, id: u64, number: usize) -> bool {
        self.engines[&id]
            .published()
            .view
            .contains_key(&Set::numbered(number).key)
    }

    pub(crate) fn term(&self, id: u64) -> u64 {
        self.engines[&id].status().term
    }

    /// Asks a member for a change of the membership; the answer will be found under the ticket.
    pub(crate) fn change(&mut self, id: u64, change: MembershipChange) -> Ticket {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.step(id, |engine, out| engine.change_membership(ticket, change, out));
        self.deliver();
        ticket
    }

    /// The answer to a question, once it is there.
    pub(crate) fn answer(&mut self, ticket: Ticket) -> Answer<ToyMap> {
        for _ in 0..PATIENCE {
            if let Some(answer) = self.answers.remove(&ticket) {
                return answer;
            }
            self.pass(1);
        }
        panic!("no answer within {PATIENCE} ticks");
    }

    /// The answer to a change of the membership, once it is there.
    pub(crate) fn changed(&mut self, ticket: Ticket) -> Result<u64, MembershipError> {
        match self.answer(ticket) {
            Answer::Changed(answer) => answer,
            _ => panic!("the ticket is not that of a change"),
        }
    }

    pub(crate) fn change_until_made(&mut self, id: u64, change: &MembershipChange) {
        for _ in 0..PATIENCE {
            let ticket = self.change(id, change.clone());
            match self.changed(ticket) {
                Ok(_) => return,
                Err(MembershipError::LagsBehind { .. } | MembershipError::ChangeUnderWay) => self.pass(1),
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
        panic!("not made within {PATIENCE} attempts: {change:?}");
    }

    /// Hands leadership to a member.
    pub(crate) fn lead(&mut self, to: u64) {
        let from = self.leader();
        self.step(from, |engine, _| engine.transfer_leadership(to).unwrap());
        self.deliver();
        assert_eq!(self.leader(), to);
    }

    /// The member that leads, in the newest term in which one does.
    pub(crate) fn leader(&self) -> u64 {
        let statuses = self.engines.values().map(Engine::status);
        let leading = statuses.filter(|status| status.role == Role::Leader);
        leading.max_by_key(|status| status.term).unwrap().member_id
    }
}

pub(crate) fn add(id: u64) -> MembershipChange {
    MembershipChange::Add(MemberRecord {
        id,
        ..MemberRecord::default()
    })
}

pub(crate) fn promote(id: u64) -> MembershipChange {
    MembershipChange::Promote {
        member: id,
        forced: false,
    }
}
