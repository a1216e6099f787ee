//! `CreateTaskSet`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{CreateTaskSetRequest, CreateTaskSetResponse};
use berth_core::ids::IdSource;
use berth_core::model::{
    CapacityProviderStrategy, DeploymentId, PlatformVersion, Service, StartBackoff, TaskDefinitionKey, TaskSet,
    TaskSetStatus, launch_type_of,
};
use berth_core::state::{ClientToken, ClusterState, Command};

use super::tags::{self, Carrier};
use super::{capacity_providers, idempotency, launch_type, network_configuration, references, render, task_sets};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};
use crate::api::members::{Honoured, refuse_others};

/// Longest `externalId`: the model has no limit, and a state has.
const MAX_EXTERNAL_ID: usize = 255;

const HONOURED: Honoured = Honoured::Members(&[
    ("service", Honoured::All),
    ("cluster", Honoured::All),
    ("externalId", Honoured::All),
    ("taskDefinition", Honoured::All),
    ("launchType", launch_type::HONOURED),
    ("platformVersion", Honoured::All),
    ("capacityProviderStrategy", Honoured::All),
    ("networkConfiguration", network_configuration::HONOURED),
    ("scale", Honoured::All),
    ("clientToken", Honoured::All),
    ("tags", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    mut input: CreateTaskSetRequest,
) -> Result<CreateTaskSetResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let token = input.client_token.take();
    let digest = idempotency::digest(&input);
    let client_token = idempotency::client_token(call, "CreateTaskSet", token.as_deref(), &digest)?;
    let state = api.read().await?;
    let service = task_sets::service(&state, &call.scope, input.cluster.as_deref(), input.service.as_deref())?;
    let key = service.key.clone();
    if let Some(known) = created_before(&state, client_token.as_ref(), &service)? {
        return Ok(answer(&state, &service, known));
    }
    let cluster = references::active_cluster(&state, &call.scope, Some(key.cluster.name.as_str()))?;
    let definition = references::usable_task_definition(&state, &call.scope, input.task_definition.as_deref())?;
    let launch_type = input.launch_type.as_ref().map(|launch_type| launch_type.as_str());
    let capacity = input.capacity_provider_strategy.take();
    let capacity = capacity_providers::of_request(cluster, input.launch_type.as_ref(), capacity)?;
    let launch_type = launch_type_of(&capacity, launch_type);
    launch_type::check_compatible(definition, launch_type)?;
    let beside = launch_type::Beside {
        platform_version: input.platform_version.as_deref(),
        constraints: !service.placement_constraints.is_empty(),
        strategies: !service.placement_strategy.is_empty(),
    };
    launch_type::check_beside(launch_type, beside)?;
    let platform_version = launch_type::platform_version(&state, input.platform_version.as_deref())?;
    let network = network_configuration::of_request(&state, definition, input.network_configuration.take())?;
    let id = api.with_ids(IdSource::deployment_id);
    let task_set = TaskSet {
        client_token: token,
        platform_version: platform_version.unwrap_or_default(),
        network_configuration: network,
        ..task_set(call, input, id.clone(), definition.key.clone(), capacity)?
    };
    let command = Command::CreateTaskSet {
        service: key.clone(),
        task_set: Box::new(task_set),
        client_token: client_token.clone(),
    };
    let outcome = api.try_propose(command).await;
    outcome.map_err(|failure| idempotency::failure(&failure))?;
    let state = api.read().await?;
    let service = state.service(&key).ok_or_else(errors::service_not_found)?;
    // The same request may have come twice at once, and the other been first.
    let created = match service.task_set(&id) {
        Some(created) => created,
        None => {
            created_before(&state, client_token.as_ref(), service)?.ok_or_else(|| task_sets::not_found(&key, &id))?
        }
    };
    Ok(answer(&state, service, created))
}

fn answer(state: &ClusterState, service: &Service, task_set: &TaskSet) -> CreateTaskSetResponse {
    CreateTaskSetResponse {
        task_set: Some(render::task_set(state, service, task_set, true)),
    }
}

/// The task set that the same request with the same token made, as long as it is there.
fn created_before<'s>(
    state: &ClusterState,
    token: Option<&ClientToken>,
    service: &'s Service,
) -> Result<Option<&'s TaskSet>, AwsError> {
    let is_repeated = idempotency::is_repeated(state, token)?;
    let Some(token) = token.filter(|_| is_repeated) else {
        return Ok(None);
    };
    let mut sets = service.task_sets.iter();
    let made = sets.find(|set| set.client_token.as_deref() == Some(token.token.as_str()));
    made.map(Some).ok_or_else(|| {
        invalid("The task set that was created with this clientToken is deleted. Use another clientToken.")
    })
}

fn task_set(
    call: &Call,
    input: CreateTaskSetRequest,
    id: DeploymentId,
    task_definition: TaskDefinitionKey,
    capacity_provider_strategy: CapacityProviderStrategy,
) -> Result<TaskSet, AwsError> {
    if input.external_id.as_ref().is_some_and(|id| id.len() > MAX_EXTERNAL_ID) {
        return Err(invalid(format!(
            "externalId must have at most {MAX_EXTERNAL_ID} characters."
        )));
    }
    Ok(TaskSet {
        id,
        status: TaskSetStatus::Active,
        external_id: input.external_id,
        client_token: None,
        task_definition,
        launch_type: input.launch_type.map(|launch_type| launch_type.as_str().to_owned()),
        capacity_provider_strategy,
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        scale: task_sets::scale(input.scale.as_ref())?,
        steady: false,
        steady_at: call.now,
        failed_tasks: 0,
        backoff: StartBackoff::default(),
        tags: tags::from_request(Carrier::TaskSet, input.tags)?,
        created_at: call.now,
        updated_at: call.now,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateService, CreateTaskSet};
    use serde_json::{Value, json};

    use crate::api::ecs::task_sets::testing::{harness, request};

    #[tokio::test]
    async fn task_set_comes_back_with_its_share_of_the_tasks() {
        let harness = harness().await;
        let more = json!({"externalId": "blue", "scale": {"value": 12.5, "unit": "PERCENT"}, "tags": [{"key": "k", "value": "v"}]});
        let set = harness.call::<CreateTaskSet>(request(more)).await.expect("creates")["taskSet"].clone();
        let id = set["id"].as_str().expect("an id");
        assert_eq!(
            set["taskSetArn"],
            format!("arn:aws:ecs:us-east-1:123456789012:task-set/default/site/{id}")
        );
        for (member, value) in [
            ("status", json!("ACTIVE")),
            ("externalId", json!("blue")),
            ("computedDesiredCount", json!(1)),
            ("pendingCount", json!(0)),
            ("runningCount", json!(0)),
            ("launchType", json!("EC2")),
            ("scale", json!({"value": 12.5, "unit": "PERCENT"})),
            ("stabilityStatus", json!("STABILIZING")),
            ("tags", json!([{"key": "k", "value": "v"}])),
        ] {
            assert_eq!(set[member], value, "{member}");
        }
    }

    #[tokio::test]
    async fn same_request_with_the_same_token_is_the_same_task_set() {
        let harness = harness().await;
        let with = |scale: f64| request(json!({"clientToken": "t", "scale": {"value": scale, "unit": "PERCENT"}}));
        let first = harness.call::<CreateTaskSet>(with(50.0)).await.expect("creates");
        let again = harness.call::<CreateTaskSet>(with(50.0)).await.expect("idempotent");
        assert_eq!(first, again);
        let error = harness.call::<CreateTaskSet>(with(60.0)).await.expect_err("another");
        assert_eq!(error.kind.code, "InvalidParameterException");
    }

    #[tokio::test]
    async fn what_no_task_set_can_be_is_refused_and_named() {
        let harness = harness().await;
        let input = json!({"serviceName": "own", "taskDefinition": "web", "desiredCount": 1});
        harness.call::<CreateService>(input).await.expect("creates");
        for (more, code, part) in [
            (
                json!({"service": "own"}),
                "InvalidParameterException",
                "own has no task sets",
            ),
            (json!({"service": "none"}), "ServiceNotFoundException", "not found"),
            (
                json!({"taskDefinition": "none"}),
                "ClientException",
                "TaskDefinition not found",
            ),
            (
                json!({"scale": {"value": 100.5}}),
                "InvalidParameterException",
                "between 0 and 100",
            ),
            (
                json!({"platformVersion": "LATEST"}),
                "InvalidParameterException",
                "The platform version must be null",
            ),
            (
                json!({"launchType": "FARGATE"}),
                "ClientException",
                "does not support launch_type FARGATE",
            ),
            (
                json!({"externalId": "x".repeat(256)}),
                "InvalidParameterException",
                "externalId",
            ),
        ] {
            let error = harness.call::<CreateTaskSet>(request(more)).await.expect_err(part);
            assert_eq!(error.kind.code, code, "{}", error.message);
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn service_has_five_task_sets_at_most() {
        let harness = harness().await;
        for _ in 0..5 {
            harness
                .call::<CreateTaskSet>(request(Value::Null))
                .await
                .expect("creates");
        }
        let error = harness
            .call::<CreateTaskSet>(request(Value::Null))
            .await
            .expect_err("too many");
        assert_eq!(error.kind.code, "LimitExceededException");
    }
}
