//! Commands on task definitions.

use std::collections::BTreeSet;
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
    put(state, Arc::new(definition));
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
    if definition.status != TaskDefinitionStatus::Active {
        return Ok(vec![]);
    }
    let mut definition = TaskDefinition::clone(definition);
    definition.status = TaskDefinitionStatus::Inactive;
    definition.deregistered_at = Some(at);
    put(state, Arc::new(definition));
    Ok(vec![Event::TaskDefinitionDeregistered(key.clone())])
}

pub(super) fn delete(state: &mut ClusterState, key: &TaskDefinitionKey) -> Result<Vec<Event>, Rejection> {
    let definition = state
        .task_definition(key)
        .ok_or_else(|| Rejection::TaskDefinitionNotFound(key.clone()))?;
    match definition.status {
        TaskDefinitionStatus::Active => return Err(Rejection::TaskDefinitionActive(key.clone())),
        TaskDefinitionStatus::DeleteInProgress => return Ok(vec![]),
        TaskDefinitionStatus::Inactive => {}
    }
    let mut definition = TaskDefinition::clone(definition);
    definition.status = TaskDefinitionStatus::DeleteInProgress;
    put(state, Arc::new(definition));
    Ok(vec![Event::TaskDefinitionDeleted(key.clone())])
}

/// What runs goes on, and a daemon that uses it keeps using it.
pub(super) fn delete_of_daemons(
    state: &mut ClusterState,
    key: &TaskDefinitionKey,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let mut definition = TaskDefinition::clone(state.active_task_definition(key)?);
    definition.status = TaskDefinitionStatus::DeleteInProgress;
    definition.deregistered_at = Some(at);
    put(state, Arc::new(definition));
    Ok(vec![Event::TaskDefinitionDeleted(key.clone())])
}

pub(super) fn forget(state: &mut ClusterState, keys: &[TaskDefinitionKey]) {
    let deleting: BTreeSet<_> = keys.iter().filter(|key| state.index.deleting.contains(*key)).collect();
    let used = state.used_task_definitions(&deleting);
    for key in deleting.into_iter().filter(|key| !used.contains(key)) {
        state.index.deleting.remove(key);
        state.task_definitions.remove(key);
    }
}

/// The one way of writing a revision, which keeps the index of those being deleted in step.
pub(super) fn put(state: &mut ClusterState, definition: Arc<TaskDefinition>) {
    if definition.status == TaskDefinitionStatus::DeleteInProgress {
        state.index.deleting.insert(definition.key.clone());
    }
    state.task_definitions.insert(definition.key.clone(), definition);
}
