//! The life of one task on its host, as a function: what is known, what was observed, and out come what is known now
//! and what to do about it.
//!
//! Owns the order of things (images, network, containers; stop signal, SIGKILL, removal), the statuses that a task
//! passes and the sentences that say why it stopped. It must not know how anything is carried out, nor of the session
//! with the controllers. Pure: time comes as an argument, and timers are data ([`TaskState::wake_at`]).
//!
//! The shell keeps one [`TaskState`] per task, writes each new one down before it carries out the actions that came
//! with it, and brings the outcome of every action back as an [`Observation`]. An outcome that no longer matters is
//! ignored, so the shell need not know which do.

mod action;
mod dependencies;
mod health;
mod observation;
mod recover;
mod start;
mod state;
mod stop;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use action::RuntimeAction;
pub use health::{HealthWatch, Probe, ProbeOutcome, Standing, judge};
pub use observation::{FoundContainer, FoundState, Observation};
pub use state::TaskState;

use crate::model::{DesiredStatus, Timestamp};
use state::{ContainerPhase, Exit, NetworkPhase};

/// The state after `observation`, and what to do now, in order.
///
/// Statuses only move forward. A task that has stopped stays as it is, and nothing more is done about it. Actions that
/// come together may be carried out at the same time.
#[must_use]
pub fn step(state: &TaskState, observation: &Observation, now: Timestamp) -> (TaskState, Vec<RuntimeAction>) {
    let mut next = state.clone();
    let mut actions = Vec::new();
    if next.is_stopped() {
        return (next, actions);
    }
    observe(&mut next, observation, now, &mut actions);
    if next.stop.is_none() {
        start::advance(&mut next, now, &mut actions);
    }
    if next.stop.is_some() {
        stop::advance(&mut next, now, &mut actions);
    }
    assert!(next.status >= state.status, "a task's status never moves back");
    (next, actions)
}

/// Notes what was observed; what follows from it is decided afterwards.
fn observe(state: &mut TaskState, observation: &Observation, now: Timestamp, actions: &mut Vec<RuntimeAction>) {
    match observation {
        Observation::Assigned(DesiredStatus::Running) | Observation::Tick => {}
        Observation::Assigned(DesiredStatus::Stopped) => state.wish_stop(),
        Observation::Fenced { after_ms } => state.fence(*after_ms),
        Observation::ImagePulled { container, digest } => {
            if let Some(found) = state.container_in(container, |phase| matches!(phase, ContainerPhase::Pulling)) {
                found.phase = ContainerPhase::Pulled;
                found.image_digest = Some(digest.clone());
            }
        }
        Observation::ImagePullFailed { container, reason } => {
            if state
                .container_in(container, |phase| matches!(phase, ContainerPhase::Pulling))
                .is_some()
            {
                state.fail_container(container, reason, now);
            }
        }
        Observation::NetworkReady { bindings, interface } => {
            if state.network == NetworkPhase::SettingUp {
                state.network = NetworkPhase::Up;
                state.bind_ports(bindings);
                state.network_interface.clone_from(interface);
            }
        }
        Observation::NetworkFailed { reason } => {
            if state.network == NetworkPhase::SettingUp {
                state.network = NetworkPhase::Broken;
                state.fail_to_start(reason);
            }
        }
        Observation::ContainerCreated { container } => {
            if let Some(found) = state.container_in(container, |phase| matches!(phase, ContainerPhase::Creating)) {
                found.phase = ContainerPhase::Created;
            }
        }
        Observation::ContainerStarted { container, runtime_id } => {
            let starting =
                |phase: &ContainerPhase| matches!(phase, ContainerPhase::Starting | ContainerPhase::Restarting);
            if let Some(found) = state.container_in(container, starting) {
                found.begin(runtime_id, now);
                actions.push(RuntimeAction::WatchContainer {
                    container: container.clone(),
                });
            }
        }
        Observation::ContainerFailed { container, reason } => {
            let starting =
                |phase: &ContainerPhase| matches!(phase, ContainerPhase::Creating | ContainerPhase::Starting);
            if state.container_in(container, starting).is_some() {
                state.fail_container(container, reason, now);
            } else {
                state.fail_restart(container, reason, now);
            }
        }
        Observation::ContainerExited {
            container,
            exit_code,
            reason,
            at,
        } => {
            if state.container_in(container, ContainerPhase::may_exit).is_some() {
                let exit = Exit {
                    code: *exit_code,
                    reason: reason.clone(),
                    at: *at,
                };
                state.take_exit(container, exit, actions);
            }
        }
        Observation::HealthChanged { container, status } => {
            if let Some(found) = state.container_in(container, |phase| *phase == ContainerPhase::Running) {
                found.health = found.health.map(|_| *status);
            }
        }
        Observation::StopFailed { .. }
        | Observation::ContainerRemoved { .. }
        | Observation::RemoveFailed { .. }
        | Observation::NetworkTornDown
        | Observation::TearDownFailed { .. } => stop::observe(state, observation, now),
        Observation::Recovered { containers } => recover::observe(state, containers, now, actions),
    }
}
