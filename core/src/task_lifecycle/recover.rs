//! After an agent restart: what was written down is brought in line with what was found. Pure.

use super::state::{ContainerPhase, Exit, NetworkPhase, TaskState};
use super::{FoundContainer, FoundState, RuntimeAction};
use crate::model::Timestamp;

const VANISHED: &str = "the container was gone when its agent came back; how it ended is not known";

/// Takes over what was found, and undoes the phases that wait for an action which nobody is carrying out any more.
pub(super) fn observe(
    state: &mut TaskState,
    found: &[FoundContainer],
    now: Timestamp,
    actions: &mut Vec<RuntimeAction>,
) {
    state.network = match state.network {
        NetworkPhase::SettingUp if state.stop.is_some() => NetworkPhase::Broken,
        NetworkPhase::SettingUp => NetworkPhase::Absent,
        NetworkPhase::TearingDown { .. } => NetworkPhase::Up,
        other => other,
    };
    for index in 0..state.containers.len() {
        let name = state.containers[index].name.clone();
        match found.iter().find(|f| f.name == name) {
            Some(container) => take_over(state, index, container, now, actions),
            None => miss(state, index, now),
        }
    }
}

fn take_over(
    state: &mut TaskState,
    index: usize,
    found: &FoundContainer,
    now: Timestamp,
    actions: &mut Vec<RuntimeAction>,
) {
    let is_to_run = state.stop.is_none();
    let container = &mut state.containers[index];
    container.has_remains = true;
    if container.phase.is_over() {
        // Whatever it is, it goes when the task goes.
        container.phase = ContainerPhase::Ended;
        return;
    }
    match &found.state {
        // Whether the process that has ended is the one before or after, it is started once more.
        FoundState::Created | FoundState::Exited { .. }
            if is_to_run && container.phase == ContainerPhase::Restarting =>
        {
            actions.push(RuntimeAction::RestartContainer {
                container: found.name.clone(),
            });
        }
        // It was never to be started: the agent went between its record and its process, or the machine did. It is made anew.
        FoundState::Exited { .. } if container.phase.is_before_start() => container.phase = ContainerPhase::Waiting,
        FoundState::Created => container.phase = ContainerPhase::Created,
        FoundState::Running => {
            container.runtime_id = Some(found.runtime_id.clone());
            container.began_at.get_or_insert(now);
            let name = container.name.clone();
            actions.push(RuntimeAction::WatchContainer {
                container: name.clone(),
            });
            match container.phase {
                ContainerPhase::Stopping { .. } => actions.push(RuntimeAction::StopContainer { container: name }),
                ContainerPhase::Killing { .. } => container.phase = ContainerPhase::Killing { again_at: now },
                ContainerPhase::Restarting => container.begin(&found.runtime_id, now),
                _ => container.phase = ContainerPhase::Running,
            }
        }
        FoundState::Exited { exit_code, reason, at } => {
            container.runtime_id = Some(found.runtime_id.clone());
            let exit = Exit {
                code: *exit_code,
                reason: reason.clone(),
                at: *at,
            };
            state.take_exit(&found.name, exit, actions);
        }
    }
}

/// The runtime knows nothing of the container: right before it was created and after it was removed, a loss between.
fn miss(state: &mut TaskState, index: usize, now: Timestamp) {
    let container = &mut state.containers[index];
    container.has_remains = false;
    match container.phase {
        phase if phase.is_before_start() => container.phase = ContainerPhase::Waiting,
        phase if phase.may_exit() || phase == ContainerPhase::Restarting => {
            let name = container.name.clone();
            let exit = Exit {
                code: None,
                reason: Some(VANISHED.to_owned()),
                at: now,
            };
            state.end_container(&name, exit);
        }
        ContainerPhase::Ended => {}
        _ => container.phase = ContainerPhase::Gone,
    }
}
