//! The way up: images, network, containers one after the other, each once those that it depends on are as far, RUNNING. Pure.

use super::RuntimeAction;
use super::dependencies::{self, Turn};
use super::state::{ContainerPhase, NetworkPhase, TaskState};
use crate::model::{TaskStatus, Timestamp};

/// Goes as far towards RUNNING as can be gone without waiting.
pub(super) fn advance(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    pull_images(state, now, actions);
    if state.status == TaskStatus::Pending {
        let all_pulled = state
            .containers
            .iter()
            .all(|c| !matches!(c.phase, ContainerPhase::Waiting | ContainerPhase::Pulling));
        if !all_pulled {
            return;
        }
        state.pull_stopped_at = Some(now);
        state.reach(TaskStatus::Activating);
    }
    match state.network {
        NetworkPhase::Absent => {
            state.network = NetworkPhase::SettingUp;
            actions.push(RuntimeAction::SetUpNetwork);
        }
        NetworkPhase::Up => start_containers(state, now, actions),
        _ => {}
    }
}

/// All images at once: the runtime knows how many it wants to fetch at a time.
fn pull_images(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    for container in state
        .containers
        .iter_mut()
        .filter(|c| c.phase == ContainerPhase::Waiting)
    {
        container.phase = ContainerPhase::Pulling;
        state.pull_started_at.get_or_insert(now);
        actions.push(RuntimeAction::PullImage {
            container: container.name.clone(),
        });
    }
}

fn start_containers(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    let settled = |phase: ContainerPhase| {
        matches!(phase, ContainerPhase::Running | ContainerPhase::Restarting) || phase.is_over()
    };
    let unsettled: Vec<usize> = (0..state.containers.len())
        .filter(|index| !settled(state.containers[*index].phase))
        .collect();
    if let Some(index) = next_to_start(state, &unsettled, now) {
        let container = &mut state.containers[index];
        let name = container.name.clone();
        match container.phase {
            ContainerPhase::Pulled => {
                container.phase = ContainerPhase::Creating;
                container.has_remains = true;
                actions.push(RuntimeAction::CreateContainer { container: name });
            }
            ContainerPhase::Created => {
                container.phase = ContainerPhase::Starting;
                actions.push(RuntimeAction::StartContainer { container: name });
            }
            _ => {}
        }
    } else if !unsettled.is_empty() {
        // They wait for others, or one of them cannot start, which was noted.
    } else if state.containers.iter().all(|c| c.phase.is_over()) {
        // Only a task without any essential container comes here: nothing is left to run.
        state.wish_stop();
    } else if state.status < TaskStatus::Running {
        state.started_at = Some(now);
        state.reach(TaskStatus::Running);
    }
}

/// The container to go on with, if it is the turn of one: they start one at a time. One that can never start ends, and its task with it: it gives
/// up on what it depends on (ECS's rule).
fn next_to_start(state: &mut TaskState, unsettled: &[usize], now: Timestamp) -> Option<usize> {
    let mut next = None;
    for index in unsettled {
        let turn = match state.containers[*index].phase {
            ContainerPhase::Pulled => dependencies::turn(state, *index, now),
            _ => Turn::Now,
        };
        match turn {
            Turn::Now => next = next.or(Some(*index)),
            Turn::Waits => {}
            Turn::Never(reason) => {
                let name = state.containers[*index].name.clone();
                state.fail_container(&name, &reason, now);
                state.fail_to_start(&reason);
                return None;
            }
        }
    }
    next
}
