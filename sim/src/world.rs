//! The simulated world: controllers, hosts and clients on one clock, in one thread, from one seed. A model of shells.
//!
//! Owns what happens when, and to whom. It must not know what has to hold (`checks.rs`), nor which faults there are
//! (`faults.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::ids::IdSource;
use berth_core::model::{TaskId, Timestamp};
use berth_proto::v1::PeerMessage;
use berth_raft::{Founding, Role};

use crate::agent::{Acts, Agent};
use crate::bug::Bugs;
use crate::checks::{Checked, Checks};
use crate::clients::Clients;
use crate::controller::{Controller, Effects, Input, Moment};
use crate::conversation::{AgentNumber, SessionId};
use crate::disk::Disk;
use crate::draws::Draws;
use crate::network::{Carried, Direction, End, Network};
use crate::schedule::Schedule;

/// When the simulation begins, on the wall.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// Time between two ticks of a controller's engine.
const TICK_MS: u64 = 50;

/// Time between two looks of an agent at its tasks.
const AGENT_TICK_MS: u64 = 100;

/// How long a client waits for an answer.
const CLIENT_PATIENCE_MS: u64 = 12_000;

/// Indexes between two at which members and recognised proposals are compared, which costs more than the rest.
const COMPARED_EVERY: u64 = 8;

/// Until what waits on a way that is cut is tried again.
const CUT_RETRY_MS: u64 = 100;

/// Something that happens.
#[expect(clippy::large_enum_variant, reason = "a run has some hundreds of them at a time")]
pub(crate) enum Event {
    /// A tick of a controller, in the life in which it was scheduled.
    Tick(u64, u64),
    Peer(PeerMessage),
    /// A member notices that the connection to another is gone.
    Unreachable {
        at: u64,
        of: u64,
    },
    Arrive(SessionId, Direction),
    AgentTick(AgentNumber),
    /// A client begins its next operation.
    Client(usize),
    /// What a client asks for reaches a controller.
    Asked(u64, u64, Input),
    /// A client has waited long enough.
    Deadline(u64),
    Start(u64),
    StartAgent(AgentNumber),
    /// A member is added, promoted or removed; so many times more.
    MembersChange(u64),
    Rejoin(End),
    Fault,
}

/// A machine for a controller.
pub(crate) struct Machine {
    pub(crate) disk: Arc<Disk>,
    founding: Founding,
    pub(crate) controller: Option<Controller>,
    /// Number of its start.
    life: u64,
    /// It stands still until then.
    pub(crate) paused_until_ms: u64,
    /// How far its clock on the wall is ahead.
    pub(crate) clock_ahead_ms: i64,
}

pub(crate) struct World {
    pub(crate) schedule: Schedule<Event>,
    pub(crate) draws: Draws,
    pub(crate) ids: IdSource,
    pub(crate) machines: BTreeMap<u64, Machine>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) checks: Checks,
    /// Whether clients work, and faults happen.
    pub(crate) busy: bool,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    seed: u64,
    bugs: Bugs,
    starts: u64,
    /// Machines that there have been.
    built: u64,
}

impl World {
    pub(crate) fn new(seed: u64, agents: usize, bugs: Bugs) -> Self {
        let mut world = Self {
            schedule: Schedule::new(),
            draws: Draws::new(seed),
            ids: IdSource::from_seed(seed ^ 0x5EED),
            machines: BTreeMap::new(),
            agents: (0..agents).map(|number| Agent::new(number, bugs)).collect(),
            network: Network::default(),
            clients: Clients::new(bugs),
            checks: Checks::new(),
            busy: false,
            counts: BTreeMap::new(),
            seed,
            bugs,
            starts: 0,
            built: 0,
        };
        for agent in 0..agents {
            world.schedule.after(agent as u64 * 7, Event::AgentTick(agent));
        }
        world
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// What the clock on the wall shows.
    pub(crate) fn clock(&self) -> Timestamp {
        START.plus_ms(i64::try_from(self.schedule.now_ms()).unwrap_or(i64::MAX))
    }

    /// Controllers that run.
    pub(crate) fn running(&self) -> Vec<u64> {
        self.machines
            .iter()
            .filter(|(_, machine)| machine.controller.is_some())
            .map(|(id, _)| *id)
            .collect()
    }

    /// The controller that leads, in the newest term in which one does.
    pub(crate) fn leader(&self) -> Option<u64> {
        let controllers = self.machines.values().filter_map(|machine| machine.controller.as_ref());
        let statuses = controllers
            .map(Controller::status)
            .filter(|status| status.role == Role::Leader);
        statuses.max_by_key(|status| status.term).map(|status| status.member_id)
    }

    /// What runs on each host.
    pub(crate) fn containers(&self) -> BTreeMap<AgentNumber, BTreeSet<TaskId>> {
        self.agents
            .iter()
            .map(|agent| (agent.number, agent.containers().clone()))
            .collect()
    }

    /// Lets things happen until a time.
    pub(crate) fn pass_until(&mut self, until_ms: u64) -> Checked {
        while self.schedule.now_ms() < until_ms {
            let Some(event) = self.schedule.next() else { break };
            self.happen(event)?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick(id, life) => self.tick(id, life),
            Event::Peer(message) => self.peer(message),
            Event::Unreachable { at, of } => self.step(at, Input::Unreachable(of)),
            Event::Arrive(session, direction) => self.arrive(session, direction),
            Event::AgentTick(agent) => {
                self.schedule.after(AGENT_TICK_MS, Event::AgentTick(agent));
                let (now_ms, clock, controllers) = (self.schedule.now_ms(), self.clock(), self.controllers());
                let acts = self.agents[agent].tick(now_ms, clock, &controllers, &mut self.draws);
                self.act(agent, acts)
            }
            Event::Client(client) => {
                self.client(client);
                Ok(())
            }
            Event::Asked(id, operation, input) => self.asked(id, operation, input),
            Event::Deadline(operation) => {
                let client = self.clients.give_up(operation);
                self.next_operation(client);
                Ok(())
            }
            Event::Start(id) => self.start(id),
            Event::MembersChange(times) => self.change_members(times),
            Event::StartAgent(agent) => {
                self.agents[agent].start(self.schedule.now_ms());
                Ok(())
            }
            Event::Rejoin(end) => {
                self.network.rejoin(end);
                Ok(())
            }
            Event::Fault => self.fault(),
        }
    }

    fn controllers(&self) -> Vec<u64> {
        self.machines.keys().copied().collect()
    }

    /// The number of a machine that there has not been yet.
    pub(crate) fn next_machine(&self) -> u64 {
        self.built + 1
    }

    /// A machine on whose empty disk a controller is to run.
    pub(crate) fn add_machine(&mut self, id: u64, founding: Founding) {
        self.built = self.built.max(id);
        let machine = Machine {
            disk: Arc::new(Disk::new(self.bugs)),
            founding,
            controller: None,
            life: 0,
            paused_until_ms: 0,
            clock_ahead_ms: 0,
        };
        self.machines.insert(id, machine);
    }

    /// Starts a controller on its disk.
    pub(crate) fn start(&mut self, id: u64) -> Checked {
        let Some(machine) = self
            .machines
            .get_mut(&id)
            .filter(|machine| machine.controller.is_none())
        else {
            return Ok(());
        };
        self.starts += 1;
        let seed = self.seed.wrapping_mul(1 << 20).wrapping_add(self.starts);
        machine.life = self.starts;
        machine.disk.repair();
        let controller = Controller::start(&machine.disk, id, machine.founding.clone(), seed, self.bugs);
        let controller = controller.map_err(|fault| format!("controller {id} does not start: {}", fault.chain()))?;
        machine.controller = Some(controller);
        self.schedule
            .after(self.draws.below(TICK_MS), Event::Tick(id, self.starts));
        Ok(())
    }

    /// A controller ends: with its process, or with the power of its machine.
    pub(crate) fn crash(&mut self, id: u64, power: bool) {
        let Some(machine) = self
            .machines
            .get_mut(&id)
            .filter(|machine| machine.controller.is_some())
        else {
            return;
        };
        machine.controller = None;
        machine.paused_until_ms = 0;
        if power {
            machine.disk.cut_power(&mut self.draws);
        } else {
            // The kernel says good-bye for a process, and nobody for a machine.
            for session in self.network.sessions_of(End::Controller(id)) {
                self.send(session, Direction::ToAgent, Carried::Closed);
            }
            for other in self.running() {
                if !self.network.is_cut(End::Controller(id), End::Controller(other)) {
                    let delay = self.draws.between(1, 20);
                    self.schedule.after(delay, Event::Unreachable { at: other, of: id });
                }
            }
        }
        for client in self.clients.lost(id) {
            self.next_operation(Some(client));
        }
    }

    fn tick(&mut self, id: u64, life: u64) -> Checked {
        let Some(machine) = self.machines.get(&id).filter(|machine| machine.life == life) else {
            return Ok(());
        };
        if machine.paused_until_ms > self.schedule.now_ms() {
            // A process that stood still does not live through the ticks that it missed.
            self.schedule.at(machine.paused_until_ms, Event::Tick(id, life));
            return Ok(());
        }
        if machine.controller.is_some() {
            self.schedule
                .after(TICK_MS - 1 + self.draws.below(3), Event::Tick(id, life));
        }
        self.step(id, Input::Tick)
    }

    fn peer(&mut self, message: PeerMessage) -> Checked {
        let (from, to) = (End::Controller(message.from), End::Controller(message.to));
        let paused_until_ms = self
            .machines
            .get(&message.to)
            .map_or(0, |machine| machine.paused_until_ms);
        if self.network.is_cut(from, to) {
            return Ok(());
        }
        if paused_until_ms > self.schedule.now_ms() {
            self.schedule.at(paused_until_ms, Event::Peer(message));
            return Ok(());
        }
        self.step(message.to, Input::Peer(message))
    }

    /// Lets a controller take something in, and takes in what comes of it.
    pub(crate) fn step(&mut self, id: u64, input: Input) -> Checked {
        let (now_ms, clock) = (self.schedule.now_ms(), self.clock());
        let Some(machine) = self.machines.get_mut(&id) else {
            return Ok(());
        };
        let Some(controller) = machine.controller.as_mut() else {
            return Ok(());
        };
        let clock = clock.plus_ms(machine.clock_ahead_ms);
        let effects = controller.step(Moment { now_ms, clock }, input);
        // One that has stopped did so in the middle of something.
        let compared = |index: u64| !effects.stopped && index.is_multiple_of(COMPARED_EVERY);
        if effects.shown.last().is_some_and(|shown| compared(shown.index)) {
            self.checks.replicated(id, controller.replicated())?;
        }
        self.take_in(id, effects)
    }

    fn take_in(&mut self, id: u64, effects: Effects) -> Checked {
        if let Some((decided, written)) = effects.misplaced {
            return Err(format!(
                "what controller {id} decided as the leader of term {decided} is in the log of term {written}"
            ));
        }
        for entry in effects.applied {
            self.checks.applied(id, entry)?;
        }
        for shown in effects.shown {
            self.checks.shown(id, shown.index, &shown.view)?;
        }
        for message in effects.peers {
            for delay in self.network.delays_ms(&mut self.draws) {
                self.schedule.after(delay, Event::Peer(message.clone()));
            }
        }
        for (session, message) in effects.to_agents {
            self.send(session, Direction::ToAgent, Carried::ToAgent(message));
        }
        for session in effects.ended {
            self.send(session, Direction::ToAgent, Carried::Closed);
        }
        for (operation, reply) in effects.replies {
            let client = self.clients.answered(operation, &reply, &mut self.checks)?;
            self.next_operation(client);
        }
        if effects.removed {
            self.count("controllers removed");
            self.crash(id, false);
            self.machines.remove(&id);
            return Ok(());
        }
        if effects.stopped {
            self.count("power cuts");
            self.crash(id, true);
            let down_ms = self.draws.between(200, 6_000);
            self.schedule.after(down_ms, Event::Start(id));
        }
        Ok(())
    }

    /// Puts something on its way in a session.
    fn send(&mut self, session: SessionId, direction: Direction, carried: Carried) {
        if self.network.carry(session, direction, carried) {
            let delay = self.draws.between(1, 5);
            self.schedule.after(delay, Event::Arrive(session, direction));
        }
    }

    /// Something arrives in a session, unless its way is cut or whoever is to hear it is gone.
    fn arrive(&mut self, session: SessionId, direction: Direction) -> Checked {
        let Some(link) = self.network.link(session) else {
            return Ok(());
        };
        let ((from, to), (id, agent)) = (link.ends(direction), (link.controller, link.agent));
        if self.network.is_cut(from, to) {
            self.schedule.after(CUT_RETRY_MS, Event::Arrive(session, direction));
            return Ok(());
        }
        let machine = self.machines.get(&id);
        let (there, paused_until_ms) = match direction {
            Direction::ToController => machine.map_or((false, 0), |machine| {
                (machine.controller.is_some(), machine.paused_until_ms)
            }),
            Direction::ToAgent => (self.agents[agent].is_running(), 0),
        };
        if paused_until_ms > self.schedule.now_ms() {
            self.schedule.at(paused_until_ms, Event::Arrive(session, direction));
            return Ok(());
        }
        let carried = self.network.arrive(session, direction);
        if !there {
            self.send(session, direction.back(), Carried::Closed);
            return Ok(());
        }
        let now_ms = self.schedule.now_ms();
        match (carried, direction) {
            (Some(Carried::ToController(message)), _) => self.step(id, Input::FromAgent(session, agent, message)),
            (Some(Carried::Closed), Direction::ToController) => self.step(id, Input::SessionBroke(session)),
            (Some(Carried::Closed), Direction::ToAgent) => {
                self.agents[agent].session_broke(now_ms, session);
                Ok(())
            }
            (Some(Carried::ToAgent(message)), _) => {
                let mut acts = Acts::default();
                self.agents[agent].take(now_ms, session, message, &mut acts);
                self.act(agent, acts)
            }
            (None, _) => Ok(()),
        }
    }

    /// Takes in what an agent does.
    fn act(&mut self, agent: AgentNumber, mut acts: Acts) -> Checked {
        if let Some((host, position)) = acts.accepted {
            self.checks.accepted(agent, host, position)?;
        }
        for task in std::mem::take(&mut acts.started) {
            self.checks.started(agent, task)?;
        }
        if let Some(session) = acts.closes {
            self.send(session, Direction::ToController, Carried::Closed);
        }
        if let Some(id) = acts.connects_to {
            let (controller, end) = (End::Controller(id), End::Agent(agent));
            let parted = self.network.is_cut(controller, end) || self.network.is_cut(end, controller);
            let runs = self
                .machines
                .get(&id)
                .is_some_and(|machine| machine.controller.is_some());
            if runs && !parted {
                let session = self.network.connect(agent, id);
                self.agents[agent].connected(self.schedule.now_ms(), session, &mut acts);
            }
        }
        for (session, message) in acts.says {
            self.send(session, Direction::ToController, Carried::ToController(message));
        }
        Ok(())
    }

    /// A client that got its answer goes on after a while.
    fn next_operation(&mut self, client: Option<usize>) {
        if let Some(client) = client {
            let pause = self.draws.between(20, 400);
            self.schedule.after(pause, Event::Client(client));
        }
    }

    fn client(&mut self, client: usize) {
        if !self.busy {
            return;
        }
        let Some(id) = self.draws.pick(&self.running()) else {
            self.next_operation(Some(client));
            return;
        };
        let clock = self.clock();
        let sources = (&mut self.draws, &mut self.ids);
        let (operation, input) = self.clients.begin(client, id, clock, &self.checks, sources);
        let delay = self.draws.between(1, 5);
        self.schedule.after(delay, Event::Asked(id, operation, input));
        self.schedule.after(CLIENT_PATIENCE_MS, Event::Deadline(operation));
    }

    fn asked(&mut self, id: u64, operation: u64, input: Input) -> Checked {
        let machine = self.machines.get(&id);
        let paused_until_ms = machine.map_or(0, |machine| machine.paused_until_ms);
        if paused_until_ms > self.schedule.now_ms() {
            // It hears of it first when it goes on, and must not answer from what it knew before.
            self.schedule.at(paused_until_ms, Event::Asked(id, operation, input));
            return Ok(());
        }
        if machine.is_none_or(|machine| machine.controller.is_none()) {
            let client = self.clients.give_up(operation);
            self.next_operation(client);
            return Ok(());
        }
        self.step(id, input)
    }
}
