//! Rebalancings in the shapes of the API. Pure.

use berth_aws::Timestamp;
use berth_aws::berth::{
    HostRef, MoveStatus, NotMoved, PlanRebalanceResponse, PlannedMove, Rebalance, RebalanceGoal, RebalanceMeasure,
    RebalanceStatus, ServiceSpread, TaskMoving, ZoneTasks,
};
use berth_core::model::{self, ClusterKey, ContainerInstanceId, TaskMove};
use berth_core::rebalance::{Measure, Move, Proposal, Spread, Stuck};
use berth_core::state::ClusterState;
use berth_core::what_if;

use super::explained::{amounts, count, number};
use super::predicted;

/// The goal that is meant.
pub(super) fn goal(given: Option<RebalanceGoal>) -> model::RebalanceGoal {
    match given {
        None | Some(RebalanceGoal::Zones) => model::RebalanceGoal::Zones,
        Some(RebalanceGoal::Defragment) => model::RebalanceGoal::Defragment,
    }
}

/// What would be moved, and what that would bring.
pub(super) fn proposal(state: &ClusterState, cluster: &ClusterKey, proposal: &Proposal) -> PlanRebalanceResponse {
    let plan = &proposal.plan;
    let host = |id: &ContainerInstanceId| host_ref(state, cluster, *id);
    PlanRebalanceResponse {
        moves: Some(plan.moves.iter().map(|found| planned(state, cluster, found)).collect()),
        hosts_emptied: Some(plan.emptied().iter().map(host).collect()),
        before: Some(measure(&plan.before, &proposal.before)),
        after: Some(measure(&plan.after, &proposal.after)),
        not_moved: Some(
            plan.stuck
                .iter()
                .map(|stuck| not_moved(state, cluster, stuck))
                .collect(),
        ),
    }
}

fn planned(state: &ClusterState, cluster: &ClusterKey, found: &Move) -> PlannedMove {
    PlannedMove {
        task_arn: Some(cluster.task_arn(found.task)),
        service_name: Some(service_of(&found.group).to_owned()),
        from: Some(host_ref(state, cluster, found.from)),
        to: Some(host_ref(state, cluster, found.to)),
        why: Some(found.why.to_string()),
    }
}

fn service_of(group: &str) -> &str {
    group.strip_prefix("service:").unwrap_or(group)
}

fn measure(measure: &Measure, headroom: &what_if::Headroom) -> RebalanceMeasure {
    RebalanceMeasure {
        empty_hosts: count(measure.empty.len()),
        largest_task: Some(amounts(measure.largest)),
        spreads: Some(measure.spreads.iter().map(spread).collect()),
        headroom: Some(predicted::headroom(headroom)),
    }
}

fn spread(spread: &Spread) -> ServiceSpread {
    let zones = spread.zones.iter().map(|(zone, tasks)| ZoneTasks {
        availability_zone: Some(zone.clone()),
        tasks: count(*tasks),
    });
    ServiceSpread {
        service_name: Some(service_of(&spread.group).to_owned()),
        skew: count(spread.skew()),
        zones: Some(zones.collect()),
    }
}

fn not_moved(state: &ClusterState, cluster: &ClusterKey, stuck: &Stuck) -> NotMoved {
    NotMoved {
        service_name: stuck.host.is_none().then(|| service_of(&stuck.name).to_owned()),
        host: stuck.host.map(|id| host_ref(state, cluster, id)),
        reason: Some(stuck.obstacle.to_string()),
    }
}

fn host_ref(state: &ClusterState, cluster: &ClusterKey, id: ContainerInstanceId) -> HostRef {
    let host = state.container_instance(id);
    HostRef {
        host_name: host
            .map(|host| host.host.host_name.clone())
            .filter(|name| !name.is_empty()),
        container_instance_arn: Some(cluster.container_instance_arn(id)),
    }
}

/// How far moves have come.
pub(super) fn progress(state: &ClusterState, rebalance: &model::Rebalance) -> Rebalance {
    let cluster = &rebalance.cluster;
    let hosts = |ids: &[ContainerInstanceId]| ids.iter().map(|id| host_ref(state, cluster, *id)).collect();
    Rebalance {
        id: Some(rebalance.id.clone()),
        goal: Some(match rebalance.goal {
            model::RebalanceGoal::Zones => RebalanceGoal::Zones,
            model::RebalanceGoal::Defragment => RebalanceGoal::Defragment,
        }),
        status: Some(match rebalance.ended_at {
            None => RebalanceStatus::InProgress,
            Some(_) => RebalanceStatus::Ended,
        }),
        at_a_time: number(rebalance.at_a_time),
        moves: Some(
            rebalance
                .moves
                .iter()
                .map(|found| moving(state, cluster, found))
                .collect(),
        ),
        drain_hosts: Some(hosts(&rebalance.drain)),
        hosts_drained: Some(hosts(&rebalance.drained)),
        started_at: Some(Timestamp(rebalance.started_at.0)),
        deadline: Some(Timestamp(rebalance.deadline.0)),
        stopped: Some(rebalance.stopped),
        ended_at: rebalance.ended_at.map(|at| Timestamp(at.0)),
    }
}

fn moving(state: &ClusterState, cluster: &ClusterKey, found: &TaskMove) -> TaskMoving {
    let (status, replacement, reason, ended_at) = match &found.status {
        model::MoveStatus::Waiting => (MoveStatus::Waiting, None, None, None),
        model::MoveStatus::Begun { replacement } => (MoveStatus::Begun, *replacement, None, None),
        model::MoveStatus::Moved { replacement, at } => (MoveStatus::Moved, Some(*replacement), None, Some(*at)),
        model::MoveStatus::Dropped { reason, at } => (MoveStatus::Dropped, None, Some(reason.clone()), Some(*at)),
    };
    TaskMoving {
        task_arn: Some(cluster.task_arn(found.task)),
        service_name: Some(found.service.as_str().to_owned()),
        from: Some(host_ref(state, cluster, found.from)),
        to: Some(host_ref(state, cluster, found.to)),
        status: Some(status),
        replacement_arn: replacement.map(|id| cluster.task_arn(id)),
        reason,
        ended_at: ended_at.map(|at| Timestamp(at.0)),
    }
}
