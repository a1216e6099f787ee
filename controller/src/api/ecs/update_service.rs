//! `UpdateService`: a new task definition or `forceNewDeployment` begins a deployment; all else changes the service in place. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{CapacityProviderStrategyItem, UpdateServiceRequest, UpdateServiceResponse};
use berth_core::ids::IdSource;
use berth_core::model::{CapacityProviderStrategy, Service, ServiceKey, TaskDefinitionKey, launch_type_of};
use berth_core::state::{ClusterState, Command, Feature, UpdateService};

use super::{capacity_providers, launch_type, network_configuration, placement, references, render, service_input};
use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::members::{Honoured, refuse_others};

const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("service", Honoured::All),
    ("desiredCount", Honoured::All),
    ("taskDefinition", Honoured::All),
    ("deploymentConfiguration", service_input::CONFIGURATION),
    ("availabilityZoneRebalancing", Honoured::All),
    ("capacityProviderStrategy", Honoured::All),
    ("networkConfiguration", network_configuration::HONOURED),
    ("placementConstraints", Honoured::All),
    ("platformVersion", Honoured::All),
    ("placementStrategy", Honoured::All),
    ("forceNewDeployment", Honoured::All),
    ("healthCheckGracePeriodSeconds", Honoured::All),
    ("deploymentController", service_input::CONTROLLER),
    ("enableECSManagedTags", Honoured::All),
    ("propagateTags", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateServiceRequest,
) -> Result<UpdateServiceResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let key = references::service_key(&cluster.key, input.service.as_deref().unwrap_or_default())?;
    // A service that does not exist is said before anything that is wrong with its new values.
    let service = state
        .active_service(&key)
        .map_err(|rejection| errors::rejection(&rejection))?;
    let controller = input.deployment_controller.as_ref();
    if controller.is_some()
        && service_input::deployment_controller(&state, controller)? != service.deployment_controller
    {
        return Err(errors::invalid(
            "The deployment controller of a service cannot be changed. Create another service with it.",
        ));
    }
    check_launch_type(call, &state, service, &input)?;
    let update = update(api, call, &state, key.clone(), input)?;
    api.propose(Command::UpdateService(Box::new(update))).await?;
    let state = api.read().await?;
    let updated = state.service(&key).ok_or_else(errors::service_not_found)?;
    Ok(UpdateServiceResponse {
        service: Some(render::service(&state, updated, true)),
    })
}

fn update(
    api: &Api,
    call: &Call,
    state: &ClusterState,
    service: ServiceKey,
    input: UpdateServiceRequest,
) -> Result<UpdateService, AwsError> {
    Ok(UpdateService {
        service,
        desired_count: input.desired_count.map(service_input::desired_count).transpose()?,
        task_definition: task_definition(call, state, input.task_definition.as_deref())?,
        force_new_deployment: input.force_new_deployment.unwrap_or(false),
        deployment_id: api.with_ids(IdSource::deployment_id),
        placement_constraints: input.placement_constraints.map(placement::constraints).transpose()?,
        placement_strategy: input
            .placement_strategy
            .map(|given| placement::strategies(state, given))
            .transpose()?,
        capacity_provider_strategy: capacity(call, state, input.capacity_provider_strategy)?,
        platform_version: launch_type::platform_version(state, input.platform_version.as_deref())?,
        network_configuration: network_configuration::from_request(state, input.network_configuration)?,
        deployment_configuration: service_input::configuration(
            state,
            input.deployment_configuration.unwrap_or_default(),
        )?,
        health_check_grace_period_secs: service_input::grace_period(state, input.health_check_grace_period_seconds)?,
        zone_rebalancing: service_input::zone_rebalancing(state, input.availability_zone_rebalancing.as_ref())?,
        daemon_settings: None,
        propagate_tags: input.propagate_tags.map(service_input::propagate_tags),
        enable_ecs_managed_tags: input.enable_ecs_managed_tags,
        at: call.now,
    })
}

/// Refuses what does not go with the launch type that the service has, or has no more once it is divided among capacity providers.
fn check_launch_type(
    call: &Call,
    state: &ClusterState,
    service: &Service,
    input: &UpdateServiceRequest,
) -> Result<(), AwsError> {
    let is_divided = input.capacity_provider_strategy.is_some();
    let given = input.capacity_provider_strategy.clone().unwrap_or_default();
    let given = capacity_providers::strategy(&call.scope, given)?;
    let launch_type = match given.is_empty() {
        // Also of one that goes back to the launch type, which is that of its capacity providers.
        true => service.launches_on(),
        false => launch_type_of(&given, None),
    };
    let named = input.task_definition.as_deref().filter(|name| !name.is_empty());
    let runs = || state.task_definition(&service.primary()?.task_definition);
    let definition = match named {
        Some(name) => Some(references::usable_task_definition(state, &call.scope, Some(name))?),
        None => runs().filter(|_| is_divided),
    };
    if let Some(definition) = definition {
        launch_type::check_compatible(definition, launch_type)?;
    }
    let beside = launch_type::Beside::of_request(
        input.platform_version.as_deref(),
        input.placement_constraints.as_deref(),
        input.placement_strategy.as_deref(),
    );
    // What the service has already and the request says nothing of.
    let beside = launch_type::Beside {
        constraints: beside.constraints
            || (input.placement_constraints.is_none() && !service.placement_constraints.is_empty()),
        strategies: beside.strategies || (input.placement_strategy.is_none() && !service.placement_strategy.is_empty()),
        ..beside
    };
    launch_type::check_beside(launch_type, beside)
}

/// The division among capacity providers that the request wants, if it does; an empty one ends it.
fn capacity(
    call: &Call,
    state: &ClusterState,
    given: Option<Vec<CapacityProviderStrategyItem>>,
) -> Result<Option<CapacityProviderStrategy>, AwsError> {
    let Some(given) = given else { return Ok(None) };
    if given.is_empty() && !state.uses(Feature::CapacityProviders) {
        return Ok(None);
    }
    capacity_providers::check_level(state)?;
    let strategy = capacity_providers::strategy(&call.scope, given)?;
    capacity_providers::check_usable(&strategy)?;
    Ok(Some(strategy))
}

/// The revision that the request names, if it does.
fn task_definition(
    call: &Call,
    state: &ClusterState,
    name: Option<&str>,
) -> Result<Option<TaskDefinitionKey>, AwsError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let definition = references::usable_task_definition(state, &call.scope, Some(name))?;
    Ok(Some(definition.key.clone()))
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, PutClusterCapacityProviders, RegisterTaskDefinition, UpdateService,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        for _ in 0..2 {
            let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
        let input = json!({"serviceName": "site", "taskDefinition": "web:1", "desiredCount": 2});
        harness.call::<CreateService>(input).await.expect("creates");
        harness
    }

    async fn update(harness: &Harness, mut input: Value) -> Value {
        input["service"] = json!("site");
        harness.call::<UpdateService>(input).await.expect("updates")["service"].clone()
    }

    #[tokio::test]
    async fn new_count_changes_the_service_without_a_deployment() {
        let harness = harness().await;
        let service = update(&harness, json!({"desiredCount": 5, "taskDefinition": "web:1"})).await;
        assert_eq!(service["desiredCount"], 5);
        assert_eq!(service["deployments"].as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn new_definition_or_force_begins_a_deployment() {
        let harness = harness().await;
        let service = update(&harness, json!({"taskDefinition": "web"})).await;
        let statuses: Vec<_> = service["deployments"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| &d["status"])
            .collect();
        assert_eq!(statuses, ["PRIMARY", "ACTIVE"]);
        assert!(
            service["taskDefinition"]
                .as_str()
                .is_some_and(|arn| arn.ends_with("web:2"))
        );
        let service = update(&harness, json!({"forceNewDeployment": true})).await;
        assert_eq!(service["deployments"].as_array().map(Vec::len), Some(3));
    }

    #[tokio::test]
    async fn configuration_not_named_stays() {
        let harness = harness().await;
        let breaker = json!({"enable": true, "rollback": true});
        let configuration = json!({"maximumPercent": 150, "deploymentCircuitBreaker": breaker});
        update(&harness, json!({"deploymentConfiguration": configuration})).await;
        let service = update(
            &harness,
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 50}}),
        )
        .await;
        let configuration = &service["deploymentConfiguration"];
        assert_eq!(
            (
                &configuration["maximumPercent"],
                &configuration["minimumHealthyPercent"]
            ),
            (&json!(150), &json!(50))
        );
        assert_eq!(configuration["deploymentCircuitBreaker"], breaker);
    }

    #[tokio::test]
    async fn configuration_by_which_no_deployment_could_proceed_is_refused_whoever_brings_its_halves() {
        let harness = harness().await;
        let most =
            json!({"service": "site", "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}});
        harness.call::<UpdateService>(most).await.expect("updates");
        let least = json!({"service": "site", "deploymentConfiguration": {"minimumHealthyPercent": 100}});
        let error = harness.call::<UpdateService>(least).await.expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(error.message.contains("cannot be 100"), "{}", error.message);
        let service = update(&harness, json!({"desiredCount": 1})).await;
        assert_eq!(service["deploymentConfiguration"]["minimumHealthyPercent"], 0);
    }

    #[tokio::test]
    async fn other_capacity_provider_strategy_takes_a_new_deployment_and_an_empty_one_ends_it() {
        let harness = harness().await;
        harness.add_capacity_provider("gpu").await;
        let put = json!({"cluster": "default", "capacityProviders": ["gpu"], "defaultCapacityProviderStrategy": []});
        harness.call::<PutClusterCapacityProviders>(put).await.expect("put");
        let strategy = json!([{"capacityProvider": "gpu", "weight": 1, "base": 0}]);
        let input = json!({"service": "site", "capacityProviderStrategy": strategy});
        let error = harness.call::<UpdateService>(input).await.expect_err("refused");
        assert_eq!(
            error.message,
            "When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity \
             provider strategy on a service that is already using one, you must force a new deployment. Set forceNewDeployment to true; an empty \
             capacityProviderStrategy then has the service go back to its launch type."
        );
        let service = update(
            &harness,
            json!({"forceNewDeployment": true, "capacityProviderStrategy": strategy}),
        )
        .await;
        assert_eq!(
            (&service["capacityProviderStrategy"], &service["launchType"]),
            (&strategy, &Value::Null)
        );
        let service = update(
            &harness,
            json!({"forceNewDeployment": true, "capacityProviderStrategy": []}),
        )
        .await;
        assert_eq!(
            (&service["capacityProviderStrategy"], &service["launchType"]),
            (&Value::Null, &json!("EC2"))
        );
    }

    #[tokio::test]
    async fn daemon_service_takes_no_count_and_no_preference_among_hosts() {
        let harness = harness().await;
        let input = json!({"serviceName": "d", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
        harness.call::<CreateService>(input).await.expect("creates");
        for (more, part) in [
            (json!({"desiredCount": 1}), "does not support a desired count"),
            (
                json!({"placementStrategy": [{"type": "random"}]}),
                "Placement strategies are not supported",
            ),
            (
                json!({"placementConstraints": [{"type": "distinctInstance"}]}),
                "does not support the distinctInstance",
            ),
        ] {
            let mut input = more;
            input["service"] = json!("d");
            let error = harness.call::<UpdateService>(input).await.expect_err(part);
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn service_that_does_not_exist_or_is_deleted_is_refused() {
        let harness = harness().await;
        let error = harness
            .call::<UpdateService>(json!({"service": "other", "desiredCount": 1}))
            .await
            .expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            ("ServiceNotFoundException", "Service not found.")
        );
    }
}
