//! Requests carried out on a copy of the state, by the operations themselves: what they come to, and why they would be refused. Shell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_aws::model::Service;
use berth_aws::{AwsError, cloudwatch, ecs};
use berth_core::model::LogIndex;
use berth_core::state::{ClusterState, Command, Event, apply};
use serde_json::Value;

use super::context::{Api, Call};
use super::dispatch;
use super::errors::invalid;
use super::ports::{PortFuture, ProposeFailure, Replica, Unavailable};

/// Most requests of one question: as many as people put into files.
const MAX_REQUESTS: usize = 1_000;

/// A state that changes where nobody else sees it.
struct StateCopy(Mutex<Changed>);

struct Changed {
    state: ClusterState,
    commands: Vec<Command>,
}

impl StateCopy {
    fn lock(&self) -> MutexGuard<'_, Changed> {
        // It is whole after every command, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Arc<ClusterState> {
        Arc::new(self.lock().state.clone())
    }
}

impl Replica for StateCopy {
    fn propose(&self, command: Command) -> PortFuture<'_, Result<Vec<Event>, ProposeFailure>> {
        Box::pin(async move {
            let mut changed = self.lock();
            let index = LogIndex(changed.state.applied().0.saturating_add(1));
            let events = apply(&mut changed.state, index, &command)?;
            changed.commands.push(command);
            Ok(events)
        })
    }

    fn read(&self) -> PortFuture<'_, Result<Arc<ClusterState>, Unavailable>> {
        Box::pin(async move { Ok(self.state()) })
    }

    fn seen(&self) -> Arc<ClusterState> {
        self.state()
    }
}

/// The commands that requests of ECS's API, and of CloudWatch's, come to, each carried out after those before it.
///
/// # Errors
/// What the first that is refused would be refused with, and which it is.
pub(super) async fn commands(
    api: &Api,
    call: &Call,
    state: &ClusterState,
    requests: Vec<(String, Value)>,
) -> Result<Vec<Command>, AwsError> {
    if requests.len() > MAX_REQUESTS {
        let given = requests.len();
        return Err(invalid(format!(
            "At most {MAX_REQUESTS} requests can be rehearsed at once, not {given}."
        )));
    }
    let copy = Arc::new(StateCopy(Mutex::new(Changed {
        state: state.clone(),
        commands: vec![],
    })));
    let rehearsing = Arc::new(api.over(Arc::clone(&copy) as Arc<dyn Replica>));
    for (number, (operation, input)) in (1..).zip(requests) {
        let of = |service: &'static Service| dispatch::find(service, service.operation(&operation)?);
        let Some(route) = of(&ecs::SERVICE).or_else(|| of(&cloudwatch::SERVICE)) else {
            return Err(invalid(format!(
                "Request {number}: {operation} is no operation of ecs or cloudwatch that is supported."
            )));
        };
        let answer = (route.serve)(Arc::clone(&rehearsing), call.clone(), input.to_string().into()).await;
        answer.map_err(|error| AwsError {
            message: format!("Request {number}, {operation}: {}", error.message),
            ..error
        })?;
    }
    let changed = std::mem::take(&mut copy.lock().commands);
    Ok(changed)
}
