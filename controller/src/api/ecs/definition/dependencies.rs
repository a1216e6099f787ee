//! What containers of a task definition wait for before they start, as requests carry it. Pure.

use std::collections::BTreeSet;

use berth_aws::AwsError;
use berth_aws::ecs::{ContainerCondition, ContainerDependency as AwsDependency};
use berth_core::model::{ContainerDefinition, ContainerDependency, DependencyCondition};

use crate::api::errors::client;

/// Reads what a container depends on.
///
/// # Errors
/// `ClientException` for a condition that ECS does not know.
pub(super) fn from_request(container: &str, given: Vec<AwsDependency>) -> Result<Vec<ContainerDependency>, AwsError> {
    let read = |given: AwsDependency| {
        let condition = match given.condition {
            Some(ContainerCondition::Start) => DependencyCondition::Start,
            Some(ContainerCondition::Complete) => DependencyCondition::Complete,
            Some(ContainerCondition::Success) => DependencyCondition::Success,
            Some(ContainerCondition::Healthy) => DependencyCondition::Healthy,
            None => {
                return Err(invalid(
                    container,
                    "must have a condition: START, COMPLETE, SUCCESS or HEALTHY.",
                ));
            }
        };
        Ok(ContainerDependency {
            container_name: given.container_name.unwrap_or_default(),
            condition,
        })
    };
    given.into_iter().map(read).collect()
}

/// Refuses dependencies that could never be met (ECS's rules).
///
/// # Errors
/// `ClientException` that names the container and why.
pub(super) fn check(containers: &[ContainerDefinition]) -> Result<(), AwsError> {
    for container in containers {
        for dependency in &container.depends_on {
            check_one(containers, container, dependency)?;
        }
    }
    check_no_circle(containers)
}

fn check_one(
    containers: &[ContainerDefinition],
    container: &ContainerDefinition,
    dependency: &ContainerDependency,
) -> Result<(), AwsError> {
    let (name, condition) = (&dependency.container_name, dependency.condition);
    let refuse = |why: &str| Err(invalid(&container.name, why));
    if *name == container.name {
        return refuse("names the container itself.");
    }
    let Some(found) = containers.iter().find(|c| c.name == *name) else {
        return refuse(&format!(
            "names the container '{name}', which the task definition does not have."
        ));
    };
    if condition.asks_for_an_end() && found.essential {
        let condition = condition.as_str();
        return refuse(&format!(
            "has the condition {condition} for the essential container '{name}': its end ends the task."
        ));
    }
    let has_check = found
        .health_check
        .as_ref()
        .is_some_and(|check| check.arguments().is_some());
    if condition == DependencyCondition::Healthy && !has_check {
        return refuse(&format!(
            "has the condition HEALTHY for the container '{name}', which has no health check."
        ));
    }
    Ok(())
}

/// Takes away containers that depend on none that is left, until none is; what is left goes in circles.
fn check_no_circle(containers: &[ContainerDefinition]) -> Result<(), AwsError> {
    let mut left: BTreeSet<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    loop {
        let is_free = |c: &&ContainerDefinition| !c.depends_on.iter().any(|d| left.contains(d.container_name.as_str()));
        let free: Vec<&str> = containers
            .iter()
            .filter(is_free)
            .map(|c| c.name.as_str())
            .filter(|name| left.contains(name))
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    match left.first() {
        None => Ok(()),
        Some(first) => {
            let names: Vec<&str> = left.iter().copied().collect();
            Err(invalid(
                first,
                &format!("goes in a circle: {} wait for each other.", names.join(", ")),
            ))
        }
    }
}

fn invalid(container: &str, why: &str) -> AwsError {
    client(format!(
        "Invalid setting for container '{container}'. 'dependsOn' {why}"
    ))
}
