//! An agent with its host, in virtual time: it keeps a session, runs what it is assigned, and reports. A model of a shell.
//!
//! Owns what survives what: the ledger survives the agent, containers survive the agent and not the host.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::model::{
    ContainerInstanceId, DesiredStatus, HealthStatus, LogPosition, StopCode, TaskId, TaskReport, TaskStatus, Timestamp,
};

use crate::bug::{Bug, Bugs};
use crate::conversation::{AgentNumber, Assignments, SessionId, ToAgent, ToController};
use crate::draws::Draws;
use crate::hosts::{HEARTBEAT_MS, SILENCE_MS};

/// How long a controller may take to answer a registration.
const ANSWER_MS: u64 = 10_000;

/// How long a controller may take to commit a batch of reports.
const RECORD_MS: u64 = 30_000;

/// Pause before another controller is tried.
const RETRY_MS: u64 = 500;

/// Longest time that a task takes for one step.
const STEP_MS: u64 = 300;

pub(crate) struct Agent {
    pub(crate) number: AgentNumber,
    ledger: Ledger,
    /// What runs on the host.
    containers: BTreeSet<TaskId>,
    /// The agent, while it runs.
    process: Option<Process>,
    bugs: Bugs,
}

/// What the agent writes down.
#[derive(Default)]
struct Ledger {
    /// The newest position of the log that it has seen, of the history in which it is this container instance.
    seen: Option<(ContainerInstanceId, LogPosition)>,
    tasks: BTreeMap<TaskId, Local>,
}

/// A task on its host.
struct Local {
    status: TaskStatus,
    /// What its health checks say; `None` where it has none.
    health: Option<HealthStatus>,
    /// The controllers want its end.
    stop: bool,
    /// The controllers have no such task: once it has ended, neither has the host.
    forget: bool,
    next_step_ms: u64,
}

#[derive(Default)]
struct Process {
    was: Option<ContainerInstanceId>,
    session: Option<Session>,
    try_at_ms: u64,
    /// The controller to try next, where one is known to lead.
    hint: Option<u64>,
    /// What of each task is recorded.
    recorded: BTreeMap<TaskId, Known>,
    sequence: u64,
}

struct Session {
    id: SessionId,
    registered: bool,
    heard_at_ms: u64,
    beat_at_ms: u64,
    /// What waits to be recorded.
    batch: Option<Batch>,
}

/// What is reported of a task.
type Known = (TaskStatus, Option<HealthStatus>);

/// Reports that were sent.
struct Batch {
    sequence: u64,
    reports: Vec<(TaskId, Known)>,
    sent_at_ms: u64,
}

/// What an agent does.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    /// It connects to this controller.
    pub(crate) connects_to: Option<u64>,
    /// It gives this session up.
    pub(crate) closes: Option<SessionId>,
    pub(crate) says: Vec<(SessionId, ToController)>,
    /// It took over assignments of this position, as this container instance.
    pub(crate) accepted: Option<(ContainerInstanceId, LogPosition)>,
    /// Containers that it started.
    pub(crate) started: Vec<TaskId>,
}

impl Agent {
    pub(crate) fn new(number: AgentNumber, bugs: Bugs) -> Self {
        Self {
            number,
            ledger: Ledger::default(),
            containers: BTreeSet::new(),
            process: Some(Process::default()),
            bugs,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What runs on the host.
    pub(crate) fn containers(&self) -> &BTreeSet<TaskId> {
        &self.containers
    }

    /// The agent ends without a word; with `host`, so does its machine.
    pub(crate) fn crash(&mut self, host: bool) {
        self.process = None;
        if host {
            self.containers.clear();
        }
    }

    pub(crate) fn start(&mut self, now_ms: u64) {
        self.process = Some(Process {
            try_at_ms: now_ms,
            ..Process::default()
        });
        if self.bugs.has(Bug::LostLedger) {
            self.ledger.tasks.clear();
        }
        // What should run and does not has ended while nobody looked.
        for (task, local) in &mut self.ledger.tasks {
            if local.status == TaskStatus::Running && !self.containers.contains(task) {
                local.status = TaskStatus::Deactivating;
            }
        }
    }

    /// A container ends by itself.
    pub(crate) fn end_container(&mut self, task: TaskId) {
        let local = self
            .ledger
            .tasks
            .get_mut(&task)
            .filter(|local| local.status == TaskStatus::Running);
        if let Some(local) = local
            && self.process.is_some()
        {
            self.containers.remove(&task);
            local.status = TaskStatus::Deactivating;
        }
    }

    /// The health checks of a task say the opposite from now on, if it has any and runs.
    pub(crate) fn turn_health(&mut self, task: TaskId) {
        let local = self.ledger.tasks.get_mut(&task);
        if let Some(local) = local.filter(|local| local.status == TaskStatus::Running)
            && self.process.is_some()
        {
            local.health = local.health.map(|health| match health {
                HealthStatus::Healthy => HealthStatus::Unhealthy,
                HealthStatus::Unhealthy | HealthStatus::Unknown => HealthStatus::Healthy,
            });
        }
    }

    /// A session was made for it.
    pub(crate) fn connected(&mut self, now_ms: u64, id: SessionId, acts: &mut Acts) {
        let Some(process) = &mut self.process else { return };
        process.session = Some(Session {
            id,
            registered: false,
            heard_at_ms: now_ms,
            beat_at_ms: now_ms,
            batch: None,
        });
        acts.says.push((id, ToController::Register { previous: process.was }));
    }

    /// The connection of a session is gone.
    pub(crate) fn session_broke(&mut self, now_ms: u64, id: SessionId) {
        if let Some(process) = &mut self.process
            && process.session.as_ref().is_some_and(|session| session.id == id)
        {
            process.session = None;
            process.try_at_ms = now_ms + RETRY_MS;
        }
    }

    /// Takes in what the controller says.
    pub(crate) fn take(&mut self, now_ms: u64, id: SessionId, message: ToAgent, acts: &mut Acts) {
        let Some(process) = &mut self.process else { return };
        let Some(session) = process.session.as_mut().filter(|session| session.id == id) else {
            return;
        };
        session.heard_at_ms = now_ms;
        match message {
            ToAgent::Registered { host, position } => {
                session.registered = true;
                if !self.is_no_older(host, position) {
                    self.give_up(now_ms, acts);
                }
            }
            ToAgent::Refused { leader } => {
                process.hint = leader;
                process.session = None;
                process.try_at_ms = now_ms + RETRY_MS;
            }
            ToAgent::Recorded { sequence } => {
                if let Some(batch) = session.batch.take_if(|batch| batch.sequence <= sequence) {
                    process.recorded.extend(batch.reports);
                }
            }
            ToAgent::HeartbeatHeard => {}
            ToAgent::Assignments(assignments) => self.assign(now_ms, assignments, acts),
        }
    }

    /// Whether the controller has at least seen what this agent has, unless it speaks of another history.
    fn is_no_older(&mut self, host: ContainerInstanceId, position: LogPosition) -> bool {
        let Some(process) = &mut self.process else { return false };
        match &self.ledger.seen {
            Some((known, seen)) if *known == host => {
                if position < *seen && !self.bugs.has(Bug::StaleAssignments) {
                    return false;
                }
            }
            _ => {
                self.ledger.seen = Some((host, LogPosition::default()));
                process.recorded.clear();
            }
        }
        process.was = Some(host);
        true
    }

    fn assign(&mut self, now_ms: u64, assignments: Assignments, acts: &mut Acts) {
        let Some((host, seen)) = &mut self.ledger.seen else {
            return;
        };
        if assignments.position < *seen && !self.bugs.has(Bug::StaleAssignments) {
            return;
        }
        *seen = assignments.position;
        acts.accepted = Some((*host, assignments.position));
        let gone: Vec<TaskId> = if assignments.full {
            let kept: BTreeSet<TaskId> = assignments.tasks.iter().map(|assigned| assigned.task).collect();
            self.ledger
                .tasks
                .keys()
                .filter(|task| !kept.contains(task))
                .copied()
                .collect()
        } else {
            assignments.removed
        };
        for assigned in assignments.tasks {
            let known = self.ledger.tasks.contains_key(&assigned.task);
            if !known && assigned.over {
                continue;
            }
            let new = Local {
                // One that it has begun with and does not know, it has lost.
                status: if assigned.begun {
                    TaskStatus::Stopped
                } else {
                    TaskStatus::Pending
                },
                // Every other task has health checks.
                health: (assigned.task.0 % 2 == 0).then_some(HealthStatus::Unknown),
                stop: false,
                forget: false,
                next_step_ms: now_ms,
            };
            let local = self.ledger.tasks.entry(assigned.task).or_insert(new);
            local.stop |= assigned.desired == DesiredStatus::Stopped;
        }
        for task in gone {
            if let Some(local) = self.ledger.tasks.get_mut(&task) {
                local.forget = true;
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ms: u64, clock: Timestamp, controllers: &[u64], draws: &mut Draws) -> Acts {
        let mut acts = Acts::default();
        if self.process.is_none() {
            return acts;
        }
        self.run_tasks(now_ms, draws, &mut acts);
        self.keep_session(now_ms, controllers, draws, &mut acts);
        self.report(now_ms, clock, &mut acts);
        acts
    }

    fn run_tasks(&mut self, now_ms: u64, draws: &mut Draws, acts: &mut Acts) {
        use TaskStatus as S;
        for (task, local) in &mut self.ledger.tasks {
            if now_ms < local.next_step_ms {
                continue;
            }
            let ends = local.stop || local.forget;
            let next = match local.status {
                S::Provisioning | S::Pending | S::Activating | S::Running if ends => S::Deactivating,
                S::Provisioning | S::Pending => S::Activating,
                S::Activating => S::Running,
                S::Running if local.health == Some(HealthStatus::Unknown) => {
                    local.health = Some(HealthStatus::Healthy);
                    continue;
                }
                S::Running | S::Stopped => continue,
                S::Deactivating => S::Stopping,
                S::Stopping => S::Deprovisioning,
                S::Deprovisioning => S::Stopped,
            };
            local.status = next;
            local.next_step_ms = now_ms + draws.between(20, STEP_MS);
            match next {
                S::Running => {
                    self.containers.insert(*task);
                    acts.started.push(*task);
                }
                S::Deprovisioning => _ = self.containers.remove(task),
                _ => {}
            }
        }
        self.ledger
            .tasks
            .retain(|_, local| !local.forget || local.status != S::Stopped);
    }

    fn keep_session(&mut self, now_ms: u64, controllers: &[u64], draws: &mut Draws, acts: &mut Acts) {
        let Some(process) = &mut self.process else { return };
        let Some(session) = &mut process.session else {
            if now_ms >= process.try_at_ms {
                process.try_at_ms = now_ms + RETRY_MS;
                acts.connects_to = process.hint.take().or_else(|| draws.pick(controllers));
            }
            return;
        };
        let patience = if session.registered { SILENCE_MS } else { ANSWER_MS };
        let late = |batch: &Batch| now_ms >= batch.sent_at_ms + RECORD_MS;
        let unrecorded = session.batch.as_ref().is_some_and(late);
        if now_ms >= session.heard_at_ms + patience || unrecorded {
            self.give_up(now_ms, acts);
        } else if session.registered && now_ms >= session.beat_at_ms {
            session.beat_at_ms = now_ms + HEARTBEAT_MS;
            acts.says.push((session.id, ToController::Heartbeat));
        }
    }

    fn give_up(&mut self, now_ms: u64, acts: &mut Acts) {
        if let Some(process) = &mut self.process {
            acts.closes = process.session.take().map(|session| session.id);
            process.try_at_ms = now_ms + RETRY_MS;
        }
    }

    /// Sends what is not recorded, unless a batch waits.
    fn report(&mut self, now_ms: u64, clock: Timestamp, acts: &mut Acts) {
        let Some(process) = &mut self.process else { return };
        let Some(session) = process.session.as_mut().filter(|s| s.registered && s.batch.is_none()) else {
            return;
        };
        process.recorded.retain(|task, _| self.ledger.tasks.contains_key(task));
        let news = self.ledger.tasks.iter().filter(|(task, local)| {
            let known = (local.status, local.health);
            !local.forget && local.status > TaskStatus::Pending && process.recorded.get(task) != Some(&known)
        });
        let batch: Vec<(TaskId, Known)> = news
            .map(|(task, local)| (*task, (local.status, local.health)))
            .collect();
        if batch.is_empty() {
            return;
        }
        process.sequence += 1;
        let sequence = process.sequence;
        let wanted_end = |task: &TaskId| self.ledger.tasks.get(task).is_some_and(|local| local.stop);
        let reports = batch
            .iter()
            .map(|(task, known)| report(*task, *known, wanted_end(task), clock))
            .collect();
        acts.says
            .push((session.id, ToController::Reports { sequence, reports }));
        session.batch = Some(Batch {
            sequence,
            reports: batch,
            sent_at_ms: now_ms,
        });
    }
}

fn report(task: TaskId, (status, health): Known, wanted_end: bool, clock: Timestamp) -> TaskReport {
    let own_end = status > TaskStatus::Running && !wanted_end;
    TaskReport {
        started_at: (status == TaskStatus::Running).then_some(clock),
        execution_stopped_at: (status > TaskStatus::Stopping).then_some(clock),
        stopped_at: (status == TaskStatus::Stopped).then_some(clock),
        stop_code: own_end.then_some(StopCode::EssentialContainerExited),
        stopped_reason: own_end.then(|| "Essential container in task exited".to_owned()),
        health,
        ..TaskReport::new(task, status)
    }
}
