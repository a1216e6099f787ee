//! New tasks of a service: from its definition, with its tags, constraints and strategy. Pure.

use std::sync::Arc;

use crate::model::{
    Deployment, PlacementConstraint, PlacementStrategy, PropagateTags, Service, Tags, Task, TaskDefinition, TaskId,
    TaskOrigin, TaskStatus, Timestamp,
};
use crate::placement;
use crate::state::{ClusterState, Command};

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
    blueprint.launch_type = service.launches_on().map(str::to_owned);
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
    if !placements.is_empty() {
        pass.turn = None;
    }
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
    let mut all = definition.required_attributes(
        service.network_configuration.as_ref(),
        service.launch_type.as_deref(),
        &service.capacity_provider_strategy,
    );
    all.extend(service.placement_constraints.iter().cloned());
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

/// Managed tags, and those of where the service has them from: no more than a resource can carry, since managed ones do not count.
fn tags(service: &Service, definition: &TaskDefinition) -> Tags {
    let mut tags = Tags::new();
    if service.enable_ecs_managed_tags {
        tags.insert("aws:ecs:clusterName".into(), service.key.cluster.name.as_str().into());
        let (key, name) = match service.key.name.of_daemon() {
            Some(name) => ("aws:ecs:daemonName", name),
            None => ("aws:ecs:serviceName", service.key.name.as_str()),
        };
        tags.insert(key.into(), name.into());
    }
    match service.propagate_tags {
        PropagateTags::None => {}
        PropagateTags::TaskDefinition => tags.extend(definition.tags.clone()),
        PropagateTags::Service => tags.extend(service.tags.clone()),
    }
    tags
}

/// The definition of the primary deployment; a service keeps using one that was deregistered.
pub(super) fn definition_of(state: &ClusterState, deployment: &Deployment) -> Option<Arc<TaskDefinition>> {
    state.task_definition(&deployment.task_definition).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DesiredStatus, Resources};
    use crate::reconcile::world::{World, cluster};
    use crate::state::Taggable;

    fn world(change: impl FnOnce(&mut Service)) -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(4096, 4096));
        world.add_definition("web", Resources::new(100, 100), None);
        world.add_service("web", change);
        world
    }

    /// The tags of the one task that is wanted, as `key=value`.
    fn tags_of_task(world: &mut World) -> Vec<String> {
        world.pass_ms(60_000);
        let web = cluster().service("web");
        let mut tasks = world.state.live_tasks_of_service(&web);
        let task = tasks.find(|task| task.desired_status == DesiredStatus::Running);
        let tags = task.expect("it runs").tags.iter();
        tags.map(|(key, value)| format!("{key}={value}")).collect()
    }

    fn tag(world: &mut World, resource: Taggable, key: &str) {
        let tags = [(key.to_owned(), "x".to_owned())].into();
        world.apply(Command::TagResource { resource, tags }).expect("tags");
    }

    #[test]
    fn tasks_have_tags_from_where_their_service_says_when_they_start_and_keep_them() {
        let mut world = world(|service| service.desired_count = 1);
        let definition = world.service("web").deployments[0].task_definition.clone();
        tag(&mut world, Taggable::TaskDefinition(definition), "definition");
        tag(&mut world, Taggable::Service(cluster().service("web")), "service");
        assert_eq!(tags_of_task(&mut world), Vec::<String>::new());
        for (propagate, managed, wanted) in [
            (PropagateTags::TaskDefinition, false, vec!["definition=x"]),
            (PropagateTags::Service, false, vec!["service=x"]),
            (
                PropagateTags::Service,
                true,
                vec!["aws:ecs:clusterName=shop", "aws:ecs:serviceName=web", "service=x"],
            ),
            (
                PropagateTags::None,
                true,
                vec!["aws:ecs:clusterName=shop", "aws:ecs:serviceName=web"],
            ),
        ] {
            let before = tags_of_task(&mut world);
            world.change_service("web", |update| {
                update.propagate_tags = Some(propagate);
                update.enable_ecs_managed_tags = Some(managed);
            });
            assert_eq!(tags_of_task(&mut world), before, "tasks that run keep theirs");
            world.change_service("web", |update| update.force_new_deployment = true);
            assert_eq!(tags_of_task(&mut world), wanted);
        }
    }

    #[test]
    fn tags_of_a_service_that_has_all_it_can_carry_reach_tasks_beside_managed_ones() {
        let mut world = world(|service| {
            service.desired_count = 1;
            service.propagate_tags = PropagateTags::Service;
            service.enable_ecs_managed_tags = true;
            service.tags = (0..crate::state::MAX_TAGS)
                .map(|n| (n.to_string(), String::new()))
                .collect();
        });
        assert_eq!(tags_of_task(&mut world).len(), 52);
        let web = cluster().service("web");
        let task = world.state.live_tasks_of_service(&web).next().expect("it runs").id;
        let tags = [("more".to_owned(), String::new())].into();
        let resource = Taggable::Task(task);
        let refused = world.apply(Command::TagResource { resource, tags });
        assert_eq!(refused, Err(crate::state::Rejection::TooManyTags));
        let resource = Taggable::Task(task);
        let keys = vec!["7".to_owned()];
        world.apply(Command::UntagResource { resource, keys }).expect("untags");
        tag(&mut world, Taggable::Task(task), "other");
    }
}
