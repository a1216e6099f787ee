//! What clients of the API do: change services, run and stop tasks, read; one operation after the other each. A model of
//! a shell.
//!
//! Where it is not known what came of a request to run tasks, it is made again under the same token.

use std::collections::BTreeMap;

use berth_core::ids::IdSource;
use berth_core::model::{StopCode, Task, TaskDefinition, TaskOrigin, Timestamp};
use berth_core::reconcile::StandaloneRequest;
use berth_core::state::{ClusterState, Command};

use crate::bug::{Bug, Bugs};
use crate::checks::{Checked, Checks, Digest, digest};
use crate::controller::{Ask, Asker, Input, Reply};
use crate::draws::Draws;
use crate::hosts;

/// Clients that work side by side.
pub(crate) const CLIENTS: usize = 6;

/// Tasks that a service is scaled to, at most: each host has room for one of those that want a port for themselves, and
/// with a rollout of all services under way, the hosts still have room.
const MOST_TASKS: u64 = 5;

/// An operation that waits for its answer.
struct Operation {
    client: usize,
    controller: u64,
    kind: Kind,
}

enum Kind {
    Write(Digest),
    /// The index that it has to show.
    Read(u64),
    Run(String),
}

#[derive(Default)]
pub(crate) struct Clients {
    under_way: BTreeMap<u64, Operation>,
    next: u64,
    /// Requests to run tasks whose outcome is not known, by client.
    again: BTreeMap<usize, String>,
    /// Operations that were answered, for the report.
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) runs: u64,
    bugs: Bugs,
}

impl Clients {
    pub(crate) fn new(bugs: Bugs) -> Self {
        Self {
            bugs,
            ..Self::default()
        }
    }

    /// The next operation of a client, for the controller that it turns to.
    pub(crate) fn begin(
        &mut self,
        client: usize,
        controller: u64,
        at: Timestamp,
        checks: &Checks,
        (draws, ids): (&mut Draws, &mut IdSource),
    ) -> (u64, Input) {
        self.next += 1;
        let operation = self.next;
        let state = checks.state();
        let retried = self.again.remove(&client);
        let what = if retried.is_some() { 700 } else { draws.below(1000) };
        let (kind, input) = match what {
            0..400 => {
                let ask = Ask::Read(Asker::Client(operation));
                (Kind::Read(checks.known()), Input::Ask(ask))
            }
            400..650 => {
                let family = draws.pick(&hosts::FAMILIES).unwrap_or("web");
                let count = draws.chance(800).then(|| draws.below(MOST_TASKS + 1));
                let count = count.map(|count| u32::try_from(count).unwrap_or_default());
                write(operation, hosts::update(family, count, ids, at))
            }
            650..850 => match run(retried, (client, operation), state, ids, at) {
                Some((token, mut request)) => {
                    if self.bugs.has(Bug::ForgottenToken) {
                        request.client_token = None;
                    }
                    (Kind::Run(token), Input::RunTasks(operation, request))
                }
                None => write(operation, stop(state, draws, at)),
            },
            _ => write(operation, stop(state, draws, at)),
        };
        self.under_way.insert(
            operation,
            Operation {
                client,
                controller,
                kind,
            },
        );
        (operation, input)
    }

    /// Takes in an answer; the client that got it.
    pub(crate) fn answered(
        &mut self,
        operation: u64,
        reply: &Reply,
        checks: &mut Checks,
    ) -> Result<Option<usize>, String> {
        let Some(Operation {
            client,
            controller,
            kind,
        }) = self.under_way.remove(&operation)
        else {
            return Ok(None);
        };
        match (kind, reply) {
            (Kind::Write(digest), Reply::Applied(applied)) => {
                checks.acknowledged(digest, applied.index)?;
                self.writes += 1;
            }
            (Kind::Write(digest), Reply::Written) => checks.acknowledged_somewhere(digest),
            (Kind::Write(digest), Reply::Void) => checks.refused(digest)?,
            (Kind::Read(wanted), Reply::Read(shown)) => {
                checks.read(controller, wanted, shown.index)?;
                self.reads += 1;
            }
            (Kind::Run(_), Reply::Ran(tasks)) => {
                checks.ran(tasks)?;
                self.runs += 1;
            }
            (Kind::Run(token), _) => _ = self.again.insert(client, token),
            _ => {}
        }
        Ok(Some(client))
    }

    /// The client waits no longer; whether it still did.
    pub(crate) fn give_up(&mut self, operation: u64) -> Option<usize> {
        let given_up = self.under_way.remove(&operation)?;
        if let Kind::Run(token) = given_up.kind {
            self.again.insert(given_up.client, token);
        }
        Some(given_up.client)
    }

    /// A controller is gone, and with it the answers that it owed.
    pub(crate) fn lost(&mut self, controller: u64) -> Vec<usize> {
        let of_it = self
            .under_way
            .iter()
            .filter(|(_, operation)| operation.controller == controller);
        let lost: Vec<u64> = of_it.map(|(id, _)| *id).collect();
        lost.into_iter()
            .filter_map(|operation| self.give_up(operation))
            .collect()
    }
}

fn write(operation: u64, command: Command) -> (Kind, Input) {
    let digest = digest(&command);
    let ask = Ask::Propose {
        command,
        term: None,
        by: Asker::Client(operation),
    };
    (Kind::Write(digest), Input::Ask(ask))
}

/// A request to run one task, again if it was made before; not while many are there already.
fn run(
    retried: Option<String>,
    (client, operation): (usize, u64),
    state: &ClusterState,
    ids: &mut IdSource,
    at: Timestamp,
) -> Option<(String, StandaloneRequest)> {
    let definition: &TaskDefinition = state.task_definition(&hosts::definition_key("job", 1))?;
    if retried.is_none() && standalone(state).len() >= 8 {
        return None;
    }
    let token = retried.unwrap_or_else(|| format!("client-{client}-operation-{operation}"));
    let mut task = hosts::standalone(definition, ids, at);
    task.blueprint_mut().started_by = Some(token.clone());
    let request = StandaloneRequest {
        tasks: vec![task],
        client_token: Some(hosts::token(token.clone(), at)),
        ..StandaloneRequest::default()
    };
    Some((token, request))
}

/// Stops a task outside services, if there is one; in any case it is a write.
fn stop(state: &ClusterState, draws: &mut Draws, at: Timestamp) -> Command {
    let tasks: Vec<_> = standalone(state).iter().map(|task| task.id).collect();
    Command::StopTasks {
        tasks: draws.pick(&tasks).into_iter().collect(),
        stop_code: StopCode::UserInitiated,
        reason: format!("Stopped by request {}", draws.next()),
        at,
    }
}

fn standalone(state: &ClusterState) -> Vec<&Task> {
    let cluster = hosts::cluster();
    let tasks = state.tasks_of_cluster(&cluster).map(AsRef::as_ref);
    tasks
        .filter(|task| task.origin == TaskOrigin::Standalone && !task.is_stopped())
        .collect()
}

/// Holds that every request to run tasks made them once, whatever was retried.
pub(crate) fn each_request_ran_once(state: &ClusterState) -> Checked {
    let mut by_token: BTreeMap<&str, u32> = BTreeMap::new();
    let cluster = hosts::cluster();
    for task in state.tasks_of_cluster(&cluster) {
        if let Some(token) = task
            .started_by
            .as_deref()
            .filter(|_| task.origin == TaskOrigin::Standalone)
        {
            *by_token.entry(token).or_default() += 1;
        }
    }
    match by_token.iter().find(|(_, count)| **count > 1) {
        Some((token, count)) => Err(format!("the request {token} ran {count} tasks instead of one")),
        None => Ok(()),
    }
}
