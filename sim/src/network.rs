//! Who hears whom. A model of a shell.
//!
//! Members of the Raft group exchange messages that may be lost, repeated and late, each on its own. Agents have
//! sessions with controllers, in which messages keep their order: where the way is cut they wait, until it is open
//! again or an end gives the session up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::conversation::{AgentNumber, SessionId, ToAgent, ToController};
use crate::draws::Draws;

/// Something that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Controller(u64),
    Agent(AgentNumber),
}

/// What happens to messages between members, each in per mille.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) late: u64,
}

/// What travels in a session.
#[derive(Debug)]
pub(crate) enum Carried {
    ToController(ToController),
    ToAgent(ToAgent),
    /// The other end has closed the connection.
    Closed,
}

/// A direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToController,
    ToAgent,
}

impl Direction {
    pub(crate) fn back(self) -> Self {
        match self {
            Self::ToController => Self::ToAgent,
            Self::ToAgent => Self::ToController,
        }
    }
}

/// The connection of a session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) controller: u64,
    pub(crate) agent: AgentNumber,
    to_controller: VecDeque<Carried>,
    to_agent: VecDeque<Carried>,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// Ways on which nothing arrives.
    cut: BTreeSet<(End, End)>,
    links: BTreeMap<SessionId, Link>,
    sessions: SessionId,
}

impl Network {
    /// Nothing from the first arrives at the second any more.
    pub(crate) fn cut(&mut self, from: End, to: End) {
        self.cut.insert((from, to));
    }

    /// Nothing travels between the two any more.
    pub(crate) fn part(&mut self, one: End, other: End) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Everything arrives again of what one end says and is told.
    pub(crate) fn rejoin(&mut self, end: End) {
        self.cut.retain(|(from, to)| *from != end && *to != end);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.weather = Weather::default();
    }

    pub(crate) fn is_cut(&self, from: End, to: End) -> bool {
        self.cut.contains(&(from, to))
    }

    /// When a message between members arrives: not at all, once or twice.
    pub(crate) fn delays_ms(&self, draws: &mut Draws) -> Vec<u64> {
        if draws.chance(self.weather.lost) {
            return vec![];
        }
        let late = if draws.chance(self.weather.late) {
            draws.below(400)
        } else {
            0
        };
        let mut delays = vec![draws.between(1, 10) + late];
        if draws.chance(self.weather.repeated) {
            delays.push(draws.between(1, 400));
        }
        delays
    }

    pub(crate) fn connect(&mut self, agent: AgentNumber, controller: u64) -> SessionId {
        self.sessions += 1;
        let link = Link {
            controller,
            agent,
            to_controller: VecDeque::new(),
            to_agent: VecDeque::new(),
        };
        self.links.insert(self.sessions, link);
        self.sessions
    }

    pub(crate) fn link(&self, session: SessionId) -> Option<&Link> {
        self.links.get(&session)
    }

    /// Puts something on its way; whether there is a connection.
    pub(crate) fn carry(&mut self, session: SessionId, direction: Direction, carried: Carried) -> bool {
        let Some(link) = self.links.get_mut(&session) else {
            return false;
        };
        link.queue(direction).push_back(carried);
        true
    }

    /// What arrives next.
    pub(crate) fn arrive(&mut self, session: SessionId, direction: Direction) -> Option<Carried> {
        let carried = self.links.get_mut(&session)?.queue(direction).pop_front()?;
        if matches!(carried, Carried::Closed) {
            self.links.remove(&session);
        }
        Some(carried)
    }

    /// The sessions of one end.
    pub(crate) fn sessions_of(&self, end: End) -> Vec<SessionId> {
        let is_of = |link: &Link| end == End::Controller(link.controller) || end == End::Agent(link.agent);
        self.links
            .iter()
            .filter(|(_, link)| is_of(link))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Link {
    /// Who speaks in a direction, and who hears.
    pub(crate) fn ends(&self, direction: Direction) -> (End, End) {
        let (controller, agent) = (End::Controller(self.controller), End::Agent(self.agent));
        match direction {
            Direction::ToController => (agent, controller),
            Direction::ToAgent => (controller, agent),
        }
    }

    fn queue(&mut self, direction: Direction) -> &mut VecDeque<Carried> {
        match direction {
            Direction::ToController => &mut self.to_controller,
            Direction::ToAgent => &mut self.to_agent,
        }
    }
}
