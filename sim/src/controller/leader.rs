//! The loop of the leader, as `controller/src/leader` runs it, in virtual time. A model of a shell.
//!
//! It begins with everything once it has caught up in its term, reconciles and places in rounds, sees one round through
//! before the next, and looks again at what did not come about.

use std::collections::{BTreeMap, VecDeque};

use berth_core::ids::IdSource;
use berth_core::model::{ServiceKey, TaskId, Timestamp};
use berth_core::placement::Seed;
use berth_core::reconcile::{Agenda, StandalonePlan, StandaloneRequest, plan_standalone, reconcile};
use berth_core::state::{ClusterState, Command, Event, apply};
use berth_raft::{Applied, Role, Status};

use super::{Ask, Asker, Effects, Moment, Reply, Shown};
use crate::machine::Outcome;

/// Pause of the reconcilers after a decision that did not take effect.
const PAUSE_MS: u64 = 100;

/// Rounds in which a request may find its room taken before it is given up.
const MAX_ATTEMPTS: u32 = 5;

#[derive(Default)]
pub(super) struct LeaderLoop {
    /// The term in which it leads and has caught up.
    leading: Option<Leading>,
    /// The term for which it waits until it has caught up.
    taking_over: Option<u64>,
    paused_until_ms: u64,
    requests: Vec<Request>,
    next_chain: u64,
}

struct Leading {
    term: u64,
    agenda: Agenda,
    /// The round that is seen through.
    under_way: BTreeMap<u64, Chain>,
}

/// A client's request to place tasks.
struct Request {
    operation: u64,
    request: StandaloneRequest,
    attempts: u32,
}

/// Decisions of which each builds on the one before.
enum Chain {
    Decisions { now: Command, later: VecDeque<Command> },
    Run { request: Request, tasks: Vec<TaskId> },
}

impl LeaderLoop {
    pub(super) fn request(&mut self, operation: u64, request: StandaloneRequest) {
        self.requests.push(Request {
            operation,
            request,
            attempts: 0,
        });
    }

    /// Takes note of what was applied.
    pub(super) fn note(&mut self, outcomes: Option<&[Applied<Outcome>]>, shown: &Shown) {
        let Some(leading) = &mut self.leading else { return };
        match outcomes {
            Some(outcomes) => {
                let events = outcomes.iter().filter_map(|applied| applied.outcome.as_ref().ok());
                events
                    .flat_map(|events| events.iter())
                    .for_each(|event| leading.agenda.note(event));
            }
            None => leading.agenda = Agenda::everything(&shown.view),
        }
    }

    /// What was committed before it came to lead is in its view, or it could not be confirmed.
    pub(super) fn taken_over(&mut self, moment: Moment, term: u64, reply: &Reply) {
        if self.taking_over != Some(term) {
            return;
        }
        self.taking_over = None;
        match reply {
            Reply::Read(shown) => {
                self.leading = Some(Leading {
                    term,
                    agenda: Agenda::everything(&shown.view),
                    under_way: BTreeMap::new(),
                });
            }
            _ => self.paused_until_ms = moment.now_ms + PAUSE_MS,
        }
    }

    /// Follows leadership, and begins a round once the last one is over.
    pub(super) fn go_on(
        &mut self,
        moment: Moment,
        status: &Status,
        shown: &Shown,
        ids: &mut IdSource,
        effects: &mut Effects,
    ) -> Vec<Ask> {
        let led_term = (status.role == Role::Leader).then_some(status.term);
        if self
            .leading
            .as_ref()
            .is_some_and(|leading| Some(leading.term) != led_term)
        {
            self.leading = None;
        }
        let Some(term) = led_term else {
            let refused = self.requests.drain(..).map(|request| (request.operation, Reply::Void));
            effects.replies.extend(refused);
            self.taking_over = None;
            return vec![];
        };
        let paused = moment.now_ms < self.paused_until_ms;
        let Some(leading) = &mut self.leading else {
            if paused || self.taking_over == Some(term) {
                return vec![];
            }
            self.taking_over = Some(term);
            return vec![Ask::Read(Asker::TakeOver(term))];
        };
        if !leading.under_way.is_empty() {
            return vec![];
        }
        leading.agenda.keep_up(&shown.view);
        let mut state = ClusterState::clone(&shown.view);
        let mut chains = plan_requests(
            &mut self.requests,
            &mut leading.agenda,
            &mut state,
            moment.clock,
            ids,
            effects,
        );
        if !paused {
            let commands = reconcile(&state, &mut leading.agenda, moment.clock, ids);
            chains.extend(chains_of(commands));
        }
        let mut asks = vec![];
        for (chain, command) in chains {
            self.next_chain += 1;
            asks.push(propose(command, term, self.next_chain));
            leading.under_way.insert(self.next_chain, chain);
        }
        asks
    }

    /// A decision took effect or did not.
    pub(super) fn answered(
        &mut self,
        moment: Moment,
        id: u64,
        reply: Reply,
        shown: &Shown,
        effects: &mut Effects,
    ) -> Option<Ask> {
        let leading = self.leading.as_mut()?;
        match leading.under_way.remove(&id)? {
            Chain::Decisions { now, mut later } => match reply {
                Reply::Applied(applied) if applied.outcome.is_ok() => {
                    let next = later.pop_front()?;
                    let ask = propose(next.clone(), leading.term, id);
                    leading.under_way.insert(id, Chain::Decisions { now: next, later });
                    return Some(ask);
                }
                _ => {
                    leading.agenda.revisit(&shown.view, &now);
                    self.paused_until_ms = moment.now_ms + PAUSE_MS;
                }
            },
            Chain::Run { mut request, tasks } => match reply {
                Reply::Applied(Applied {
                    outcome: Ok(events), ..
                }) => {
                    // A request with the same token came in between: its tasks are the answer.
                    let tasks = match events.first() {
                        Some(Event::RequestRepeated { tasks }) => tasks.clone(),
                        _ => tasks,
                    };
                    effects.replies.push((request.operation, Reply::Ran(tasks)));
                }
                Reply::Applied(Applied {
                    outcome: Err(rejection),
                    ..
                }) if rejection.is_about_room() && request.attempts + 1 < MAX_ATTEMPTS => {
                    request.attempts += 1;
                    self.requests.push(request);
                }
                Reply::Applied(_) => effects.replies.push((request.operation, Reply::Ran(vec![]))),
                Reply::Void => self.requests.push(request),
                _ => effects.replies.push((request.operation, Reply::Unknown)),
            },
        }
        None
    }
}

fn propose(command: Command, term: u64, chain: u64) -> Ask {
    Ask::Propose {
        command,
        term: Some(term),
        by: Asker::Chain(chain),
    }
}

/// Plans the requests that wait, and applies the plans to `state` so that reconcilers see them.
fn plan_requests(
    requests: &mut Vec<Request>,
    agenda: &mut Agenda,
    state: &mut ClusterState,
    now: Timestamp,
    ids: &mut IdSource,
    effects: &mut Effects,
) -> Vec<(Chain, Command)> {
    let batch = std::mem::take(requests);
    if batch.is_empty() {
        return vec![];
    }
    let wanted: Vec<StandaloneRequest> = batch.iter().map(|request| request.request.clone()).collect();
    let plans = plan_standalone(state, agenda, &wanted, Seed(ids.next_u64()), now);
    let index = state.applied();
    let mut chains = vec![];
    for (request, plan) in batch.into_iter().zip(plans) {
        match plan {
            StandalonePlan::Run { command, unplaced } => {
                let tasks = request.request.tasks.iter().map(|task| task.id);
                let tasks = tasks
                    .filter(|id| unplaced.iter().all(|(other, _)| other != id))
                    .collect();
                // Where the copy refuses, the group will as well, and the request is planned again.
                apply(state, index, &command).ok();
                chains.push((Chain::Run { request, tasks }, command));
            }
            StandalonePlan::Repeated(tasks) => effects.replies.push((request.operation, Reply::Ran(tasks))),
            StandalonePlan::NoRoom(_) | StandalonePlan::Refused(_) => {
                effects.replies.push((request.operation, Reply::Ran(vec![])));
            }
            StandalonePlan::Later => requests.push(request),
        }
    }
    chains
}

/// The commands for each service in order, and every other command by itself.
fn chains_of(commands: Vec<Command>) -> Vec<(Chain, Command)> {
    let mut by_service: BTreeMap<ServiceKey, VecDeque<Command>> = BTreeMap::new();
    let mut chains: Vec<VecDeque<Command>> = vec![];
    for command in commands {
        match service_of(&command) {
            Some(service) => by_service.entry(service).or_default().push_back(command),
            None => chains.push(VecDeque::from([command])),
        }
    }
    chains.extend(by_service.into_values());
    let begin = |mut later: VecDeque<Command>| {
        let now = later.pop_front()?;
        Some((
            Chain::Decisions {
                now: now.clone(),
                later,
            },
            now,
        ))
    };
    chains.into_iter().filter_map(begin).collect()
}

fn service_of(command: &Command) -> Option<ServiceKey> {
    match command {
        Command::CreateTasks { tasks } => tasks.first().and_then(|task| task.service().cloned()),
        Command::RecordServiceProgress(progress) => Some(progress.service.clone()),
        Command::MoveTask(step) => step.replacement.as_ref().and_then(|task| task.service().cloned()),
        _ => None,
    }
}
