//! The way up: images, network, containers one after the other, RUNNING. Pure.

use super::RuntimeAction;
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
    if let Some(container) = state.containers.iter_mut().find(|c| !settled(c.phase)) {
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
    } else if state.containers.iter().all(|c| c.phase.is_over()) {
        // Only a task without any essential container comes here: nothing is left to run.
        state.wish_stop();
    } else if state.status < TaskStatus::Running {
        state.started_at = Some(now);
        state.reach(TaskStatus::Running);
    }
}
