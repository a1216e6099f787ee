//! The order in which the containers of a task start and stop: ECS's `dependsOn`. Pure.
//!
//! A container starts once each container that it depends on is as far as that is asked of it, and stops once each that depends on it has ended.

use std::collections::BTreeSet;

use crate::model::{ContainerDependency, DependencyCondition, HealthStatus, Timestamp};

use super::state::{ContainerPhase, ContainerState, TaskState};

/// Whether a container may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Not yet.
    Waits,
    /// Never, for this reason.
    Never(String),
}

/// Whether the container at `index` may start at `now`.
pub(super) fn turn(state: &TaskState, index: usize, now: Timestamp) -> Turn {
    let container = &state.containers[index];
    let mut turn = Turn::Now;
    for dependency in &container.depends_on {
        let Some(found) = found(state, dependency) else {
            continue;
        };
        match of_one(found, dependency.condition, now) {
            Turn::Now => {}
            Turn::Never(why) => {
                let condition = dependency.condition.as_str();
                return Turn::Never(format!(
                    "CannotStartContainerError: container {} depends on container {} being {condition}: {why}",
                    container.name, found.name
                ));
            }
            Turn::Waits => turn = Turn::Waits,
        }
    }
    turn
}

fn of_one(container: &ContainerState, condition: DependencyCondition, now: Timestamp) -> Turn {
    let is_over = container.phase.is_over();
    let is_met = match condition {
        DependencyCondition::Start => container.began_at.is_some(),
        DependencyCondition::Complete => is_over && container.began_at.is_some(),
        DependencyCondition::Success => is_over && container.exit_code == Some(0),
        DependencyCondition::Healthy => !is_over && container.health == Some(HealthStatus::Healthy),
    };
    if is_met {
        return Turn::Now;
    }
    if is_over {
        let code = container
            .exit_code
            .map(|code| format!("it ended with exit code {code}"));
        return Turn::Never(code.unwrap_or_else(|| "it has ended".to_owned()));
    }
    match deadline(container).filter(|until| *until <= now) {
        Some(_) => {
            let secs = container.start_timeout_secs.unwrap_or_default();
            Turn::Never(format!("it was not within its startTimeout of {secs} s"))
        }
        None => Turn::Waits,
    }
}

/// When a container that waits for others gives up, if nothing happens before.
pub(super) fn gives_up_at(state: &TaskState) -> Option<Timestamp> {
    let waiting = state.containers.iter().filter(|c| c.phase == ContainerPhase::Pulled);
    let others = waiting.flat_map(|c| &c.depends_on);
    let awaited = others.filter_map(|other| {
        let container = found(state, other)?;
        let is_awaited = of_one(container, other.condition, Timestamp(i64::MIN)) == Turn::Waits;
        is_awaited.then(|| deadline(container)).flatten()
    });
    awaited.min()
}

/// Containers on which others depend that are not over. None, where each waits for another: then they stop together, rather than never.
pub(super) fn still_needed(state: &TaskState) -> BTreeSet<String> {
    let live = || state.containers.iter().filter(|c| !c.phase.is_over());
    let others = live().flat_map(|c| &c.depends_on);
    let needed: BTreeSet<String> = others.map(|other| other.container_name.clone()).collect();
    if live().all(|c| needed.contains(&c.name)) {
        return BTreeSet::new();
    }
    needed
}

fn found<'s>(state: &'s TaskState, dependency: &ContainerDependency) -> Option<&'s ContainerState> {
    state.containers.iter().find(|c| c.name == dependency.container_name)
}

/// Until when a container has to be what others wait for.
fn deadline(container: &ContainerState) -> Option<Timestamp> {
    let (secs, began_at) = container.start_timeout_secs.zip(container.began_at)?;
    (!container.phase.is_over()).then(|| began_at.plus_ms(i64::from(secs) * 1_000))
}
