//! Commands on tags.

use std::sync::Arc;

use crate::model::{Alarm, CapacityProvider, Cluster, ContainerInstance, Service, Tags, Task, TaskDefinition};

use super::{ClusterState, Event, Feature, MAX_TAGS, Rejection, Taggable, task_definitions};

pub(super) fn tag(state: &mut ClusterState, resource: &Taggable, tags: &Tags) -> Result<Vec<Event>, Rejection> {
    change(state, resource, |all| all.extend(tags.clone()))
}

pub(super) fn untag(state: &mut ClusterState, resource: &Taggable, keys: &[String]) -> Result<Vec<Event>, Rejection> {
    change(state, resource, |all| all.retain(|key, _| !keys.contains(key)))
}

/// Whether a tag is one that ECS sets, which does not count among those that a resource can carry.
fn is_managed(key: &str) -> bool {
    key.starts_with("aws:")
}

fn change(
    state: &mut ClusterState,
    resource: &Taggable,
    change: impl FnOnce(&mut Tags),
) -> Result<Vec<Event>, Rejection> {
    let counts_all = !state.uses(Feature::UncountedManagedTags);
    let checked = |tags: &mut Tags| {
        change(tags);
        let counted = tags.keys().filter(|key| counts_all || !is_managed(key));
        if counted.count() > MAX_TAGS {
            Err(Rejection::TooManyTags)
        } else {
            Ok(())
        }
    };
    match resource {
        Taggable::Cluster(key) => {
            let mut cluster = Cluster::clone(state.active_cluster(key)?);
            checked(&mut cluster.tags)?;
            state.clusters.insert(key.clone(), Arc::new(cluster));
        }
        Taggable::Service(key) => {
            let mut service = Service::clone(state.active_service(key)?);
            checked(&mut service.tags)?;
            state.services.insert(key.clone(), Arc::new(service));
        }
        Taggable::Task(id) => {
            let mut task = Task::clone(state.task(*id).ok_or(Rejection::TaskNotFound(*id))?);
            checked(&mut task.blueprint_mut().tags)?;
            state.put_task(task);
        }
        Taggable::TaskDefinition(key) => {
            let found = state
                .task_definition(key)
                .ok_or_else(|| Rejection::TaskDefinitionNotFound(key.clone()))?;
            let mut definition = TaskDefinition::clone(found);
            checked(&mut definition.tags)?;
            task_definitions::put(state, Arc::new(definition));
        }
        Taggable::ContainerInstance(id) => {
            let mut instance = ContainerInstance::clone(state.live_instance(*id)?);
            checked(&mut instance.tags)?;
            state.put_instance(instance);
        }
        Taggable::CapacityProvider(key) => {
            let mut provider = CapacityProvider::clone(state.existing_capacity_provider(key)?);
            checked(&mut provider.tags)?;
            state.capacity_providers.insert(key.clone(), Arc::new(provider));
        }
        Taggable::Alarm(key) => {
            let mut alarm = Alarm::clone(state.existing_alarm(key)?);
            checked(&mut alarm.tags)?;
            state.alarms.insert(key.clone(), Arc::new(alarm));
        }
    }
    Ok(vec![Event::TagsChanged(resource.clone())])
}
