//! `StartRebalance`. Shell.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::berth::{MoveToMake, StartRebalanceRequest, StartRebalanceResponse};
use berth_core::ids::IdSource;
use berth_core::model::{ClusterKey, ContainerInstance, ContainerInstanceStatus, MoveStatus, Rebalance, TaskMove};
use berth_core::state::{ClusterState, Command, Feature, MAX_MOVES};

use super::rebalanced;
use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::errors::{self, invalid};

/// How long moves may take, where the request does not say.
const DEFAULT_DEADLINE_SECONDS: i32 = 1_800;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: StartRebalanceRequest,
) -> Result<StartRebalanceResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?
        .key
        .clone();
    errors::check_upgraded(
        state.uses(Feature::Rebalancing),
        errors::client,
        "Tasks cannot be moved",
    )?;
    let given = input.moves.unwrap_or_default();
    if given.is_empty() || given.len() > MAX_MOVES {
        return Err(invalid(format!(
            "At least one move and at most {MAX_MOVES} can be made at once, not {}.",
            given.len()
        )));
    }
    let mut drain = BTreeSet::new();
    for named in input.drain_hosts.unwrap_or_default() {
        drain.insert(host(&state, &cluster, &named)?.id);
    }
    let deadline_seconds = input.deadline_seconds.unwrap_or(DEFAULT_DEADLINE_SECONDS);
    let rebalance = Rebalance {
        id: api.with_ids(IdSource::uuid),
        goal: rebalanced::goal(input.goal),
        // The model admits no negative numbers.
        at_a_time: input.at_a_time.and_then(|tasks| u32::try_from(tasks).ok()).unwrap_or(1),
        moves: moves(&state, &cluster, given)?,
        drain: drain.into_iter().collect(),
        drained: vec![],
        deadline: call.now.plus_ms(i64::from(deadline_seconds) * 1_000),
        stopped: false,
        started_at: call.now,
        ended_at: None,
        cluster: cluster.clone(),
    };
    let started = rebalanced::progress(&state, &rebalance);
    api.propose(Command::BeginRebalance(Box::new(rebalance))).await?;
    Ok(StartRebalanceResponse {
        rebalance: Some(started),
    })
}

fn moves(state: &ClusterState, cluster: &ClusterKey, given: Vec<MoveToMake>) -> Result<Vec<TaskMove>, AwsError> {
    let mut named = BTreeSet::new();
    let mut moves = vec![];
    for wanted in given {
        let found = to_make(state, cluster, &wanted)?;
        if !named.insert(found.task) {
            return Err(invalid(format!("Task {} is named twice.", found.task)));
        }
        moves.push(found);
    }
    Ok(moves)
}

fn to_make(state: &ClusterState, cluster: &ClusterKey, wanted: &MoveToMake) -> Result<TaskMove, AwsError> {
    let task = match references::task(state, cluster, wanted.task.as_deref().unwrap_or_default())? {
        Lookup::Found(task) => task,
        Lookup::Missing(arn) => return Err(RESOURCE_NOT_FOUND.error(format!("There is no task {arn}."))),
    };
    let to = host(state, cluster, wanted.container_instance.as_deref().unwrap_or_default())?;
    let Some(service) = task.service() else {
        return Err(invalid(format!(
            "Task {} is no service's, so that nothing would replace it.",
            task.id
        )));
    };
    let Some(from) = task.container_instance.filter(|_| !task.is_stopped()) else {
        return Err(invalid(format!("Task {} has stopped.", task.id)));
    };
    if from == to.id {
        return Err(invalid(format!(
            "Task {} is on {} already.",
            task.id, to.host.host_name
        )));
    }
    Ok(TaskMove {
        task: task.id,
        service: service.name.clone(),
        from,
        to: to.id,
        status: MoveStatus::Waiting,
    })
}

fn host<'s>(state: &'s ClusterState, cluster: &ClusterKey, named: &str) -> Result<&'s ContainerInstance, AwsError> {
    let missing = |arn: String| RESOURCE_NOT_FOUND.error(format!("There is no container instance {arn}."));
    match references::container_instance(state, cluster, named)? {
        Lookup::Found(host) if host.status != ContainerInstanceStatus::Inactive => Ok(host),
        Lookup::Found(host) => Err(missing(cluster.container_instance_arn(host.id))),
        Lookup::Missing(arn) => Err(missing(arn)),
    }
}
