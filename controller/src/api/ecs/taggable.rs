//! Resources that carry tags, by their ARNs: what the tagging operations work on. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::errors as ecs;
use berth_core::model::{ArnResource, ContainerInstanceStatus, Family, Scope, ServiceStatus, Tags, TaskDefinitionKey};
use berth_core::state::{ClusterState, Rejection, Taggable};

use super::references::{self, Lookup};
use crate::api::errors::{self, invalid};
use crate::api::ports::ProposeFailure;

/// The resource of an ARN and its tags, or `None` if there is none.
///
/// # Errors
/// `InvalidParameterException` for text that is no ARN of something that carries tags in this account and region,
/// `ClusterNotFoundException` for a cluster that is not there.
pub(crate) fn find<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    arn: Option<&str>,
) -> Result<Option<(Taggable, &'s Tags)>, AwsError> {
    let text = arn.unwrap_or_default();
    let long_form = || invalid("Long arn format must be used for tagging operations");
    let Some(resource) = references::arn_in(scope, text)? else {
        return Err(invalid(format!("Invalid arn syntax: {text}")));
    };
    Ok(match resource {
        ArnResource::Cluster(name) => {
            let key = scope.cluster(&name);
            let cluster = state.active_cluster(&key).map_err(|e| errors::rejection(&e))?;
            Some((Taggable::Cluster(key), &cluster.tags))
        }
        ArnResource::Service { cluster, service } => {
            let key = scope.cluster(&cluster.ok_or_else(long_form)?).service(&service);
            let found = state.service(&key);
            found.map(|service| (Taggable::Service(key), &service.tags))
        }
        ArnResource::Daemon { cluster, daemon } => {
            let key = scope.cluster(&cluster).daemon(&daemon);
            let found = state.service(&key);
            let found = found.filter(|daemon| daemon.status != ServiceStatus::Inactive);
            found.map(|daemon| (Taggable::Service(key), &daemon.tags))
        }
        ArnResource::ServiceDeployment { .. }
        | ArnResource::ServiceRevision { .. }
        | ArnResource::TaskSet { .. }
        | ArnResource::DaemonDeployment { .. }
        | ArnResource::DaemonRevision { .. } => {
            return Err(invalid(format!("Invalid identifier: {text} carries no tags.")));
        }
        ArnResource::Task { cluster, .. } => {
            let cluster = scope.cluster(&cluster.ok_or_else(long_form)?);
            match references::task(state, &cluster, text)? {
                Lookup::Found(task) => Some((Taggable::Task(task.id), &task.tags)),
                Lookup::Missing(_) => None,
            }
        }
        ArnResource::ContainerInstance { cluster, .. } => {
            let cluster = scope.cluster(&cluster.ok_or_else(long_form)?);
            match references::container_instance(state, &cluster, text)? {
                Lookup::Found(instance) if instance.status != ContainerInstanceStatus::Inactive => {
                    Some((Taggable::ContainerInstance(instance.id), &instance.tags))
                }
                _ => None,
            }
        }
        ArnResource::CapacityProvider(name) => {
            let key = scope.capacity_provider(&name);
            let found = state.capacity_provider(&key);
            found.map(|provider| (Taggable::CapacityProvider(key), &provider.tags))
        }
        ArnResource::TaskDefinition { family, revision } => of_definition(state, scope, family.into(), revision),
        ArnResource::DaemonTaskDefinition { family, revision } => {
            of_definition(state, scope, Family::for_daemons(&family), revision)
        }
    })
}

fn of_definition<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    family: Family,
    revision: u32,
) -> Option<(Taggable, &'s Tags)> {
    let key = TaskDefinitionKey {
        scope: scope.clone(),
        family,
        revision,
    };
    let found = state.task_definition(&key);
    found.map(|definition| (Taggable::TaskDefinition(key), &definition.tags))
}

/// The error of the operations that change tags, for a resource that is not there.
pub(crate) fn not_found() -> AwsError {
    ecs::RESOURCE_NOT_FOUND.error("The specified resource is not found.")
}

/// The AWS error for tags that could not be changed: the tagging operations have one error for whatever is not there.
pub(crate) fn failure(failure: &ProposeFailure) -> AwsError {
    match failure {
        ProposeFailure::Rejected(
            Rejection::ServiceNotFound(_)
            | Rejection::ServiceNotActive(_)
            | Rejection::TaskNotFound(_)
            | Rejection::CapacityProviderNotFound(_)
            | Rejection::TaskDefinitionNotFound(_)
            | Rejection::ContainerInstanceNotFound(_),
        ) => not_found(),
        other => errors::failure(other),
    }
}
