//! New tasks of a service: from its definition, with its tags, constraints and strategy. Pure.

use std::sync::Arc;

use crate::model::{
    Deployment, PlacementConstraint, PlacementStrategy, PropagateTags, Service, Tags, Task, TaskDefinition, TaskId,
    TaskOrigin, TaskStatus, Timestamp,
};
use crate::placement;
use crate::state::{ClusterState, Command, MAX_TAGS};

use super::division;
use super::pass::Pass;
use super::placing::Placed;
use super::tally::Tally;

/// Tasks in one command: the largest task (50 tags, ten containers) takes about 25 KiB of the 1 MiB that a command
/// may have.
const MAX_TASKS_PER_COMMAND: usize = 25;

/// A task of `deployment` that has no id and no host yet.
pub(super) fn prototype(
    service: &Service,
    deployment: &Deployment,
    definition: &TaskDefinition,
    now: Timestamp,
) -> Task {
    let origin = TaskOrigin::Service {
        service: service.key.clone(),
        deployment: deployment.id.clone(),
    };
    let mut task = Task::new(service.key.cluster.clone(), definition, origin, now);
    let blueprint = task.blueprint_mut();
    blueprint.started_by = Some(deployment.id.as_str().to_owned());
    blueprint.launch_type = service.launch_type.clone();
    blueprint.placement_constraints = constraints(service, definition);
    // None where the service names none, which is the same to placement.
    blueprint.placement_strategy = service.placement_strategy.clone();
    blueprint.tags = tags(service, definition);
    task
}

/// The task that the service would start next, without an id and a host; `None` if its definition is gone.
#[must_use]
pub fn next_task(state: &ClusterState, service: &Service, now: Timestamp) -> Option<Task> {
    let deployment = service.starting_deployment()?;
    let definition = state.task_definition(&deployment.task_definition)?;
    let current = Tally::of(state, service).current;
    let mut parts = division::of_new(service, &current, 1).into_iter();
    Some(Task {
        capacity_provider: parts.next().and_then(|(provider, _)| provider),
        ..prototype(service, deployment, definition, now)
    })
}

/// What takes the place of a task of the service, without an id and a host: of the same capacity provider, so that shares stay as they are.
pub(super) fn replacement(state: &ClusterState, service: &Service, of: TaskId, now: Timestamp) -> Option<Task> {
    Some(Task {
        capacity_provider: state.task(of).and_then(|task| task.capacity_provider.clone()),
        ..next_task(state, service, now)?
    })
}

/// Creates tasks like `prototype`, with these ids on these hosts; returns those that the state takes.
pub(super) fn start(pass: &mut Pass<'_>, prototype: &Task, placements: &[Placed]) -> Vec<TaskId> {
    let mut started = vec![];
    for placements in placements.chunks(MAX_TASKS_PER_COMMAND) {
        let tasks = placements.iter().map(|placed| task(prototype, placed)).collect();
        if pass.decide(Command::CreateTasks { tasks }) {
            started.extend(placements.iter().map(|placed| placed.task));
        }
    }
    started
}

/// The task like `prototype` with this id on this host.
pub(super) fn task(prototype: &Task, placed: &Placed) -> Task {
    Task {
        id: placed.task,
        container_instance: Some(placed.host),
        placement: placed.record.clone(),
        last_status: TaskStatus::Pending,
        ..prototype.clone()
    }
}

fn constraints(service: &Service, definition: &TaskDefinition) -> Vec<PlacementConstraint> {
    let mut all = service.placement_constraints.clone();
    all.extend(definition.placement_constraints.iter().cloned());
    all
}

/// The service's strategy, or what a service gets that names none.
pub(super) fn strategy(service: &Service) -> Vec<PlacementStrategy> {
    if service.placement_strategy.is_empty() {
        placement::service_default()
    } else {
        service.placement_strategy.clone()
    }
}

/// Managed tags first: where the limit is reached, they are the ones that bills and queries count on.
fn tags(service: &Service, definition: &TaskDefinition) -> Tags {
    let mut tags = Tags::new();
    if service.enable_ecs_managed_tags {
        tags.insert("aws:ecs:clusterName".into(), service.key.cluster.name.as_str().into());
        tags.insert("aws:ecs:serviceName".into(), service.key.name.as_str().into());
    }
    let none = Tags::new();
    let propagated = match service.propagate_tags {
        PropagateTags::None => &none,
        PropagateTags::TaskDefinition => &definition.tags,
        PropagateTags::Service => &service.tags,
    };
    for (key, value) in propagated {
        if tags.len() >= MAX_TAGS {
            break;
        }
        tags.entry(key.clone()).or_insert_with(|| value.clone());
    }
    tags
}

/// The definition of the primary deployment; a service keeps using one that was deregistered.
pub(super) fn definition_of(pass: &Pass<'_>, deployment: &Deployment) -> Option<Arc<TaskDefinition>> {
    pass.state.task_definition(&deployment.task_definition).cloned()
}
