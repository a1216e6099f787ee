//! Proposes what a round decided: what builds on each other one after the other, all else at once, so that it shares
//! a sync. Shell.

use std::collections::BTreeMap;

use berth_core::model::ServiceKey;
use berth_core::state::{Command, Event};
use tokio::task::JoinSet;

use crate::api::ports::{ProposeFailure, RanTasks};
use crate::replica::{StateGroup, unavailable};

use super::handle::Waiting;

/// Commands for one service, in order; a single command that is for none.
struct Chain {
    service: Option<ServiceKey>,
    commands: Vec<Command>,
}

/// Rounds in which a request may find its room taken before it is refused. Only commands from outside the loop can
/// take it, so that twice in a row is rare.
const MAX_ATTEMPTS: u32 = 5;

/// What did not come about.
pub(super) struct Shortfall {
    /// Services to look at again.
    pub(super) services: Vec<ServiceKey>,
    /// Requests to place again.
    pub(super) requests: Vec<Waiting>,
}

/// How one proposal, or one chain of them, ended.
enum End {
    Done,
    Again(Waiting),
    Broken(Option<ServiceKey>),
}

/// Proposes everything, waits for all of it and answers the requests.
pub(super) async fn propose_all(
    group: &StateGroup,
    commands: Vec<Command>,
    runs: Vec<(Waiting, Command, RanTasks)>,
) -> Shortfall {
    let mut under_way = JoinSet::new();
    for (waiting, command, ran) in runs {
        under_way.spawn(run_tasks(group.clone(), waiting, command, ran));
    }
    for chain in chains(commands) {
        under_way.spawn(follow(group.clone(), chain));
    }
    let mut shortfall = Shortfall {
        services: vec![],
        requests: vec![],
    };
    while let Some(end) = under_way.join_next().await {
        match end {
            Ok(End::Done | End::Broken(None)) => {}
            Ok(End::Broken(Some(service))) => shortfall.services.push(service),
            Ok(End::Again(waiting)) => shortfall.requests.push(waiting),
            Err(panic) => tracing::error!(%panic, "a proposal of the leader panicked"),
        }
    }
    shortfall
}

fn chains(commands: Vec<Command>) -> Vec<Chain> {
    let mut by_service: BTreeMap<ServiceKey, Vec<Command>> = BTreeMap::new();
    let mut chains = vec![];
    for command in commands {
        if let Some(service) = service_of(&command) {
            by_service.entry(service).or_default().push(command);
        } else {
            chains.push(Chain {
                service: None,
                commands: vec![command],
            });
        }
    }
    chains.extend(by_service.into_iter().map(|(service, commands)| Chain {
        service: Some(service),
        commands,
    }));
    chains
}

/// The service that a reconciler's command is for. Stops carry no service and are valid whatever happened before.
fn service_of(command: &Command) -> Option<ServiceKey> {
    match command {
        Command::CreateTasks { tasks } => tasks.first().and_then(|t| t.service().cloned()),
        Command::RecordServiceProgress(progress) => Some(progress.service.clone()),
        _ => None,
    }
}

async fn follow(group: StateGroup, chain: Chain) -> End {
    for command in chain.commands {
        let failure = match group.propose(command).await {
            Ok(applied) => match applied.outcome {
                Ok(_) => continue,
                Err(rejection) => rejection.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let service = chain.service.as_ref().map(|s| s.name.as_str()).unwrap_or_default();
        tracing::debug!(
            service,
            failure,
            "a decision of the leader did not take effect: it decides again"
        );
        return End::Broken(chain.service);
    }
    End::Done
}

async fn run_tasks(group: StateGroup, mut waiting: Waiting, command: Command, mut ran: RanTasks) -> End {
    let answer = match group.propose(command).await {
        Ok(applied) => match applied.outcome {
            Ok(events) => {
                // A request with the same token came in between: its tasks are the answer.
                if let Some(Event::RequestRepeated { tasks }) = events.first() {
                    ran = RanTasks {
                        tasks: tasks.clone(),
                        unplaced: vec![],
                    };
                }
                Ok(ran)
            }
            Err(rejection) if rejection.is_about_room() && waiting.attempts + 1 < MAX_ATTEMPTS => {
                waiting.attempts += 1;
                return End::Again(waiting);
            }
            Err(rejection) => Err(rejection.into()),
        },
        Err(error) => Err(ProposeFailure::from(unavailable(error))),
    };
    answer_to(waiting, answer);
    End::Done
}

/// Answers a request; that nobody waits any longer is no error.
pub(super) fn answer_to(waiting: Waiting, answer: Result<RanTasks, ProposeFailure>) {
    waiting.reply.send(answer).ok();
}
