//! Starts tasks on hosts that the caller chose: checks on the newest state that each fits, proposes, and checks again where the state moved
//! on meanwhile. Shell.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::{Failure, errors as ecs};
use berth_core::ids::IdSource;
use berth_core::model::{ClusterKey, ContainerInstanceId, Task, TaskId, TaskStatus};
use berth_core::placement::{Outcome, PlacementProblem, Seed, place};
use berth_core::state::{ClusterState, Command};

use super::placement;
use crate::api::context::Api;
use crate::api::errors;
use crate::api::ports::ProposeFailure;

/// Plans before giving up; between two of them another request took the room.
const MAX_PLANS: usize = 10;

/// What became of the tasks.
#[derive(Debug)]
pub(super) struct Launched {
    /// A state that has the tasks.
    pub(super) state: Arc<ClusterState>,
    /// Tasks that have their host, in the order in which they were wanted.
    pub(super) tasks: Vec<TaskId>,
    /// Why the others have not.
    pub(super) failures: Vec<Failure>,
}

/// Starts tasks of one cluster, each on its host.
///
/// # Errors
/// What the state refuses, and `ServerException` where it kept moving on.
pub(super) async fn launch(
    api: &Api,
    cluster: &ClusterKey,
    wanted: &[(Task, ContainerInstanceId)],
) -> Result<Launched, AwsError> {
    for _ in 0..MAX_PLANS {
        let state = api.read().await?;
        let seed = Seed(api.with_ids(IdSource::next_u64));
        let (tasks, failures) = plan(&state, cluster, wanted, seed);
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        if tasks.is_empty() {
            return Ok(Launched {
                state,
                tasks: ids,
                failures,
            });
        }
        let command = Command::RunTasks {
            tasks,
            client_token: None,
        };
        match api.try_propose(command).await {
            Ok(_) => {}
            Err(ProposeFailure::Rejected(rejection)) if rejection.is_about_room() => continue,
            Err(failure) => return Err(errors::failure(&failure)),
        }
        return Ok(Launched {
            state: api.read().await?,
            tasks: ids,
            failures,
        });
    }
    Err(ecs::SERVER.error(format!(
        "The hosts changed during each of {MAX_PLANS} attempts to start the tasks; try again."
    )))
}

fn plan(
    state: &ClusterState,
    cluster: &ClusterKey,
    wanted: &[(Task, ContainerInstanceId)],
    seed: Seed,
) -> (Vec<Task>, Vec<Failure>) {
    let mut problem = PlacementProblem::from_state(state, cluster, wanted.iter().map(|(task, _)| task));
    for (request, (_, host)) in problem.requests.iter_mut().zip(wanted) {
        request.only_hosts = Some([*host].into());
    }
    let (mut placed, mut unplaced) = (vec![], vec![]);
    for (decision, (task, _)) in place(&problem, seed).decisions.into_iter().zip(wanted) {
        match decision.outcome {
            Outcome::Placed(placement) => placed.push(Task {
                container_instance: Some(placement.host()),
                last_status: TaskStatus::Pending,
                ..task.clone()
            }),
            Outcome::Unplaced(why) => unplaced.push(why),
        }
    }
    (placed, placement::failures(cluster, &unplaced))
}
