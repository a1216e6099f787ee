//! A controller: the real engine of the Raft group over a simulated disk, with models of the shells around it. Shell.
//!
//! Owns one step: something comes in, the engine works, and everything that follows inside the controller follows at
//! once. What leaves it is in [`Effects`].

mod leader;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_core::ids::IdSource;
use berth_core::model::{TaskId, Timestamp};
use berth_core::reconcile::StandaloneRequest;
use berth_core::state::Command;
use berth_proto::v1::PeerMessage;
use berth_raft::engine::{Answer, Engine, Job, Outputs, Ticket};
use berth_raft::{
    Applied, Founding, Identity, Membership, MembershipChange, ProposeError, Published, RaftFault, RaftOptions, Role,
    RunState, Status, command_record,
};

use crate::bug::{Bug, Bugs};
use crate::conversation::{AgentNumber, SessionId, ToAgent, ToController};
use crate::disk::Disk;
use crate::machine::{Entry, Machine, Outcome, Tape, View};
use leader::LeaderLoop;
use sessions::Sessions;

/// Entries after which a snapshot is taken: so few that a run sees many.
const SNAPSHOT_AFTER_ENTRIES: u64 = 60;

/// Time after which the bug [`Bug::RetryAsNew`] strikes.
const RETRY_AS_NEW_MS: u64 = 500;

/// Entries kept for members that lag.
const RETAINED_ENTRIES: u64 = 20;

/// A state with its place in the log.
pub(crate) type Shown = Arc<Published<View>>;

/// The time of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since the simulation began: what a monotonic clock shows.
    pub(crate) now_ms: u64,
    /// What the clock on the wall shows, which may be wrong.
    pub(crate) clock: Timestamp,
}

/// What comes in.
#[derive(Debug)]
pub(crate) enum Input {
    Tick,
    Peer(PeerMessage),
    /// The connection to a member broke.
    Unreachable(u64),
    FromAgent(SessionId, AgentNumber, ToController),
    /// The connection of a session broke.
    SessionBroke(SessionId),
    Ask(Ask),
    /// A request to place tasks, as an operation of a client.
    RunTasks(u64, StandaloneRequest),
    TransferLeadership(u64),
    ChangeMembership(MembershipChange),
}

/// What a part of the controller wants of the group.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few exist at a time, and none is kept")]
pub(crate) enum Ask {
    Propose {
        command: Command,
        /// The only term in which it may be proposed.
        term: Option<u64>,
        by: Asker,
    },
    Read(Asker),
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// An operation of a client.
    Client(u64),
    /// The leader's loop, which waits until it may begin in a term.
    TakeOver(u64),
    /// A chain of decisions of the leader's loop.
    Chain(u64),
    /// A session that begins.
    Opening(SessionId, AgentNumber),
    /// A session whose agent has reported.
    Reports(SessionId, u64),
    /// The end of a session of an agent.
    Leaving(AgentNumber),
}

/// The answer to a client.
#[derive(Debug)]
pub(crate) enum Reply {
    Applied(Applied<Outcome>),
    /// Nothing came of it.
    Void,
    /// It is not known what came of it.
    Unknown,
    Read(Shown),
    Ran(Vec<TaskId>),
    /// It is written down here, which is too early to say so.
    Written,
}

/// What leaves a controller.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) peers: Vec<PeerMessage>,
    pub(crate) to_agents: Vec<(SessionId, ToAgent)>,
    /// Sessions that it has ended.
    pub(crate) ended: Vec<SessionId>,
    /// Answers to operations of clients.
    pub(crate) replies: Vec<(u64, Reply)>,
    /// What it applied, in order.
    pub(crate) applied: Vec<Entry>,
    /// The states that it showed.
    pub(crate) shown: Vec<Shown>,
    /// What it decided as the leader of the first term is in the log of the second.
    pub(crate) misplaced: Option<(u64, u64)>,
    /// Its disk failed, so it has stopped.
    pub(crate) stopped: bool,
    /// It was removed from the group, and nobody needs it any more.
    pub(crate) removed: bool,
}

/// A controller that runs.
pub(crate) struct Controller {
    engine: Engine<Machine>,
    tape: Tape,
    outlet: Outlet,
    shown: Shown,
    leader: LeaderLoop,
    sessions: Sessions,
    /// Who waits for an answer, and the only term in whose log it may be.
    waiting: BTreeMap<Ticket, (Asker, Option<u64>)>,
    next_ticket: Ticket,
    ids: IdSource,
    bugs: Bugs,
    /// What clients asked for and is not answered, and when it is proposed again.
    unanswered: Vec<(u64, u64, Command)>,
}

impl Controller {
    /// Starts it on its disk. No two starts of any controller may have the same seed.
    pub(crate) fn start(
        disk: &Arc<Disk>,
        id: u64,
        founding: Founding,
        seed: u64,
        bugs: Bugs,
    ) -> Result<Self, RaftFault> {
        let options = RaftOptions {
            member_id: Some(id),
            founding,
            snapshot_after_entries: SNAPSHOT_AFTER_ENTRIES,
            retained_entries: RETAINED_ENTRIES,
            required_free_bytes: 0,
            on_fault: |_| {},
            ..RaftOptions::default()
        };
        let tape = Tape::default();
        let store = Arc::clone(disk) as Arc<dyn berth_storage::Storage>;
        let engine = Engine::open(store, Machine::new(tape.clone(), bugs), options, seed)?;
        Ok(Self {
            shown: Arc::new(engine.published()),
            engine,
            tape,
            outlet: Outlet::default(),
            leader: LeaderLoop::default(),
            sessions: Sessions::new(bugs),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            ids: IdSource::from_seed(seed),
            bugs,
            unanswered: vec![],
        })
    }

    pub(crate) fn status(&self) -> Status {
        self.engine.status()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.engine.identity()
    }

    pub(crate) fn membership(&self) -> Membership {
        self.engine.membership()
    }

    /// What must be equal on every member at equal index, beside the state: the index, and a digest of members and of
    /// proposals that are recognised.
    pub(crate) fn replicated(&self) -> (u64, u64) {
        (self.engine.status().applied, self.engine.replicated_digest())
    }

    /// Takes in something and does all that follows from it.
    pub(crate) fn step(&mut self, moment: Moment, input: Input) -> Effects {
        let mut effects = Effects::default();
        let stepped = self
            .feed(moment, input, &mut effects)
            .and_then(|()| self.settle(moment, &mut effects));
        effects.stopped = stepped.is_err();
        effects.removed = self.engine.status().run == RunState::Removed;
        effects.applied = self.tape.take();
        effects
    }

    fn feed(&mut self, moment: Moment, input: Input, effects: &mut Effects) -> Result<(), RaftFault> {
        match input {
            Input::Tick => {
                self.engine.tick(&mut self.outlet);
                self.propose_again(moment);
            }
            Input::Peer(message) => self.engine.receive(message, &mut self.outlet)?,
            Input::Unreachable(member) => self.engine.unreachable(member),
            Input::FromAgent(session, agent, message) => {
                let status = self.engine.status();
                self.sessions.take(moment, &status, (session, agent, message), effects);
            }
            Input::SessionBroke(session) => self.sessions.broke(session),
            Input::Ask(ask) => {
                self.make_mistakes(moment, &ask, effects);
                self.ask(ask);
            }
            Input::RunTasks(operation, request) => self.leader.request(operation, request),
            // Whoever is asked in vain is asked again by another fault.
            Input::TransferLeadership(to) => self.engine.transfer_leadership(to).unwrap_or_default(),
            Input::ChangeMembership(change) => {
                self.next_ticket += 1;
                self.engine
                    .change_membership(self.next_ticket, change, &mut self.outlet);
            }
        }
        Ok(())
    }

    /// What a controller must not do with what a client asks for.
    fn make_mistakes(&mut self, moment: Moment, ask: &Ask, effects: &mut Effects) {
        let leads = self.engine.status().role == Role::Leader;
        match ask {
            Ask::Read(Asker::Client(operation)) if leads && self.bugs.has(Bug::LeaseRead) => {
                effects.replies.push((*operation, Reply::Read(Arc::clone(&self.shown))));
            }
            Ask::Propose {
                by: Asker::Client(operation),
                ..
            } if leads && self.bugs.has(Bug::AckBeforeCommit) => effects.replies.push((*operation, Reply::Written)),
            Ask::Propose {
                by: Asker::Client(operation),
                command,
                ..
            } if self.bugs.has(Bug::RetryAsNew) => {
                self.unanswered
                    .push((*operation, moment.now_ms + RETRY_AS_NEW_MS, command.clone()));
            }
            _ => {}
        }
    }

    fn propose_again(&mut self, moment: Moment) {
        let waits = |operation: u64| {
            self.waiting
                .values()
                .any(|(asker, _)| *asker == Asker::Client(operation))
        };
        let unanswered = std::mem::take(&mut self.unanswered).into_iter();
        let (due, later): (Vec<_>, Vec<_>) = unanswered
            .filter(|(operation, ..)| waits(*operation))
            .partition(|(_, at_ms, _)| *at_ms <= moment.now_ms);
        self.unanswered = later;
        for (operation, _, command) in due {
            let by = Asker::Client(operation);
            self.ask(Ask::Propose {
                command,
                term: None,
                by,
            });
        }
    }

    /// Works until nothing follows any more.
    fn settle(&mut self, moment: Moment, effects: &mut Effects) -> Result<(), RaftFault> {
        loop {
            let worked = self.engine.work(&mut self.outlet);
            let mut asks = self.take_in(moment, effects);
            worked?;
            if let Some(job) = self.outlet.job.take() {
                if let Some(done) = job.run(&AtomicBool::new(false))? {
                    self.engine.job_done(done)?;
                }
                asks.into_iter().for_each(|ask| self.ask(ask));
                continue;
            }
            let status = self.engine.status();
            asks.extend(self.leader.go_on(moment, &status, &self.shown, &mut self.ids, effects));
            asks.extend(
                self.sessions
                    .go_on(moment, &status, &self.shown, &mut self.ids, effects),
            );
            if asks.is_empty() {
                return Ok(());
            }
            asks.into_iter().for_each(|ask| self.ask(ask));
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        match ask {
            Ask::Propose { command, term, by } => {
                self.waiting.insert(ticket, (by, term));
                let command = command_record::<Machine>(&command, &self.shown.view).expect("a command of bounded size");
                match term.filter(|_| !self.bugs.has(Bug::UnboundDecision)) {
                    Some(term) => self.engine.propose_in_term(ticket, command, term, &mut self.outlet),
                    None => self.engine.propose(ticket, command, &mut self.outlet),
                }
            }
            Ask::Read(by) => {
                self.waiting.insert(ticket, (by, None));
                self.engine.read(ticket);
            }
        }
    }

    /// Hands on what the engine gave; what is asked for in consequence.
    fn take_in(&mut self, moment: Moment, effects: &mut Effects) -> Vec<Ask> {
        effects.peers.append(&mut self.outlet.messages);
        for (shown, outcomes) in std::mem::take(&mut self.outlet.published) {
            self.shown = Arc::clone(&shown);
            self.leader.note(outcomes.as_deref(), &shown);
            self.sessions.note(outcomes.as_deref());
            effects.shown.push(shown);
        }
        let mut asks = vec![];
        for (ticket, answer) in std::mem::take(&mut self.outlet.answers) {
            let Some((asker, bound)) = self.waiting.remove(&ticket) else {
                continue;
            };
            let reply = reply(answer);
            if let (Reply::Applied(applied), Some(term)) = (&reply, bound)
                && applied.term != term
            {
                effects.misplaced = Some((term, applied.term));
            }
            match asker {
                Asker::Client(operation) => effects.replies.push((operation, reply)),
                Asker::TakeOver(term) => self.leader.taken_over(moment, term, &reply),
                Asker::Chain(chain) => {
                    asks.extend(self.leader.answered(moment, chain, reply, &self.shown, effects));
                }
                Asker::Opening(session, agent) => self.sessions.opened(session, agent, &reply, &self.shown, effects),
                Asker::Reports(session, sequence) => self.sessions.recorded(session, sequence, &reply, effects),
                Asker::Leaving(agent) => self.sessions.left(agent),
            }
        }
        asks
    }
}

fn reply(answer: Answer<Machine>) -> Reply {
    match answer {
        Answer::Proposed(Ok(applied)) => Reply::Applied(applied),
        Answer::Proposed(Err(ProposeError::TermPassed | ProposeError::Overloaded)) => Reply::Void,
        Answer::Read(Ok(shown)) => Reply::Read(shown),
        Answer::Proposed(Err(_)) | Answer::Read(Err(_)) | Answer::Changed(_) => Reply::Unknown,
    }
}

/// A state, and the outcomes that led to it; with none, a snapshot did.
type Publication = (Shown, Option<Vec<Applied<Outcome>>>);

/// Keeps what the engine gives until it is handed on.
#[derive(Default)]
struct Outlet {
    messages: Vec<PeerMessage>,
    published: Vec<Publication>,
    answers: Vec<(Ticket, Answer<Machine>)>,
    job: Option<Job<Machine>>,
}

impl Outputs<Machine> for Outlet {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.messages.extend(messages);
    }

    fn publish(&mut self, published: Shown, outcomes: Option<&[Applied<Outcome>]>) {
        self.published.push((published, outcomes.map(<[_]>::to_vec)));
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer<Machine>) {
        self.answers.push((ticket, answer));
    }

    fn members_changed(&mut self, _membership: &Membership) {}

    fn run(&mut self, job: Job<Machine>) {
        self.job = Some(job);
    }
}
