//! Attributes of container instances in requests and answers. Pure.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::ecs::{Attribute, TargetType, errors as ecs};
use berth_core::model::{ClusterKey, ContainerInstance, ContainerInstanceId, ContainerInstanceStatus};
use berth_core::state::ClusterState;

use super::references::{self, Lookup};
use crate::api::errors::invalid;

/// Most attributes of one request (ECS's limit).
const MAX_IN_REQUEST: usize = 10;
/// Longest name and longest value (ECS's limit).
const MAX_LENGTH: usize = 128;

/// What attributes begin with that tell what a host can do: a task that went by another word of it would not run as it is to.
const CAPABILITIES: [&str; 2] = ["ecs.capability.", "berth."];

/// An attribute of a request, with the host that it speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Targeted {
    /// The host.
    pub(crate) target: ContainerInstanceId,
    /// Name.
    pub(crate) name: String,
    /// Value, where one is given.
    pub(crate) value: Option<String>,
}

/// The attributes of a request.
///
/// # Errors
/// `InvalidParameterException` for what is malformed or given twice, `TargetNotFoundException` for a host that is not in the cluster.
pub(crate) fn from_request(
    state: &ClusterState,
    cluster: &ClusterKey,
    given: Option<Vec<Attribute>>,
) -> Result<Vec<Targeted>, AwsError> {
    let given = given.unwrap_or_default();
    if given.is_empty() {
        return Err(invalid("Attributes cannot be empty."));
    }
    if given.len() > MAX_IN_REQUEST {
        return Err(invalid(format!(
            "At most {MAX_IN_REQUEST} attributes can be given at once."
        )));
    }
    let mut seen = BTreeSet::new();
    let mut result = vec![];
    for attribute in given {
        let attribute = targeted(state, cluster, attribute)?;
        if !seen.insert((attribute.target, attribute.name.clone())) {
            return Err(invalid(format!("The attribute {} is given twice.", attribute.name)));
        }
        result.push(attribute);
    }
    Ok(result)
}

fn targeted(state: &ClusterState, cluster: &ClusterKey, attribute: Attribute) -> Result<Targeted, AwsError> {
    let name = attribute.name.unwrap_or_default();
    check_name(&name)?;
    if let Some(prefix) = CAPABILITIES.iter().find(|prefix| name.starts_with(**prefix)) {
        return Err(invalid(format!(
            "The attribute {name} cannot be put or deleted: what begins with {prefix} is what the agent of a host says that it can do."
        )));
    }
    if let Some(value) = &attribute.value {
        check_value(&name, value)?;
    }
    let target = attribute
        .target_id
        .filter(|target| !target.is_empty())
        .ok_or_else(|| invalid(format!("The attribute {name} has no targetId.")))?;
    if !target.starts_with("arn:") && attribute.target_type != Some(TargetType::ContainerInstance) {
        return Err(invalid(format!(
            "The attribute {name} needs the targetType container-instance, since its targetId is not an ARN."
        )));
    }
    let found = match references::container_instance(state, cluster, &target)? {
        Lookup::Found(instance) => Some(instance).filter(|i| i.status != ContainerInstanceStatus::Inactive),
        Lookup::Missing(_) => None,
    };
    let instance =
        found.ok_or_else(|| ecs::TARGET_NOT_FOUND.error(format!("The specified target was not found: {target}")))?;
    Ok(Targeted {
        target: instance.id,
        name,
        value: attribute.value,
    })
}

/// An attribute that an agent says of its own host.
///
/// # Errors
/// `InvalidParameterException` for a name or a value that no attribute has.
pub(crate) fn of_host(attribute: Attribute) -> Result<(String, Option<String>), AwsError> {
    let name = attribute.name.unwrap_or_default();
    check_name(&name)?;
    let value = attribute.value.filter(|value| !value.is_empty());
    if let Some(value) = &value {
        check_value(&name, value)?;
    }
    Ok((name, value))
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    if name.is_empty() || name.len() > MAX_LENGTH || !name.chars().all(is_allowed) {
        return Err(invalid(format!(
            "The attribute name {name} must be 1 to {MAX_LENGTH} letters, numbers, hyphens, underscores, slashes, back slashes and periods."
        )));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), AwsError> {
    let is_allowed = |c: char| c.is_alphanumeric() || "-_.@/\\: ".contains(c);
    let is_trimmed = !value.starts_with(' ') && !value.ends_with(' ');
    if value.is_empty() || value.chars().count() > MAX_LENGTH || !is_trimmed || !value.chars().all(is_allowed) {
        return Err(invalid(format!(
            "The value of the attribute {name} must be 1 to {MAX_LENGTH} letters, numbers, hyphens, underscores, periods, at signs, slashes, \
             back slashes, colons and spaces, and no space at either end."
        )));
    }
    Ok(())
}

/// An attribute of an answer.
pub(crate) fn render(instance: &ContainerInstance, name: String, value: Option<String>) -> Attribute {
    Attribute {
        name: Some(name),
        value,
        target_type: None,
        target_id: Some(instance.arn()),
    }
}

/// The attributes of a request as its answer repeats them.
pub(crate) fn render_all(cluster: &ClusterKey, attributes: Vec<Targeted>) -> Vec<Attribute> {
    let render = |attribute: Targeted| Attribute {
        name: Some(attribute.name),
        value: attribute.value,
        target_type: None,
        target_id: Some(cluster.container_instance_arn(attribute.target)),
    };
    attributes.into_iter().map(render).collect()
}
