//! Predictions in the shapes of the API. Pure.

use berth_aws::berth::{
    Headroom, HostRef, MoreTasks, PredictChangesResponse, RolloutStep, ServiceOutlook, TaskMove, ZoneRoom,
};
use berth_core::model::ClusterKey;
use berth_core::state::ClusterState;
use berth_core::what_if::{self, HostName, Move, Outlook, Step, TasksOnHost};

use super::explained::{self, count, number};

/// Most moves of an answer.
const MAX_MOVES: usize = 1_000;

/// What becomes of the cluster.
pub(super) fn answer(cluster: &ClusterKey, outlook: &Outlook) -> PredictChangesResponse {
    let host = |host: &HostName| host_ref(cluster, host);
    PredictChangesResponse {
        settled: Some(outlook.settled),
        settled_after_ms: Some(outlook.takes_ms),
        hosts_given_up: Some(outlook.given_up.iter().map(host).collect()),
        moves: Some(
            outlook
                .moves
                .iter()
                .take(MAX_MOVES)
                .map(|found| task_move(cluster, found))
                .collect(),
        ),
        tasks_moved: count(outlook.moves.iter().map(|found| found.tasks).sum()),
        left_to_chance: Some(outlook.left_to_chance.clone()),
        services: Some(
            outlook
                .services
                .iter()
                .map(|found| service(&outlook.end, cluster, found))
                .collect(),
        ),
        before: Some(headroom(&outlook.before)),
        after: Some(headroom(&outlook.after)),
        steps: Some(outlook.steps.iter().map(|found| step(cluster, found)).collect()),
        steps_left_out: count(outlook.steps_left_out),
    }
}

fn step(cluster: &ClusterKey, step: &Step) -> RolloutStep {
    let tasks = |found: &[TasksOnHost]| {
        let tasks = found.iter().map(|found| berth_aws::berth::TasksOnHost {
            group: Some(found.group.clone()),
            host: Some(host_ref(cluster, &found.host)),
            tasks: count(found.tasks),
        });
        Some(tasks.collect())
    };
    RolloutStep {
        after_ms: Some(step.after_ms),
        starts: tasks(&step.starts),
        stops: tasks(&step.stops),
    }
}

fn host_ref(cluster: &ClusterKey, host: &HostName) -> HostRef {
    HostRef {
        host_name: Some(host.name.clone()).filter(|name| !name.is_empty()),
        container_instance_arn: Some(cluster.container_instance_arn(host.id)),
    }
}

fn task_move(cluster: &ClusterKey, found: &Move) -> TaskMove {
    let host = |host: &HostName| host_ref(cluster, host);
    TaskMove {
        group: Some(found.group.clone()),
        from: found.from.as_ref().map(host),
        to: found.to.as_ref().map(host),
        tasks: count(found.tasks),
        one_of: Some(found.one_of.iter().map(host).collect()),
    }
}

fn service(state: &ClusterState, cluster: &ClusterKey, found: &what_if::ServiceOutlook) -> ServiceOutlook {
    let known = state.service(&cluster.service(found.service.as_str()));
    let fit = found.lacks.as_ref().zip(known).map(|(lacks, known)| {
        let fit = explained::fit(state, known, lacks);
        berth_aws::berth::ServiceFit {
            desired_count: number(found.desired),
            wanted_tasks: count(found.after),
            ..fit
        }
    });
    ServiceOutlook {
        service_name: Some(found.service.as_str().to_owned()),
        desired_count: number(found.desired),
        tasks_before: count(found.before),
        tasks_after: count(found.after),
        missing: count(found.misses()),
        missing_before: count(found.missed_before),
        not_replaced: count(found.not_replaced),
        fit,
    }
}

pub(super) fn headroom(headroom: &what_if::Headroom) -> Headroom {
    let zones = headroom.zones.iter().map(|zone| ZoneRoom {
        availability_zone: zone.zone.clone(),
        hosts: count(zone.hosts),
        free_cpu: i64::try_from(zone.free_cpu).ok(),
        free_memory: i64::try_from(zone.free_memory).ok(),
    });
    let services = headroom.services.iter().map(|more| MoreTasks {
        service_name: Some(more.service.as_str().to_owned()),
        tasks: count(more.tasks),
    });
    Headroom {
        zones: Some(zones.collect()),
        services: Some(services.collect()),
    }
}
