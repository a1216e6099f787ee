//! Commands on attributes that users put on hosts.

use crate::model::{ContainerInstance, ContainerInstanceId};

use super::{ClusterState, Event, MAX_ATTRIBUTES, Rejection, container_instances};

pub(super) fn put(
    state: &mut ClusterState,
    attributes: &[(ContainerInstanceId, String, Option<String>)],
) -> Result<Vec<Event>, Rejection> {
    let mut trial = state.clone();
    let mut events = vec![];
    for (id, name, value) in attributes {
        let mut instance = ContainerInstance::clone(trial.live_instance(*id)?);
        instance.user_attributes.insert(name.clone(), value.clone());
        if instance.user_attributes.len() > MAX_ATTRIBUTES {
            return Err(Rejection::TooManyAttributes(*id));
        }
        events.push(container_instances::put_changed(&mut trial, instance));
    }
    *state = trial;
    Ok(events)
}

pub(super) fn delete(
    state: &mut ClusterState,
    attributes: &[(ContainerInstanceId, String)],
) -> Result<Vec<Event>, Rejection> {
    let mut trial = state.clone();
    let mut events = vec![];
    for (id, name) in attributes {
        let mut instance = ContainerInstance::clone(trial.live_instance(*id)?);
        if instance.user_attributes.remove(name).is_none() {
            return Err(Rejection::AttributeNotFound {
                container_instance: *id,
                name: name.clone(),
            });
        }
        events.push(container_instances::put_changed(&mut trial, instance));
    }
    *state = trial;
    Ok(events)
}
