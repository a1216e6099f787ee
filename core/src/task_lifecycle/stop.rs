//! The way down: stop signal, SIGKILL, removal, network, STOPPED. Pure.

use std::collections::BTreeSet;

use super::state::{ContainerPhase, ContainerState, NetworkPhase, TaskState};
use super::{Observation, RuntimeAction, dependencies};
use crate::model::{TaskStatus, Timestamp};

/// Between two SIGKILLs: a process that outlives one is in the kernel's hands, and is not given up on since it still
/// takes what the task had reserved.
const KILL_AGAIN_MS: i64 = 10_000;

/// How often the removal of a container or network is tried: what is left then takes disk space alone, and the next
/// agent start removes it.
const CLEAN_UP_ATTEMPTS: u32 = 5;

/// Between two attempts, times the number of the attempt.
const CLEAN_UP_PAUSE_MS: i64 = 1_000;

/// Notes the outcome of an action of the way down.
pub(super) fn observe(state: &mut TaskState, observation: &Observation, now: Timestamp) {
    match observation {
        // The timer that is set anyway, to SIGKILL or to the next one, is the answer to a failed signal.
        Observation::StopFailed { container, reason } => {
            if let Some(found) = state.container_in(container, ContainerPhase::may_exit) {
                found.reason = Some(reason.clone());
            }
        }
        Observation::ContainerRemoved { container } => {
            if let Some(found) = state.container_in(container, |phase| matches!(phase, ContainerPhase::Removing { .. }))
            {
                found.phase = ContainerPhase::Gone;
                found.has_remains = false;
            }
        }
        Observation::RemoveFailed { container, reason } => {
            if let Some(found) = state.container_mut(container)
                && let ContainerPhase::Removing { attempt } = found.phase
            {
                found.phase = match next_attempt(attempt, now) {
                    Some(at) => ContainerPhase::RemovalDue {
                        at,
                        attempt: attempt + 1,
                    },
                    None => {
                        found.reason.get_or_insert_with(|| reason.clone());
                        ContainerPhase::Gone
                    }
                };
            }
        }
        Observation::NetworkTornDown => {
            if matches!(state.network, NetworkPhase::TearingDown { .. }) {
                state.network = NetworkPhase::Gone;
            }
        }
        Observation::TearDownFailed { .. } => {
            if let NetworkPhase::TearingDown { attempt } = state.network {
                state.network = match next_attempt(attempt, now) {
                    Some(at) => NetworkPhase::TearDownDue {
                        at,
                        attempt: attempt + 1,
                    },
                    None => NetworkPhase::Gone,
                };
            }
        }
        _ => {}
    }
}

fn next_attempt(attempt: u32, now: Timestamp) -> Option<Timestamp> {
    (attempt < CLEAN_UP_ATTEMPTS).then(|| now.plus_ms(CLEAN_UP_PAUSE_MS * i64::from(attempt)))
}

/// Goes as far towards STOPPED as can be gone without waiting.
pub(super) fn advance(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    state.reach(TaskStatus::Deactivating);
    state.reach(TaskStatus::Stopping);
    bound_waits(state, now);
    stop_containers(state, now, actions);
    if state.network == NetworkPhase::SettingUp || !state.containers.iter().all(|c| c.phase.is_over()) {
        return;
    }
    if state.status < TaskStatus::Deprovisioning {
        let last_end = state.containers.iter().filter_map(|c| c.ended_at).max();
        state.execution_stopped_at = Some(last_end.unwrap_or(now));
        state.reach(TaskStatus::Deprovisioning);
    }
    remove_containers(state, now, actions);
    if state.containers.iter().all(|c| c.phase == ContainerPhase::Gone) {
        tear_down_network(state, now, actions);
    }
}

/// No wait is longer from now than when it began: on a host whose clock was set back, it would not end for as long as
/// the clock went back.
fn bound_waits(state: &mut TaskState, now: Timestamp) {
    let pause_ms = |attempt: u32| CLEAN_UP_PAUSE_MS * i64::from(attempt);
    for container in &mut state.containers {
        let timeout_ms = stop_timeout_ms(container);
        match &mut container.phase {
            ContainerPhase::Stopping { kill_at } => *kill_at = now.plus_ms(timeout_ms).min(*kill_at),
            ContainerPhase::Killing { again_at } => *again_at = now.plus_ms(KILL_AGAIN_MS).min(*again_at),
            ContainerPhase::RemovalDue { at, attempt } => *at = now.plus_ms(pause_ms(*attempt)).min(*at),
            _ => {}
        }
    }
    if let NetworkPhase::TearDownDue { at, attempt } = &mut state.network {
        *at = now.plus_ms(pause_ms(*attempt)).min(*at);
    }
}

fn stop_timeout_ms(container: &ContainerState) -> i64 {
    i64::from(container.stop_timeout_secs) * 1000
}

/// Those that others depend on stop after these (ECS: the order of starting, reversed).
fn stop_containers(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    for container in &mut state.containers {
        // A pull that is under way may go on: its outcome is ignored.
        if container.phase.is_before_start() && container.phase != ContainerPhase::Creating {
            container.phase = ContainerPhase::Ended;
        }
    }
    let needed: BTreeSet<String> = dependencies::still_needed(state);
    for container in &mut state.containers {
        let name = container.name.clone();
        let timeout_ms = stop_timeout_ms(container);
        match container.phase {
            ContainerPhase::Running if !needed.contains(&name) => {
                container.phase = ContainerPhase::Stopping {
                    kill_at: now.plus_ms(timeout_ms),
                };
                actions.push(RuntimeAction::StopContainer { container: name });
            }
            ContainerPhase::Stopping { kill_at: due } | ContainerPhase::Killing { again_at: due } if now >= due => {
                container.phase = ContainerPhase::Killing {
                    again_at: now.plus_ms(KILL_AGAIN_MS),
                };
                actions.push(RuntimeAction::KillContainer { container: name });
            }
            _ => {}
        }
    }
}

fn remove_containers(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    for container in &mut state.containers {
        let attempt = match container.phase {
            ContainerPhase::Ended if !container.has_remains => {
                container.phase = ContainerPhase::Gone;
                continue;
            }
            ContainerPhase::Ended => 1,
            ContainerPhase::RemovalDue { at, attempt } if now >= at => attempt,
            _ => continue,
        };
        container.phase = ContainerPhase::Removing { attempt };
        actions.push(RuntimeAction::RemoveContainer {
            container: container.name.clone(),
        });
    }
}

fn tear_down_network(state: &mut TaskState, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    let attempt = match state.network {
        NetworkPhase::Up | NetworkPhase::Broken => 1,
        NetworkPhase::TearDownDue { at, attempt } if now >= at => attempt,
        NetworkPhase::Absent | NetworkPhase::Gone => {
            state.stopped_at = Some(now);
            state.reach(TaskStatus::Stopped);
            return;
        }
        _ => return,
    };
    state.network = NetworkPhase::TearingDown { attempt };
    actions.push(RuntimeAction::TearDownNetwork);
}
