//! Commands on rebalancings: tasks that are moved to other hosts.

use std::sync::Arc;

use crate::model::{
    ClusterKey, ContainerInstanceId, DesiredStatus, MoveStatus, Rebalance, ServiceKey, StopCode, TaskMove, Timestamp,
};

use super::{ClusterState, Event, MoveTask, RebalanceProgress, Rejection, tasks};

/// Most moves of one rebalancing: a command with so many stays far below the bytes that it may have.
pub const MAX_MOVES: usize = 500;

impl ClusterState {
    /// The rebalancing of a cluster that is under way, or else the last one.
    #[must_use]
    pub fn rebalance(&self, cluster: &ClusterKey) -> Option<&Arc<Rebalance>> {
        self.rebalances.get(cluster)
    }

    /// All of them.
    pub fn all_rebalances(&self) -> impl Iterator<Item = &Arc<Rebalance>> {
        self.rebalances.values()
    }

    /// The moves of a service's tasks that have begun and are not over.
    pub fn moves_under_way<'s>(&'s self, service: &'s ServiceKey) -> impl Iterator<Item = &'s TaskMove> {
        let rebalance = self.rebalances.get(&service.cluster).filter(|r| r.is_under_way());
        let moves = rebalance.into_iter().flat_map(|rebalance| &rebalance.moves);
        moves.filter(|found| found.status.is_under_way() && found.service == service.name)
    }
}

pub(super) fn begin(state: &mut ClusterState, rebalance: &Rebalance) -> Result<Vec<Event>, Rejection> {
    state.active_cluster(&rebalance.cluster)?;
    if rebalance.moves.len() > MAX_MOVES {
        return Err(Rejection::TooManyMoves);
    }
    if state.rebalance(&rebalance.cluster).is_some_and(|r| r.is_under_way()) {
        return Err(Rejection::RebalanceUnderWay(rebalance.cluster.clone()));
    }
    Ok(vec![put(state, rebalance.clone())])
}

pub(super) fn move_task(state: &mut ClusterState, step: &MoveTask) -> Result<Vec<Event>, Rejection> {
    let mut rebalance = under_way(state, &step.cluster, &step.rebalance)?;
    let found = find(&mut rebalance, step.number)?;
    let is_next = match found.status {
        MoveStatus::Waiting => true,
        MoveStatus::Begun { replacement: None } => step.replacement.is_some(),
        _ => false,
    };
    if !is_next {
        return Err(stale(step.number, "has come further"));
    }
    let wanted = |task: &Arc<crate::model::Task>| task.desired_status == DesiredStatus::Running;
    let is_there = state.task(found.task).is_some_and(wanted);
    if found.status == MoveStatus::Waiting && !is_there {
        return Err(stale(step.number, "has no task any more"));
    }
    let mut events = match &step.replacement {
        Some(replacement) if replacement.container_instance != Some(found.to) => {
            return Err(stale(step.number, "goes to another host"));
        }
        Some(replacement) => tasks::create_for_service(state, std::slice::from_ref(replacement))?,
        None if state.task(found.task).is_some_and(|task| task.is_protected(step.at)) => {
            return Err(stale(step.number, "is of a task that is protected by now"));
        }
        None => tasks::stop(
            state,
            &[found.task],
            StopCode::ServiceSchedulerInitiated,
            &step.reason,
            step.at,
        ),
    };
    found.status = MoveStatus::Begun {
        replacement: step.replacement.as_ref().map(|task| task.id),
    };
    events.push(put(state, rebalance));
    Ok(events)
}

pub(super) fn record(state: &mut ClusterState, progress: &RebalanceProgress) -> Result<Vec<Event>, Rejection> {
    let mut rebalance = under_way(state, &progress.cluster, &progress.rebalance)?;
    for (number, status) in &progress.moves {
        let found = find(&mut rebalance, *number)?;
        if found.status.is_over() {
            return Err(stale(*number, "is over"));
        }
        found.status = status.clone();
    }
    let is_new = |host: &ContainerInstanceId| !rebalance.drained.contains(host);
    let drained: Vec<ContainerInstanceId> = progress.drained.iter().copied().filter(is_new).collect();
    rebalance.drained.extend(drained);
    // What it was decided on may come after it.
    if progress.ended && !rebalance.moves.iter().all(|found| found.status.is_over()) {
        return Err(Rejection::Stale("a move is not over".to_owned()));
    }
    if progress.ended {
        rebalance.ended_at = Some(progress.at);
    }
    Ok(vec![put(state, rebalance)])
}

pub(super) fn stop(state: &mut ClusterState, cluster: &ClusterKey, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    let rebalance = state.rebalance(cluster).filter(|r| r.is_under_way());
    let rebalance = rebalance.ok_or_else(|| Rejection::NoRebalanceUnderWay(cluster.clone()))?;
    let mut rebalance = Rebalance::clone(rebalance);
    rebalance.deadline = rebalance.deadline.min(at);
    rebalance.stopped = true;
    Ok(vec![put(state, rebalance)])
}

fn under_way(state: &ClusterState, cluster: &ClusterKey, id: &str) -> Result<Rebalance, Rejection> {
    let found = state.rebalance(cluster).filter(|r| r.is_under_way() && r.id == id);
    let found = found.ok_or_else(|| Rejection::Stale(format!("rebalancing {id} is over")))?;
    Ok(Rebalance::clone(found))
}

fn find(rebalance: &mut Rebalance, number: u32) -> Result<&mut TaskMove, Rejection> {
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    let found = rebalance.moves.get_mut(place);
    found.ok_or_else(|| stale(number, "does not exist"))
}

fn stale(number: u32, what: &str) -> Rejection {
    Rejection::Stale(format!("move {number} {what}"))
}

fn put(state: &mut ClusterState, rebalance: Rebalance) -> Event {
    let cluster = rebalance.cluster.clone();
    state.rebalances.insert(cluster.clone(), Arc::new(rebalance));
    Event::RebalanceChanged(cluster)
}
