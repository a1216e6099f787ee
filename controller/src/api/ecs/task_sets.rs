//! Task sets in requests: which one a request means, how large it is to be, and from when on there are any. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{Scale as GivenScale, TaskSet as AwsTaskSet, errors as ecs};
use berth_core::model::{ArnResource, DeploymentId, Scale, Scope, Service, ServiceKey, TaskSet};
use berth_core::state::{ClusterState, Command, Feature};

use super::{references, render};
use crate::api::context::Api;
use crate::api::errors::{self, invalid};

/// What the id of a task set begins with, which no ARN does.
const ID: &str = "ecs-svc/";

/// Refuses what concerns task sets while there may be controllers that do not know them.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(state.uses(Feature::TaskSets), invalid, "Task sets are not supported")
}

/// The active service that a request about its task sets names.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, and `InvalidParameterException` for a service without
/// task sets and for an ARN of something else.
pub(super) fn service(
    state: &ClusterState,
    scope: &Scope,
    cluster: Option<&str>,
    service: Option<&str>,
) -> Result<Service, AwsError> {
    check_level(state)?;
    let cluster = references::active_cluster(state, scope, cluster)?;
    let key = references::service_key(&cluster.key, service.unwrap_or_default())?;
    let found = state.active_service(&key).map_err(|e| errors::rejection(&e))?;
    if !found.is_external() {
        return Err(no_task_sets(&key));
    }
    Ok(Service::clone(found))
}

/// The id of a task set of `service` that an id or an ARN names, whether or not there is one.
///
/// # Errors
/// `InvalidParameterException` for anything else, and for another service.
pub(super) fn id(service: &ServiceKey, given: &str) -> Result<DeploymentId, AwsError> {
    if given.strip_prefix(ID).is_some_and(|number| !number.is_empty()) {
        return Ok(given.into());
    }
    match references::arn_in(&service.cluster.scope, given)? {
        Some(ArnResource::TaskSet {
            cluster,
            service: of,
            id,
        }) => {
            if (cluster.as_str(), of.as_str()) != (service.cluster.name.as_str(), service.name.as_str()) {
                return Err(invalid(format!(
                    "Identifier is for service {of} of cluster {cluster}. Your service is {} of cluster {}",
                    service.name, service.cluster.name
                )));
            }
            Ok(id.into())
        }
        _ => Err(invalid(format!("Invalid identifier: {given} is not a task set."))),
    }
}

/// The task set that a request changes.
///
/// # Errors
/// As [`id`], and `TaskSetNotFoundException`.
pub(super) fn find<'s>(service: &'s Service, given: Option<&str>) -> Result<&'s TaskSet, AwsError> {
    let id = id(&service.key, given.unwrap_or_default())?;
    service.task_set(&id).ok_or_else(|| not_found(&service.key, &id))
}

/// Has `command` change a task set, and returns it as it is then.
///
/// # Errors
/// What the command is refused for.
pub(super) async fn change(
    api: &Api,
    command: Command,
    service: &ServiceKey,
    id: &DeploymentId,
) -> Result<AwsTaskSet, AwsError> {
    api.propose(command).await?;
    let state = api.read().await?;
    let service = state.service(service).ok_or_else(errors::service_not_found)?;
    let changed = service.task_set(id).ok_or_else(|| not_found(&service.key, id))?;
    Ok(render::task_set(&state, service, changed, true))
}

/// The share of the service's tasks that a request asks for; all of them where it says nothing.
///
/// # Errors
/// `InvalidParameterException` for what is no percentage.
pub(super) fn scale(given: Option<&GivenScale>) -> Result<Scale, AwsError> {
    let Some(percent) = given.and_then(|given| given.value) else {
        return Ok(Scale::WHOLE);
    };
    Scale::of_percent(percent).map_err(|_| {
        invalid(format!(
            "Invalid scale {percent}: the value must be between 0 and 100 percent of the desired count of the service."
        ))
    })
}

/// The error for a task set that is not there.
pub(in crate::api) fn not_found(service: &ServiceKey, id: &DeploymentId) -> AwsError {
    ecs::TASK_SET_NOT_FOUND.error(format!(
        "TaskSet not found: service {} has no task set {id}.",
        service.name
    ))
}

/// The error for a service whose deployments the cluster controls.
pub(in crate::api) fn no_task_sets(service: &ServiceKey) -> AwsError {
    invalid(format!(
        "The service {} has no task sets: only a service that was created with the deployment controller EXTERNAL has. Deploy it with \
         UpdateService.",
        service.name
    ))
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of task sets begin with.

    use berth_aws::ecs::operations::{CreateService, CreateTaskSet, RegisterTaskDefinition};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    /// A service `site` that wants four tasks, and has no task sets yet.
    pub(in crate::api::ecs) async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let controller = json!({"type": "EXTERNAL"});
        let input = json!({"serviceName": "site", "desiredCount": 4, "deploymentController": controller});
        harness.call::<CreateService>(input).await.expect("creates");
        harness
    }

    /// A request for a task set of `site`, with some members more.
    pub(in crate::api::ecs) fn request(more: Value) -> Value {
        let mut request = json!({"cluster": "default", "service": "site", "taskDefinition": "web"});
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        request
    }

    /// Creates a task set of `site`.
    pub(in crate::api::ecs) async fn create(harness: &Harness, more: Value) -> Value {
        let answer = harness.call::<CreateTaskSet>(request(more)).await.expect("creates");
        answer["taskSet"].clone()
    }
}
