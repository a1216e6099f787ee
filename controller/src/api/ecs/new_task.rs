//! Tasks as `RunTask` and `StartTask` make them, and what holds for every task that is asked for. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{PropagateTags, Tag, TaskOverride as AwsTaskOverride};
use berth_core::model::{
    CapacityProviderStrategy, ClusterKey, NetworkConfiguration, PlacementConstraint, PlacementStrategy, Tags, Task,
    TaskDefinition, TaskOrigin, TaskOverride, Timestamp, is_group_of_daemon, launch_type_of,
};
use berth_core::state::MAX_TAGS;

use super::overrides;
use super::tags::{self, Carrier};

use crate::api::errors::invalid;

/// Longest `group` (ECS: 255 characters).
const MAX_GROUP: usize = 255;
/// Longest `startedBy` (ECS: 128 characters).
const MAX_STARTED_BY: usize = 128;
/// Tag that ECS puts on tasks with managed tags.
const CLUSTER_NAME_TAG: &str = "aws:ecs:clusterName";

/// What a request says of the tasks that it asks for.
#[derive(Debug, Default)]
pub(super) struct TaskInput {
    pub(super) group: Option<String>,
    pub(super) started_by: Option<String>,
    pub(super) launch_type: Option<String>,
    pub(super) capacity: CapacityProviderStrategy,
    pub(super) overrides: Option<AwsTaskOverride>,
    pub(super) tags: Option<Vec<Tag>>,
    pub(super) propagate_tags: Option<PropagateTags>,
    pub(super) managed_tags: bool,
    pub(super) network: Option<NetworkConfiguration>,
    pub(super) constraints: Vec<PlacementConstraint>,
    pub(super) strategies: Vec<PlacementStrategy>,
}

/// A task of `definition` that has no id and no host yet.
///
/// # Errors
/// `InvalidParameterException` or `ClientException` for what ECS refuses.
pub(super) fn prototype(
    cluster: &ClusterKey,
    definition: &TaskDefinition,
    input: TaskInput,
    now: Timestamp,
) -> Result<Task, AwsError> {
    let overrides = overrides::from_request(definition, input.overrides)?;
    let mut placement_constraints =
        definition.required_attributes(input.network.as_ref(), input.launch_type.as_deref(), &input.capacity);
    placement_constraints.extend(definition.placement_constraints.iter().cloned());
    placement_constraints.extend(input.constraints);
    let mut task = Task::new(cluster.clone(), definition, TaskOrigin::Standalone, now);
    let blueprint = task.blueprint_mut();
    blueprint.group = group(definition, input.group)?;
    blueprint.started_by = started_by(input.started_by)?;
    blueprint.launch_type = launch_type_of(&input.capacity, input.launch_type.as_deref()).map(str::to_owned);
    blueprint.reservation = overrides::reservation(definition, &overrides);
    blueprint.placement_constraints = placement_constraints;
    blueprint.placement_strategy = input.strategies;
    blueprint.tags = all_tags(
        cluster,
        definition,
        input.tags,
        input.propagate_tags,
        input.managed_tags,
    )?;
    blueprint.overrides = without_nothing(overrides);
    Ok(task)
}

/// Leaves out overrides that name a container and change nothing of it.
fn without_nothing(mut overrides: TaskOverride) -> TaskOverride {
    overrides.containers.retain(|c| {
        let nothing = berth_core::model::ContainerOverride {
            name: c.name.clone(),
            ..Default::default()
        };
        *c != nothing
    });
    overrides
}

fn group(definition: &TaskDefinition, given: Option<String>) -> Result<String, AwsError> {
    let Some(group) = given.filter(|group| !group.is_empty()) else {
        return Ok(format!("family:{}", definition.key.family));
    };
    if group.starts_with("service:") || is_group_of_daemon(&group) {
        return Err(invalid("Invalid namespace for group."));
    }
    if group.chars().count() > MAX_GROUP {
        return Err(invalid(format!(
            "The group must not be longer than {MAX_GROUP} characters."
        )));
    }
    Ok(group)
}

fn started_by(given: Option<String>) -> Result<Option<String>, AwsError> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // The documentation names letters, numbers, hyphens, underscores and slashes; ECS itself minds the length alone, and tools that people use
    // write whatever they like.
    if text.chars().count() > MAX_STARTED_BY {
        return Err(invalid(format!("startedBy longer than {MAX_STARTED_BY}.")));
    }
    Ok(Some(text))
}

fn all_tags(
    cluster: &ClusterKey,
    definition: &TaskDefinition,
    own: Option<Vec<Tag>>,
    propagate: Option<PropagateTags>,
    managed: bool,
) -> Result<Tags, AwsError> {
    let mut all = match propagate {
        None | Some(PropagateTags::None) => Tags::new(),
        Some(PropagateTags::TaskDefinition) => definition.tags.clone(),
        Some(PropagateTags::Service) => {
            return Err(invalid(
                "propagateTags cannot be SERVICE for a task that belongs to no service.",
            ));
        }
    };
    all.extend(tags::from_request(Carrier::Task, own)?);
    if all.len() > MAX_TAGS {
        return Err(invalid(format!("A resource can have at most {MAX_TAGS} tags.")));
    }
    // What ECS sets does not count.
    if managed {
        all.insert(CLUSTER_NAME_TAG.to_owned(), cluster.name.as_str().to_owned());
    }
    Ok(all)
}
