//! What a name or ARN in a request means. An ARN of another account, region or cluster is the caller's mistake and refused, never taken
//! by its last part. Pure.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::berth::errors::RESOURCE_NOT_FOUND;
use berth_aws::ecs::Failure;
use berth_core::model::{
    Arn, ArnResource, Cluster, ClusterKey, ContainerInstance, ContainerInstanceId, Family, Scope, Service, ServiceKey,
    Task, TaskDefinition, TaskDefinitionKey, TaskDefinitionStatus, TaskId,
};
use berth_core::state::ClusterState;

use crate::api::errors::{self, invalid};

/// The cluster that a request without one means.
const DEFAULT_CLUSTER: &str = "default";
/// Longest identifier that is looked at (ECS: 255 characters for names; an ARN adds its prefix).
const MAX_IDENTIFIER: usize = 2048;

/// The key of the cluster that a request names; it need not exist.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another account or region.
pub(crate) fn cluster_key(scope: &Scope, given: Option<&str>) -> Result<ClusterKey, AwsError> {
    let text = given.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_CLUSTER);
    match arn_in(scope, text)? {
        None => Ok(scope.cluster(text)),
        Some(ArnResource::Cluster(name)) => Ok(scope.cluster(&name)),
        Some(_) => Err(invalid(format!("Invalid identifier: {text} is not a cluster."))),
    }
}

/// The cluster that a request names.
///
/// # Errors
/// As [`cluster_key`], and `ClusterNotFoundException`.
pub(crate) fn active_cluster<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    given: Option<&str>,
) -> Result<&'s Arc<Cluster>, AwsError> {
    let key = cluster_key(scope, given)?;
    state
        .active_cluster(&key)
        .map_err(|rejection| errors::rejection(&rejection))
}

/// The key of the service that a request names within `cluster`; it need not exist.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another account, region or cluster.
pub(crate) fn service_key(cluster: &ClusterKey, text: &str) -> Result<ServiceKey, AwsError> {
    match arn_in(&cluster.scope, text)? {
        None => Ok(cluster.service(text)),
        Some(ArnResource::Service { cluster: of, service }) => {
            same_cluster(cluster, of.as_deref())?;
            Ok(cluster.service(&service))
        }
        Some(_) => Err(invalid(format!("Invalid identifier: {text} is not a service."))),
    }
}

/// A service or managed daemon of `cluster`, the latter as `daemon:NAME`, which is the group of its tasks, or by its ARN. It exists, in whatever
/// status.
///
/// # Errors
/// As [`service`].
pub(crate) fn service_or_daemon<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    text: &str,
) -> Result<&'s Arc<Service>, AwsError> {
    let named = cluster.service(text);
    let key = if named.is_of_daemon() {
        named
    } else if let Some(ArnResource::Daemon { cluster: of, daemon }) = arn_in(&cluster.scope, text)? {
        same_cluster(cluster, Some(&of))?;
        cluster.daemon(&daemon)
    } else {
        return service(state, cluster, text);
    };
    state.service(&key).ok_or_else(|| errors::named_service_not_found(&key))
}

/// A service of `cluster` that exists, in whatever status, with an error that names it: for requests of Berth's own. Those of ECS look their
/// [`service_key`] up and say what ECS says.
///
/// # Errors
/// As [`service_key`], and `ServiceNotFoundException`.
pub(crate) fn service<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    text: &str,
) -> Result<&'s Arc<Service>, AwsError> {
    let key = service_key(cluster, text)?;
    state.service(&key).ok_or_else(|| errors::named_service_not_found(&key))
}

/// A name or ARN, looked up: found, or its ARN for `failures[]`.
#[derive(Debug)]
pub(crate) enum Lookup<'s, T> {
    /// It exists.
    Found(&'s Arc<T>),
    /// It does not; this would be its ARN.
    Missing(String),
}

/// A task of `cluster`.
///
/// # Errors
/// `InvalidParameterException` for text that cannot be a task's id, and for an ARN of something else.
pub(crate) fn task<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    text: &str,
) -> Result<Lookup<'s, Task>, AwsError> {
    let id = match arn_in(&cluster.scope, text)? {
        None => text.to_owned(),
        Some(ArnResource::Task { cluster: of, id }) => {
            same_cluster(cluster, of.as_deref())?;
            id
        }
        Some(_) => return Err(invalid(format!("Invalid identifier: {text} is not a task."))),
    };
    if id.len() != 32 && id.len() != 36 {
        return Err(invalid("taskId length should be one of [32,36]"));
    }
    let found = id.parse::<TaskId>().ok().and_then(|id| state.task(id));
    Ok(match found.filter(|task| task.cluster == *cluster) {
        Some(task) => Lookup::Found(task),
        None => Lookup::Missing(cluster.arn_of("task", &id)),
    })
}

/// A container instance of `cluster`, deregistered ones included as long as they are remembered.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else.
pub(crate) fn container_instance<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    text: &str,
) -> Result<Lookup<'s, ContainerInstance>, AwsError> {
    let id = match arn_in(&cluster.scope, text)? {
        None => text.to_owned(),
        Some(ArnResource::ContainerInstance { cluster: of, id }) => {
            same_cluster(cluster, of.as_deref())?;
            id
        }
        Some(_) => {
            return Err(invalid(format!(
                "Invalid identifier: {text} is not a container instance."
            )));
        }
    };
    let found = id
        .parse::<ContainerInstanceId>()
        .ok()
        .and_then(|id| state.container_instance(id));
    Ok(match found.filter(|instance| instance.cluster == *cluster) {
        Some(instance) => Lookup::Found(instance),
        None => Lookup::Missing(cluster.arn_of("container-instance", &id)),
    })
}

/// The container instance that a request of Berth's own API means, in the cluster that it names.
///
/// # Errors
/// As [`active_cluster`] and [`container_instance`]; `ResourceNotFoundException` if there is none.
pub(crate) fn existing_host(
    state: &ClusterState,
    scope: &Scope,
    cluster: Option<&str>,
    text: &str,
) -> Result<Arc<ContainerInstance>, AwsError> {
    let cluster = active_cluster(state, scope, cluster)?;
    match container_instance(state, &cluster.key, text)? {
        Lookup::Found(host) => Ok(Arc::clone(host)),
        Lookup::Missing(arn) => Err(RESOURCE_NOT_FOUND.error(format!("There is no container instance {arn}."))),
    }
}

/// The revision that a request names: `family` (its newest active revision), `family:revision` or an ARN. `None` if there is none.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another account or region.
pub(crate) fn task_definition<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    text: &str,
) -> Result<Option<&'s Arc<TaskDefinition>>, AwsError> {
    let name = match text.strip_prefix("arn:") {
        Some(_) => {
            let (_, name) = text
                .split_once(":task-definition/")
                .ok_or_else(|| invalid(format!("Invalid identifier: {text} is not a task definition.")))?;
            // An ARN without revision means the newest one; the parser of ARNs wants a revision.
            let complete = if name.contains(':') {
                text.to_owned()
            } else {
                format!("{text}:1")
            };
            arn_in(scope, &complete)?;
            name
        }
        None => text,
    };
    let Some((family, revision)) = name.split_once(':') else {
        return Ok(state.latest_task_definition(scope, &Family::from(name)));
    };
    let revision = revision
        .parse()
        .map_err(|_| invalid(format!("Invalid revision number. Number: {revision}")))?;
    let key = TaskDefinitionKey {
        scope: scope.clone(),
        family: family.into(),
        revision,
    };
    Ok(state.task_definition(&key))
}

/// The revision that new tasks are to use.
///
/// # Errors
/// As [`task_definition`], and `ClientException` for one that does not exist or is inactive.
pub(crate) fn usable_task_definition<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    given: Option<&str>,
) -> Result<&'s Arc<TaskDefinition>, AwsError> {
    let text = given
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid("TaskDefinition can not be blank."))?;
    let definition = task_definition(state, scope, text)?.ok_or_else(|| errors::client("TaskDefinition not found."))?;
    if definition.status != TaskDefinitionStatus::Active {
        return Err(errors::client("TaskDefinition is inactive"));
    }
    Ok(definition)
}

/// An entry of `failures[]` for something that does not exist; waiters depend on the reason.
pub(crate) fn missing(arn: String) -> Failure {
    Failure {
        arn: Some(arn),
        reason: Some("MISSING".to_owned()),
        detail: None,
    }
}

/// What an ARN names, `None` for text that is no ARN.
///
/// # Errors
/// `InvalidParameterException` for an ARN that is malformed or of another account or region.
pub(crate) fn arn_in(scope: &Scope, text: &str) -> Result<Option<ArnResource>, AwsError> {
    if text.is_empty() || text.len() > MAX_IDENTIFIER {
        return Err(invalid("Identifier was null, blank or too long."));
    }
    if !text.starts_with("arn:") {
        return match text.contains(['/', ':']) {
            true => Err(invalid(format!("Invalid identifier: {text}"))),
            false => Ok(None),
        };
    }
    let arn = Arn::parse(text).ok_or_else(|| invalid(format!("Invalid identifier: {text}")))?;
    if arn.scope.account != scope.account {
        return Err(invalid(format!(
            "Identifier is for account {}. Your accountId is {}",
            arn.scope.account, scope.account
        )));
    }
    if arn.scope.region != scope.region {
        return Err(invalid(format!(
            "Identifier is for {}. Your region is {}",
            arn.scope.region, scope.region
        )));
    }
    Ok(Some(arn.resource))
}

fn same_cluster(cluster: &ClusterKey, of: Option<&str>) -> Result<(), AwsError> {
    match of {
        Some(of) if of != cluster.name.as_str() => Err(invalid(format!(
            "Identifier is for cluster {of}. Your cluster is {}",
            cluster.name
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new("123456789012", "us-east-1")
    }

    #[test]
    fn cluster_absent_named_or_by_arn_is_the_same() {
        let scope = scope();
        let expected = scope.cluster("default");
        assert_eq!(cluster_key(&scope, None).as_ref(), Ok(&expected));
        assert_eq!(cluster_key(&scope, Some("default")).as_ref(), Ok(&expected));
        assert_eq!(cluster_key(&scope, Some(&expected.arn())).as_ref(), Ok(&expected));
    }

    #[test]
    fn arn_of_another_account_region_or_cluster_is_refused() {
        let scope = scope();
        let elsewhere = Scope::new("123456789012", "eu-west-1").cluster("c").arn();
        let error = cluster_key(&scope, Some(&elsewhere)).expect_err("refused");
        assert_eq!(error.message, "Identifier is for eu-west-1. Your region is us-east-1");
        let foreign = Scope::new("999999999999", "us-east-1").cluster("c").arn();
        let error = cluster_key(&scope, Some(&foreign)).expect_err("refused");
        assert_eq!(
            error.message,
            "Identifier is for account 999999999999. Your accountId is 123456789012"
        );
        let service = scope.cluster("other").service("s").arn();
        let error = service_key(&scope.cluster("mine"), &service).expect_err("refused");
        assert_eq!(error.message, "Identifier is for cluster other. Your cluster is mine");
    }

    #[test]
    fn task_that_does_not_exist_is_missing_and_nonsense_is_refused() {
        let (state, cluster) = (ClusterState::default(), scope().cluster("c"));
        let id = TaskId(7).to_string();
        match task(&state, &cluster, &id).expect("well formed") {
            Lookup::Missing(arn) => assert_eq!(arn, cluster.task_arn(TaskId(7))),
            Lookup::Found(_) => panic!("there is no task"),
        }
        let error = task(&state, &cluster, "nonsense").expect_err("refused");
        assert_eq!(error.message, "taskId length should be one of [32,36]");
    }
}
