//! Proposes what a round decided, bound to the term in which it did: what builds on each other one after the other, all
//! else at once, so that it shares a sync. Shell.

use std::collections::BTreeMap;

use berth_core::model::ServiceKey;
use berth_core::state::{Command, Event};
use tokio::task::JoinSet;

use crate::api::ports::{ProposeFailure, RanTasks};
use crate::replica::{StateGroup, unavailable};
use berth_raft::ProposeError;

use super::handle::Waiting;

/// Rounds in which a request may find its room taken, or the term over, before it is refused. Only commands from outside the loop can
/// take the room, and terms last, so that twice in a row is rare.
const MAX_ATTEMPTS: u32 = 5;

/// What did not come about.
#[derive(Default)]
pub(super) struct Shortfall {
    /// Commands that did not take effect: what they were decided for is to be looked at again.
    pub(super) commands: Vec<Command>,
    /// A proposal panicked, and it is not known which: everything is to be looked at again.
    pub(super) unknown: bool,
    /// Requests to place again.
    pub(super) requests: Vec<Waiting>,
    /// The term has passed: what is to be done now is for whoever leads in the next one.
    pub(super) term_passed: bool,
}

/// How one proposal, or one chain of them, ended.
enum End {
    Done,
    Again(Waiting),
    TermPassed(Waiting),
    Broken(Command),
}

/// Proposes everything, waits for all of it and answers the requests.
pub(super) async fn propose_all(
    group: &StateGroup,
    term: u64,
    commands: Vec<Command>,
    runs: Vec<(Waiting, Command, RanTasks)>,
) -> Shortfall {
    let mut under_way = JoinSet::new();
    for (waiting, command, ran) in runs {
        under_way.spawn(run_tasks(group.clone(), term, waiting, command, ran));
    }
    for chain in chains(commands) {
        under_way.spawn(follow(group.clone(), term, chain));
    }
    gather(under_way).await
}

async fn gather(mut under_way: JoinSet<End>) -> Shortfall {
    let mut shortfall = Shortfall::default();
    while let Some(end) = under_way.join_next().await {
        match end {
            Ok(End::Done) => {}
            Ok(End::Broken(command)) => shortfall.commands.push(command),
            Ok(End::Again(waiting)) => shortfall.requests.push(waiting),
            Ok(End::TermPassed(waiting)) => {
                shortfall.requests.push(waiting);
                shortfall.term_passed = true;
            }
            Err(panic) => {
                tracing::error!(%panic, "a proposal of the leader panicked: it looks at everything again");
                shortfall.unknown = true;
            }
        }
    }
    shortfall
}

/// The commands for each service in order, and every other command by itself.
fn chains(commands: Vec<Command>) -> Vec<Vec<Command>> {
    let mut by_service: BTreeMap<ServiceKey, Vec<Command>> = BTreeMap::new();
    let mut chains = vec![];
    for command in commands {
        match service_of(&command) {
            Some(service) => by_service.entry(service).or_default().push(command),
            None => chains.push(vec![command]),
        }
    }
    chains.extend(by_service.into_values());
    chains
}

/// The service that a reconciler's command is for. Stops carry no service and are valid whatever happened before.
fn service_of(command: &Command) -> Option<ServiceKey> {
    match command {
        Command::CreateTasks { tasks } => tasks.first().and_then(|t| t.service().cloned()),
        Command::RecordServiceProgress(progress) => Some(progress.service.clone()),
        Command::MoveTask(step) => step.replacement.as_ref().and_then(|task| task.service().cloned()),
        _ => None,
    }
}

/// Proposes a chain; a link that breaks makes those after it void. Commands that create tasks one after the other are one link: none
/// needs another, so that they are proposed at once and share a sync.
async fn follow(group: StateGroup, term: u64, chain: Vec<Command>) -> End {
    let mut chain = chain.into_iter().peekable();
    while let Some(command) = chain.next() {
        let mut link = JoinSet::new();
        let creates = |command: &Command| matches!(command, Command::CreateTasks { .. });
        if creates(&command) {
            while let Some(next) = chain.next_if(creates) {
                link.spawn(propose(group.clone(), term, next));
            }
        }
        let mut end = propose(group.clone(), term, command).await;
        while let Some(other) = link.join_next().await {
            match other {
                Ok(other) if matches!(end, End::Done) => end = other,
                Ok(_) => {}
                // Goes on to whoever gathers the ends.
                Err(panic) => std::panic::resume_unwind(Box::new(panic)),
            }
        }
        if !matches!(end, End::Done) {
            return end;
        }
    }
    End::Done
}

async fn propose(group: StateGroup, term: u64, command: Command) -> End {
    let failure = match group.propose_in_background(command.clone(), term).await {
        Ok(applied) => match applied.outcome {
            Ok(_) => return End::Done,
            Err(rejection) => rejection.to_string(),
        },
        Err(error) => error.to_string(),
    };
    tracing::debug!(
        service = service_of(&command).map(|s| s.name.to_string()).unwrap_or_default(),
        failure,
        "a decision of the leader did not take effect: it decides again"
    );
    End::Broken(command)
}

async fn run_tasks(group: StateGroup, term: u64, mut waiting: Waiting, command: Command, mut ran: RanTasks) -> End {
    let answer = match group.propose_in_term(command, term).await {
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
        // Nothing came of it: whoever leads now plans it, or it is refused.
        Err(ProposeError::TermPassed) if waiting.attempts + 1 < MAX_ATTEMPTS => {
            waiting.attempts += 1;
            return End::TermPassed(waiting);
        }
        Err(error) => Err(ProposeFailure::from(unavailable(error))),
    };
    answer_to(waiting, answer);
    End::Done
}

/// Answers a request; that nobody waits any longer is no error.
pub(super) fn answer_to(waiting: Waiting, answer: Result<RanTasks, ProposeFailure>) {
    waiting.reply.send(answer).ok();
}

#[cfg(test)]
mod tests {
    use berth_core::reconcile::StandaloneRequest;

    use super::*;
    use crate::agents::testing::leading_group;

    #[tokio::test]
    async fn proposal_that_panics_has_the_leader_look_at_everything() {
        let mut under_way = JoinSet::new();
        under_way.spawn(async { End::Done });
        under_way.spawn(async { panic!("as a test may") });
        assert!(gather(under_way).await.unknown);
    }

    #[tokio::test]
    async fn request_whose_term_passes_again_and_again_is_tried_some_times_and_then_answered() {
        let group = leading_group().await;
        let passed = group.status().term - 1;
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let mut waiting = Waiting {
            request: StandaloneRequest::default(),
            attempts: 0,
            reply,
        };
        let run = || Command::RunTasks {
            tasks: vec![],
            client_token: None,
        };
        let ran = || RanTasks {
            tasks: vec![],
            unplaced: vec![],
        };
        for _ in 1..MAX_ATTEMPTS {
            let mut under_way = JoinSet::new();
            under_way.spawn(run_tasks(group.clone(), passed, waiting, run(), ran()));
            let mut shortfall = gather(under_way).await;
            assert!(shortfall.term_passed);
            waiting = shortfall.requests.pop().expect("it is tried again");
            assert!(answer.try_recv().is_err(), "nobody has answered it");
        }
        run_tasks(group, passed, waiting, run(), ran()).await;
        let answer = answer.try_recv().expect("it is answered");
        assert!(matches!(answer, Err(ProposeFailure::Unavailable(_))), "{answer:?}");
    }
}
