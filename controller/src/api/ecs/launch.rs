//! Puts standalone tasks on hosts: plans on the newest state, proposes, and plans again where the state moved on meanwhile. What finds no
//! host becomes `failures[]`, as ECS does it. Shell.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{Failure, errors as ecs};
use berth_core::model::{ClusterKey, ContainerInstanceId, Task, TaskId, TaskStatus};
use berth_core::placement::{Outcome, PlacementProblem, Refusal, Seed, Unplaced, place};
use berth_core::state::{ClientToken, ClusterState, Command, Event, Rejection};

use crate::api::context::Api;
use crate::api::errors;
use crate::api::ports::ProposeFailure;

/// Plans before giving up: only reports of hosts and the service scheduler can move the state on in between.
const MAX_PLANS: usize = 5;
/// Failures in one answer; a cluster may have thousands of hosts.
const MAX_FAILURES: usize = 100;

/// A task to be put on a host.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The task, without a host.
    pub(super) task: Task,
    /// The only host that it may go to; `None` for any.
    pub(super) host: Option<ContainerInstanceId>,
}

/// What became of the tasks.
#[derive(Debug)]
pub(super) struct Launched {
    /// A state that has the tasks.
    pub(super) state: Arc<ClusterState>,
    /// Tasks that have a host, in the order in which they were wanted.
    pub(super) tasks: Vec<TaskId>,
    /// Why the others have none.
    pub(super) failures: Vec<Failure>,
}

/// Puts tasks of one cluster on hosts.
///
/// # Errors
/// What the state refuses, and `ServerException` where it kept moving on.
pub(super) async fn launch(
    api: &Api,
    cluster: &ClusterKey,
    wanted: &[Wanted],
    client_token: Option<&ClientToken>,
) -> Result<Launched, AwsError> {
    let _planning = api.launching.lock().await;
    for _ in 0..MAX_PLANS {
        let state = api.read().await?;
        if let Some(repeated) = repeated(&state, client_token)? {
            return Ok(Launched {
                tasks: repeated,
                state,
                failures: vec![],
            });
        }
        let seed = Seed(api.with_ids(berth_core::ids::IdSource::next_u64));
        let (tasks, failures) = plan(&state, cluster, wanted, seed);
        if tasks.is_empty() {
            return Ok(Launched {
                tasks: vec![],
                state,
                failures,
            });
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        let command = Command::RunTasks {
            tasks,
            client_token: client_token.cloned(),
        };
        let tasks = match api.try_propose(command).await {
            Ok(events) => first_made(&events).unwrap_or(ids),
            Err(ProposeFailure::Rejected(rejection)) if room_is_gone(&rejection) => continue,
            Err(failure) => return Err(errors::failure(&failure)),
        };
        return Ok(Launched {
            state: api.read().await?,
            tasks,
            failures,
        });
    }
    Err(ecs::SERVER.error(format!(
        "The hosts of the cluster changed during each of {MAX_PLANS} attempts to place the tasks; try again."
    )))
}

/// Tasks of the same request, if it came before.
fn repeated(state: &ClusterState, token: Option<&ClientToken>) -> Result<Option<Vec<TaskId>>, AwsError> {
    let Some(token) = token else { return Ok(None) };
    let seen = state
        .remembered_request(token)
        .map_err(|rejection| errors::rejection(&rejection))?;
    Ok(seen.map(|request| request.tasks.clone()))
}

fn first_made(events: &[Event]) -> Option<Vec<TaskId>> {
    events.iter().find_map(|event| match event {
        Event::RequestRepeated { tasks } => Some(tasks.clone()),
        _ => None,
    })
}

fn room_is_gone(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::InsufficientCpu { .. }
            | Rejection::InsufficientMemory { .. }
            | Rejection::PortInUse { .. }
            | Rejection::ContainerInstanceUnavailable(_)
            | Rejection::ContainerInstanceNotFound(_)
    )
}

fn plan(state: &ClusterState, cluster: &ClusterKey, wanted: &[Wanted], seed: Seed) -> (Vec<Task>, Vec<Failure>) {
    let mut problem = PlacementProblem::from_state(state, cluster, wanted.iter().map(|w| &w.task));
    for (request, wanted) in problem.requests.iter_mut().zip(wanted) {
        request.only_hosts = wanted.host.map(|host| [host].into());
    }
    let (mut placed, mut failures, mut told) = (vec![], vec![], Vec::<Arc<Unplaced>>::new());
    for (decision, wanted) in place(&problem, seed).decisions.into_iter().zip(wanted) {
        match decision.outcome {
            Outcome::Placed(placement) => placed.push(Task {
                container_instance: Some(placement.host()),
                last_status: TaskStatus::Pending,
                ..wanted.task.clone()
            }),
            Outcome::Unplaced(unplaced) if told.iter().any(|known| Arc::ptr_eq(known, &unplaced)) => {}
            Outcome::Unplaced(unplaced) => {
                failures.extend(failures_of(cluster, &unplaced));
                told.push(unplaced);
            }
        }
    }
    failures.truncate(MAX_FAILURES);
    (placed, failures)
}

fn failures_of<'a>(cluster: &'a ClusterKey, unplaced: &'a Unplaced) -> impl Iterator<Item = Failure> + 'a {
    unplaced.hosts.iter().map(|refused| {
        let detail: Vec<String> = refused.refusals.iter().map(Refusal::to_string).collect();
        Failure {
            arn: Some(cluster.container_instance_arn(refused.host)),
            reason: Some(refused.ecs_reason().to_owned()),
            detail: Some(detail.join(", ")),
        }
    })
}
