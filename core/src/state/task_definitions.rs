//! Commands on task definitions.

use std::sync::Arc;

use crate::model::{TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus, Timestamp};

use super::{ClusterState, Event, MAX_TAGS, Rejection};

pub(super) fn register(state: &mut ClusterState, definition: &TaskDefinition) -> Result<Vec<Event>, Rejection> {
    if definition.tags.len() > MAX_TAGS {
        return Err(Rejection::TooManyTags);
    }
    let family = (definition.key.scope.clone(), definition.key.family.clone());
    let revision = state.last_revisions.get(&family).copied().unwrap_or(0) + 1;
    state.last_revisions.insert(family, revision);
    let mut definition = definition.clone();
    definition.key.revision = revision;
    let key = definition.key.clone();
    state.task_definitions.insert(key.clone(), Arc::new(definition));
    Ok(vec![Event::TaskDefinitionRegistered(key)])
}

pub(super) fn deregister(
    state: &mut ClusterState,
    key: &TaskDefinitionKey,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let definition = state
        .task_definition(key)
        .ok_or_else(|| Rejection::TaskDefinitionNotFound(key.clone()))?;
    if definition.status == TaskDefinitionStatus::Inactive {
        return Ok(vec![]);
    }
    let mut definition = TaskDefinition::clone(definition);
    definition.status = TaskDefinitionStatus::Inactive;
    definition.deregistered_at = Some(at);
    state.task_definitions.insert(key.clone(), Arc::new(definition));
    Ok(vec![Event::TaskDefinitionDeregistered(key.clone())])
}
