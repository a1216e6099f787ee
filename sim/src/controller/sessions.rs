//! The sessions of agents, as `controller/src/agents` keeps them, in virtual time. A model of a shell.
//!
//! Whatever is proposed for an agent is proposed by the leader of the term that its session is of; an agent's connection
//! and disconnection are proposed one after the other, so that they reach the log in the order in which they happened.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::ids::IdSource;
use berth_core::model::{
    AgentId, ContainerInstanceId, ContainerInstanceStatus, HostReports, LogIndex, LogPosition, Task, TaskId,
    TaskStatus, Timestamp,
};
use berth_core::state::{Command, Event};
use berth_raft::{Applied, Role, Status};

use super::{Ask, Asker, Effects, Moment, Reply, Shown};
use crate::bug::{Bug, Bugs};
use crate::conversation::{AgentNumber, AssignedTask, Assignments, SessionId, ToAgent, ToController};
use crate::hosts;
use crate::machine::Outcome;

#[derive(Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// Since when agents that the state takes for connected have had no session here.
    absent_since_ms: BTreeMap<ContainerInstanceId, u64>,
    /// Agents whose connection or disconnection is being proposed.
    busy: BTreeSet<AgentNumber>,
    /// Sessions that have ended and whose end is to be proposed.
    leaving: Vec<(AgentNumber, ContainerInstanceId, u64, Timestamp)>,
    term: Option<u64>,
    bugs: Bugs,
}

struct Session {
    agent: AgentNumber,
    previous: Option<ContainerInstanceId>,
    term: u64,
    /// Set once the agent is admitted.
    host: Option<ContainerInstanceId>,
    /// Whether its admission is being proposed.
    opening: bool,
    heard_at_ms: u64,
    heard_at: Timestamp,
    /// Everything is to be told.
    all: bool,
    changed: BTreeSet<TaskId>,
    known: BTreeSet<TaskId>,
    reports: Option<(u64, Command)>,
    recording: bool,
}

impl Sessions {
    pub(super) fn new(bugs: Bugs) -> Self {
        Self {
            bugs,
            ..Self::default()
        }
    }

    /// Takes in what an agent says.
    pub(super) fn take(
        &mut self,
        moment: Moment,
        status: &Status,
        (id, agent, message): (SessionId, AgentNumber, ToController),
        effects: &mut Effects,
    ) {
        let led_term = (status.role == Role::Leader).then_some(status.term);
        match (message, led_term) {
            (ToController::Register { previous }, Some(term)) => {
                // An older session of the agent ends, and is not recorded as disconnected.
                let older: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(_, s)| s.agent == agent)
                    .map(|(id, _)| *id)
                    .collect();
                for id in older {
                    self.sessions.remove(&id);
                    effects.ended.push(id);
                }
                self.sessions.insert(id, Session::new(moment, agent, previous, term));
            }
            (ToController::Register { .. }, None) => {
                effects.to_agents.push((id, ToAgent::Refused { leader: status.leader }));
                effects.ended.push(id);
            }
            (message, _) => {
                let Some(session) = self.sessions.get_mut(&id) else {
                    return;
                };
                (session.heard_at_ms, session.heard_at) = (moment.now_ms, moment.clock);
                match (message, session.host) {
                    (ToController::Heartbeat, _) => effects.to_agents.push((id, ToAgent::HeartbeatHeard)),
                    (ToController::Reports { sequence, reports }, Some(host)) => {
                        let reports = HostReports {
                            container_instance: host,
                            reports,
                            at: moment.clock,
                        };
                        let command = Command::RecordReportsOfHosts { hosts: vec![reports] };
                        session.reports = Some((sequence, command));
                        if self.bugs.has(Bug::ReportsAckedEarly) {
                            effects.to_agents.push((id, ToAgent::Recorded { sequence }));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The connection of a session is gone.
    pub(super) fn broke(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.leave(session);
        }
    }

    fn leave(&mut self, session: Session) {
        if let Some(host) = session.host {
            self.leaving.push((session.agent, host, session.term, session.heard_at));
        }
    }

    /// Takes note of what was applied.
    pub(super) fn note(&mut self, outcomes: Option<&[Applied<Outcome>]>) {
        let Some(outcomes) = outcomes else {
            self.sessions.values_mut().for_each(|session| session.all = true);
            return;
        };
        let events = outcomes.iter().filter_map(|applied| applied.outcome.as_ref().ok());
        for event in events.flat_map(|events| events.iter()) {
            match event {
                Event::TaskChanged(change) => {
                    for session in self
                        .sessions
                        .values_mut()
                        .filter(|s| s.host == change.container_instance)
                    {
                        session.changed.insert(change.task);
                    }
                }
                Event::TaskForgotten {
                    task,
                    container_instance,
                    ..
                } => {
                    let sessions = self.sessions.values_mut().filter(|s| s.host == *container_instance);
                    for session in sessions.filter(|s| s.all || s.known.contains(task)) {
                        session.changed.insert(*task);
                    }
                }
                _ => {}
            }
        }
    }

    /// An agent was admitted, or was not.
    pub(super) fn opened(
        &mut self,
        id: SessionId,
        agent: AgentNumber,
        reply: &Reply,
        shown: &Shown,
        effects: &mut Effects,
    ) {
        self.busy.remove(&agent);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.opening = false;
        let admitted = matches!(reply, Reply::Applied(applied) if applied.outcome.is_ok());
        let agent = AgentId::from(hosts::agent_name(agent));
        let host = shown.view.container_instance_of_agent(&hosts::cluster(), &agent);
        let Some(host) = host.filter(|_| admitted) else {
            self.sessions.remove(&id);
            effects.to_agents.push((id, ToAgent::Refused { leader: None }));
            effects.ended.push(id);
            return;
        };
        session.host = Some(host);
        session.all &= !self.bugs.has(Bug::PartialAssignments);
        let position = position(shown);
        effects.to_agents.push((id, ToAgent::Registered { host, position }));
    }

    /// The reports of an agent are committed, or are not.
    pub(super) fn recorded(&mut self, id: SessionId, sequence: u64, reply: &Reply, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.recording = false;
        match reply {
            Reply::Applied(_) => effects.to_agents.push((id, ToAgent::Recorded { sequence })),
            _ => {
                self.broke(id);
                effects.ended.push(id);
            }
        }
    }

    /// The end of a session was proposed; where that failed, the look-out for absent agents tries again.
    pub(super) fn left(&mut self, agent: AgentNumber) {
        self.busy.remove(&agent);
    }

    /// Ends what has to end, tells agents what is new, and proposes what waits.
    pub(super) fn go_on(
        &mut self,
        moment: Moment,
        status: &Status,
        shown: &Shown,
        ids: &mut IdSource,
        effects: &mut Effects,
    ) -> Vec<Ask> {
        let led_term = (status.role == Role::Leader).then_some(status.term);
        self.end_those_over(moment, led_term, effects);
        let Some(term) = led_term else {
            self.leaving.clear();
            return vec![];
        };
        let mut asks = self.leave_and_open(moment, term, (shown, ids), effects);
        for (id, session) in &mut self.sessions {
            asks.extend(session.record(*id));
            session.tell(*id, shown, effects);
        }
        self.look_out(moment, term, shown);
        asks
    }

    fn end_those_over(&mut self, moment: Moment, led_term: Option<u64>, effects: &mut Effects) {
        if self.term != led_term {
            self.term = led_term;
            self.absent_since_ms.clear();
        }
        let is_over = |session: &Session| {
            Some(session.term) != led_term || moment.now_ms >= session.heard_at_ms + hosts::SILENCE_MS
        };
        let over: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| is_over(s))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.broke(id);
            effects.ended.push(id);
        }
    }

    fn leave_and_open(
        &mut self,
        moment: Moment,
        term: u64,
        (shown, ids): (&Shown, &mut IdSource),
        effects: &mut Effects,
    ) -> Vec<Ask> {
        let mut asks = vec![];
        for (agent, host, of_term, heard_at) in std::mem::take(&mut self.leaving) {
            let replaced = self.sessions.values().any(|session| session.agent == agent);
            if of_term != term || replaced {
                continue;
            }
            if !self.busy.insert(agent) {
                self.leaving.push((agent, host, of_term, heard_at));
                continue;
            }
            asks.push(Ask::Propose {
                command: Command::RecordAgentDisconnected {
                    container_instance: host,
                    last_heard_at: heard_at,
                    at: moment.clock,
                },
                term: Some(term),
                by: Asker::Leaving(agent),
            });
        }
        for (id, session) in &mut self.sessions {
            let agent = AgentId::from(hosts::agent_name(session.agent));
            let known = shown.view.container_instance_of_agent(&hosts::cluster(), &agent);
            let known = known
                .and_then(|id| shown.view.container_instance(id))
                .filter(|host| host.agent_connected);
            if session.host.is_none()
                && self.bugs.has(Bug::StaleAssignments)
                && let Some(host) = known
            {
                let (host, position) = (host.id, position(shown));
                session.host = Some(host);
                effects.to_agents.push((*id, ToAgent::Registered { host, position }));
            }
            if session.host.is_some() || session.opening || !self.busy.insert(session.agent) {
                continue;
            }
            session.opening = true;
            asks.push(Ask::Propose {
                command: Command::RegisterContainerInstance {
                    id: ids.container_instance_id(),
                    previous: session.previous,
                    cluster: hosts::cluster(),
                    agent,
                    host: hosts::description(session.agent, self.bugs),
                    at: moment.clock,
                },
                term: Some(session.term),
                by: Asker::Opening(*id, session.agent),
            });
        }
        asks
    }

    /// Looks out for agents that the state takes for connected although they have no session here.
    fn look_out(&mut self, moment: Moment, term: u64, shown: &Shown) {
        let here: BTreeSet<ContainerInstanceId> = self.sessions.values().filter_map(|session| session.host).collect();
        let hosts = shown.view.all_container_instances();
        let absent: Vec<_> = hosts
            .filter(|host| host.agent_connected && host.status != ContainerInstanceStatus::Inactive)
            .filter(|host| !here.contains(&host.id))
            .collect();
        self.absent_since_ms
            .retain(|id, _| absent.iter().any(|host| host.id == *id));
        for host in absent {
            let since = *self.absent_since_ms.entry(host.id).or_insert(moment.now_ms);
            let absent_ms = moment.now_ms - since;
            let Some(agent) = hosts::agent_number(host.agent.as_str()) else {
                continue;
            };
            let proposed = self.leaving.iter().any(|(leaving, ..)| *leaving == agent) || self.busy.contains(&agent);
            if absent_ms >= hosts::SILENCE_MS && !proposed {
                let last_heard = moment.clock.plus_ms(-i64::try_from(absent_ms).unwrap_or(i64::MAX));
                self.leaving.push((agent, host.id, term, last_heard));
            }
        }
    }
}

impl Session {
    fn new(moment: Moment, agent: AgentNumber, previous: Option<ContainerInstanceId>, term: u64) -> Self {
        Self {
            agent,
            previous,
            term,
            host: None,
            opening: false,
            heard_at_ms: moment.now_ms,
            heard_at: moment.clock,
            all: true,
            changed: BTreeSet::new(),
            known: BTreeSet::new(),
            reports: None,
            recording: false,
        }
    }

    /// Proposes the reports that wait.
    fn record(&mut self, id: SessionId) -> Option<Ask> {
        if self.recording {
            return None;
        }
        let (sequence, command) = self.reports.take()?;
        self.recording = true;
        Some(Ask::Propose {
            command,
            term: Some(self.term),
            by: Asker::Reports(id, sequence),
        })
    }

    /// Tells the agent what is new to it, from the newest view.
    fn tell(&mut self, id: SessionId, shown: &Shown, effects: &mut Effects) {
        let Some(host) = self.host else { return };
        if !self.all && self.changed.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        let full = std::mem::take(&mut self.all);
        let view = &shown.view;
        let (tasks, removed): (Vec<AssignedTask>, Vec<TaskId>) = if full {
            (
                view.tasks_of_instance(host).map(|task| assigned(task)).collect(),
                vec![],
            )
        } else {
            let here = |id: &TaskId| view.task(*id).filter(|task| task.container_instance == Some(host));
            let removed = changed.iter().filter(|id| here(id).is_none()).copied().collect();
            (
                changed.iter().filter_map(here).map(|task| assigned(task)).collect(),
                removed,
            )
        };
        if full {
            self.known.clear();
        }
        self.known.extend(tasks.iter().map(|assigned| assigned.task));
        removed.iter().for_each(|task| _ = self.known.remove(task));
        let assignments = Assignments {
            position: position(shown),
            full,
            tasks,
            removed,
        };
        effects.to_agents.push((id, ToAgent::Assignments(assignments)));
    }
}

fn assigned(task: &Task) -> AssignedTask {
    AssignedTask {
        task: task.id,
        desired: task.desired_status,
        over: task.is_stopped(),
        begun: task.last_status > TaskStatus::Pending,
    }
}

fn position(shown: &Shown) -> LogPosition {
    LogPosition {
        term: shown.term,
        index: LogIndex(shown.index),
    }
}
