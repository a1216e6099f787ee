//! `CreateService`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{
    CreateServiceRequest, CreateServiceResponse, DeploymentControllerType, SchedulingStrategy as AwsStrategy,
};
use berth_core::ids::IdSource;
use berth_core::model::{
    CapacityProviderStrategyItem, Deployment, DeploymentConfiguration, DeploymentController, FARGATE, PlatformVersion,
    PropagateTags, SchedulingStrategy, Service, ServiceKey, ServiceStatus, TaskDefinition, UnsupportedByDaemon,
    launch_type_of,
};
use berth_core::state::{ClientToken, ClusterState, Command, Feature, Rejection};

use super::tags::{self, Carrier};
use super::{
    capacity_providers, idempotency, launch_type, network_configuration, placement, references, render,
    service_dependencies, service_input,
};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};
use crate::api::members::{Honoured, refuse_others};
use crate::api::ports::ProposeFailure;

pub(super) const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("serviceName", Honoured::All),
    ("taskDefinition", Honoured::All),
    ("availabilityZoneRebalancing", Honoured::All),
    ("desiredCount", Honoured::All),
    ("clientToken", Honoured::All),
    ("launchType", launch_type::HONOURED),
    ("platformVersion", Honoured::All),
    ("capacityProviderStrategy", Honoured::All),
    ("deploymentConfiguration", service_input::CONFIGURATION),
    ("networkConfiguration", network_configuration::HONOURED),
    ("placementConstraints", Honoured::All),
    ("placementStrategy", Honoured::All),
    ("healthCheckGracePeriodSeconds", Honoured::All),
    ("schedulingStrategy", Honoured::All),
    ("deploymentController", service_input::CONTROLLER),
    ("tags", Honoured::All),
    ("enableECSManagedTags", Honoured::All),
    ("propagateTags", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    mut input: CreateServiceRequest,
) -> Result<CreateServiceResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let token = input.client_token.take();
    let digest = idempotency::digest(&input);
    let client_token = idempotency::client_token(call, "CreateService", token.as_deref(), &digest)?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let key = cluster.key.service(input.service_name.as_deref().unwrap_or_default());
    if let Some(service) = created_before(&state, client_token.as_ref(), &key)? {
        return Ok(answer(&state, service));
    }
    let controller = service_input::deployment_controller(&state, input.deployment_controller.as_ref())?;
    let definition = match controller {
        DeploymentController::Ecs => Some(references::usable_task_definition(
            &state,
            &call.scope,
            input.task_definition.as_deref(),
        )?),
        DeploymentController::External => {
            refuse_what_task_sets_say(&input)?;
            None
        }
    };
    let capacity = input.capacity_provider_strategy.take();
    let capacity = match controller {
        DeploymentController::Ecs => capacity_providers::of_request(cluster, input.launch_type.as_ref(), capacity)?,
        DeploymentController::External => vec![],
    };
    let mut network = None;
    if let Some(definition) = definition {
        check_launch_type(definition, &input, &capacity)?;
        network = network_configuration::of_request(&state, definition, input.network_configuration.take())?;
    }
    let deployments = definition.map(|definition| {
        let id = api.with_ids(IdSource::deployment_id);
        Deployment::new(id, definition.key.clone(), call.now)
    });
    let zone_rebalancing = service_input::zone_rebalancing(&state, input.availability_zone_rebalancing.as_ref())?;
    let platform_version = launch_type::platform_version(&state, input.platform_version.as_deref())?;
    let mut service = Service {
        capacity_provider_strategy: capacity,
        platform_version: platform_version.unwrap_or_default(),
        network_configuration: network,
        deployment_controller: controller,
        deployments: deployments.into_iter().collect(),
        ..service(call, &state, input, key.clone(), digest)?
    };
    service_dependencies::check(&state, &service.key, controller, &service.tags)?;
    // ECS's default, where it is possible.
    let is_possible = state.uses(Feature::ZoneRebalancing) && service.check_zone_rebalancing().is_ok();
    service.zone_rebalancing = zone_rebalancing.unwrap_or(is_possible);
    let service = Box::new(service);
    match api.try_propose(Command::CreateService { service, client_token }).await {
        Ok(_) => {}
        Err(ProposeFailure::Rejected(Rejection::ServiceExists(_))) => {
            let state = api.read().await?;
            return Err(exists(&state, &key));
        }
        Err(failure) => return Err(idempotency::failure(&failure)),
    }
    let state = api.read().await?;
    let created = state.service(&key).ok_or_else(errors::service_not_found)?;
    Ok(answer(&state, created))
}

fn check_launch_type(
    definition: &TaskDefinition,
    input: &CreateServiceRequest,
    capacity: &[CapacityProviderStrategyItem],
) -> Result<(), AwsError> {
    let launch_type = input.launch_type.as_ref().map(|launch_type| launch_type.as_str());
    let launch_type = launch_type_of(capacity, launch_type);
    launch_type::check_compatible(definition, launch_type)?;
    let beside = launch_type::Beside::of_request(
        input.platform_version.as_deref(),
        input.placement_constraints.as_deref(),
        input.placement_strategy.as_deref(),
    );
    launch_type::check_beside(launch_type, beside)?;
    match launch_type == Some(FARGATE) && input.scheduling_strategy == Some(AwsStrategy::Daemon) {
        true => Err(invalid(
            "The DAEMON scheduling strategy is not supported with FARGATE launch type.",
        )),
        false => Ok(()),
    }
}

/// Refuses what each task set says for itself.
fn refuse_what_task_sets_say(input: &CreateServiceRequest) -> Result<(), AwsError> {
    let strategy = input.capacity_provider_strategy.as_ref();
    for (member, is_given) in [
        (
            "taskDefinition",
            input.task_definition.as_ref().is_some_and(|given| !given.is_empty()),
        ),
        ("launchType", input.launch_type.is_some()),
        ("networkConfiguration", input.network_configuration.is_some()),
        ("platformVersion", input.platform_version.is_some()),
        (
            "capacityProviderStrategy",
            strategy.is_some_and(|given| !given.is_empty()),
        ),
    ] {
        if is_given {
            return Err(invalid(format!(
                "{member} is not supported for a service with the deployment controller EXTERNAL: each of its task sets has its own. Give it to \
                 CreateTaskSet."
            )));
        }
    }
    Ok(())
}

fn answer(state: &ClusterState, service: &Service) -> CreateServiceResponse {
    CreateServiceResponse {
        service: Some(render::service(state, service, true)),
    }
}

/// The service that the same request with the same token made: what has become of its task definition meanwhile does not matter.
fn created_before<'s>(
    state: &'s ClusterState,
    token: Option<&ClientToken>,
    key: &ServiceKey,
) -> Result<Option<&'s Service>, AwsError> {
    let is_repeated = idempotency::is_repeated(state, token)?;
    Ok(state.service(key).filter(|_| is_repeated).map(|service| &**service))
}

fn exists(state: &ClusterState, key: &ServiceKey) -> AwsError {
    match state.service(key).map(|service| service.status) {
        Some(ServiceStatus::Draining) => invalid("Unable to Start a service that is still Draining."),
        _ => errors::rejection(&Rejection::ServiceExists(key.clone())),
    }
}

fn service(
    call: &Call,
    state: &ClusterState,
    input: CreateServiceRequest,
    key: ServiceKey,
    request_digest: String,
) -> Result<Service, AwsError> {
    service_input::check_name(key.name.as_str())?;
    let strategy = match input.scheduling_strategy {
        None | Some(AwsStrategy::Replica) => SchedulingStrategy::Replica,
        Some(AwsStrategy::Daemon) => SchedulingStrategy::Daemon,
    };
    let is_external =
        matches!(&input.deployment_controller, Some(given) if given.r#type == Some(DeploymentControllerType::External));
    let desired_count = match (strategy, input.desired_count) {
        (SchedulingStrategy::Replica, None) if is_external => 0,
        (SchedulingStrategy::Replica, Some(count)) => service_input::desired_count(count)?,
        (SchedulingStrategy::Replica, None) => {
            return Err(invalid("desiredCount must be given for a replica service."));
        }
        (SchedulingStrategy::Daemon, None) => 0,
        (SchedulingStrategy::Daemon, Some(_)) => {
            return Err(errors::unsupported_by_daemon(UnsupportedByDaemon::DesiredCount));
        }
    };
    let configuration = service_input::configuration(state, input.deployment_configuration.unwrap_or_default())?;
    let configuration = DeploymentConfiguration::default_of(strategy).with(configuration);
    let configuration = configuration.map_err(|why| errors::rejection(&Rejection::DeploymentConfiguration(why)))?;
    Ok(Service {
        key,
        status: ServiceStatus::Active,
        scheduling_strategy: strategy,
        desired_count,
        launch_type: input.launch_type.map(|launch_type| launch_type.as_str().to_owned()),
        capacity_provider_strategy: vec![],
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        placement_constraints: placement::constraints(input.placement_constraints.unwrap_or_default())?,
        placement_strategy: placement::strategies(state, input.placement_strategy.unwrap_or_default())?,
        deployment_configuration: configuration,
        deployments: vec![],
        last_completed: None,
        service_deployments: Default::default(),
        deployment_controller: DeploymentController::default(),
        task_sets: vec![],
        zone_rebalancing: false,
        managed_daemon: None,
        events: Default::default(),
        steady: false,
        health_check_grace_period_secs: service_input::grace_period(state, input.health_check_grace_period_seconds)?,
        propagate_tags: input
            .propagate_tags
            .map_or(PropagateTags::None, service_input::propagate_tags),
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        tags: tags::from_request(Carrier::Service, input.tags)?,
        created_at: call.now,
        created_by: call.caller_arn.clone(),
        request_digest,
        inactive_since: None,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, DeleteService, DeregisterTaskDefinition, PutClusterCapacityProviders, RegisterTaskDefinition,
        UpdateService,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        harness
    }

    fn request(more: Value) -> Value {
        let mut request = json!({"serviceName": "site", "taskDefinition": "web", "desiredCount": 2});
        for (name, value) in more.as_object().expect("members") {
            request[name] = value.clone();
        }
        request
    }

    #[tokio::test]
    async fn service_comes_back_with_the_defaults_of_ecs() {
        let harness = harness().await;
        let strategy = json!([{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "binpack", "field": "cpu"}]);
        let answer = harness
            .call::<CreateService>(request(json!({"placementStrategy": strategy})))
            .await
            .expect("creates");
        let service = &answer["service"];
        assert_eq!(
            service["serviceArn"],
            "arn:aws:ecs:us-east-1:123456789012:service/default/site"
        );
        assert_eq!(
            (&service["status"], &service["desiredCount"]),
            (&json!("ACTIVE"), &json!(2))
        );
        assert_eq!(service["placementStrategy"][1]["field"], "CPU");
        assert_eq!(
            service["deploymentConfiguration"],
            json!({
                "deploymentCircuitBreaker": {"enable": false, "rollback": false}, "maximumPercent": 200,
                "minimumHealthyPercent": 100, "strategy": "ROLLING", "bakeTimeInMinutes": 0
            })
        );
        let deployments = service["deployments"].as_array().expect("deployments");
        assert_eq!((deployments.len(), &deployments[0]["status"]), (1, &json!("PRIMARY")));
        assert_eq!(deployments[0]["rolloutState"], "IN_PROGRESS");
        assert_eq!(
            service["taskDefinition"],
            "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1"
        );
        for (member, value) in [
            ("loadBalancers", json!([])),
            ("serviceRegistries", json!([])),
            ("events", json!([])),
            ("schedulingStrategy", json!("REPLICA")),
            ("deploymentController", json!({"type": "ECS"})),
            ("enableExecuteCommand", json!(false)),
            ("enableECSManagedTags", json!(false)),
            ("propagateTags", json!("NONE")),
            ("launchType", json!("EC2")),
            ("availabilityZoneRebalancing", json!("ENABLED")),
            ("createdBy", json!("arn:aws:iam::123456789012:root")),
        ] {
            assert_eq!(service[member], value, "{member}");
        }
        assert!(service.get("roleArn").is_none());
    }

    #[tokio::test]
    async fn same_request_again_is_the_same_service_and_another_is_refused() {
        let harness = harness().await;
        let first = harness
            .call::<CreateService>(request(json!({})))
            .await
            .expect("creates");
        let again = harness
            .call::<CreateService>(request(json!({})))
            .await
            .expect("idempotent");
        assert_eq!(first["service"]["deployments"], again["service"]["deployments"]);
        let error = harness
            .call::<CreateService>(request(json!({"desiredCount": 3})))
            .await
            .expect_err("another request");
        assert_eq!(error.message, "Creation of service was not idempotent.");
        let input = json!({"service": "site", "force": true});
        harness.call::<DeleteService>(input).await.expect("deletes");
        let error = harness
            .call::<CreateService>(request(json!({})))
            .await
            .expect_err("draining");
        assert_eq!(error.message, "Unable to Start a service that is still Draining.");
    }

    #[tokio::test]
    async fn token_stands_for_the_request_that_it_came_with_first() {
        let harness = harness().await;
        let with_token = |count| request(json!({"clientToken": "t", "desiredCount": count}));
        let first = harness.call::<CreateService>(with_token(2)).await.expect("creates");
        let error = harness.call::<CreateService>(with_token(3)).await.expect_err("another");
        assert_eq!(error.kind.code, "InvalidParameterException", "which CreateService has");
        let input = json!({"taskDefinition": "web:1"});
        harness
            .call::<DeregisterTaskDefinition>(input)
            .await
            .expect("deregisters");
        let late = harness.call::<CreateService>(with_token(2)).await.expect("idempotent");
        assert_eq!(first["service"]["deployments"], late["service"]["deployments"]);
    }

    #[tokio::test]
    async fn circuit_breaker_comes_back_as_it_was_given() {
        let harness = harness().await;
        for reset in [true, false] {
            let breaker = json!({"enable": true, "rollback": false, "resetOnHealthyTask": reset});
            let input = request(json!({
                "serviceName": format!("site-{reset}"), "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}
            }));
            let answer = harness.call::<CreateService>(input).await.expect("creates");
            let configuration = &answer["service"]["deploymentConfiguration"];
            assert_eq!(configuration["deploymentCircuitBreaker"], breaker);
        }
    }

    #[tokio::test]
    async fn grace_period_comes_back_as_it_was_given_and_is_changed_without_a_deployment() {
        let harness = harness().await;
        let most = json!({"healthCheckGracePeriodSeconds": i32::MAX});
        let answer = harness.call::<CreateService>(request(most)).await.expect("creates");
        assert_eq!(answer["service"]["healthCheckGracePeriodSeconds"], i32::MAX);
        let input = json!({"service": "site", "healthCheckGracePeriodSeconds": 60});
        let answer = harness.call::<UpdateService>(input).await.expect("updates");
        let service = &answer["service"];
        assert_eq!(service["healthCheckGracePeriodSeconds"], 60);
        assert_eq!(service["deployments"].as_array().map(Vec::len), Some(1));
        let input = json!({"service": "site", "healthCheckGracePeriodSeconds": -1});
        let error = harness.call::<UpdateService>(input).await.expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            (
                "InvalidParameterException",
                "healthCheckGracePeriodSeconds must not be negative, not -1."
            )
        );
    }

    #[tokio::test]
    async fn reset_of_the_circuit_breaker_is_refused_while_there_may_be_controllers_that_do_not_know_it() {
        let harness = Harness::before_levels();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let with = |breaker: Value| request(json!({"deploymentConfiguration": {"deploymentCircuitBreaker": breaker}}));
        let input = with(json!({"enable": true, "rollback": false, "resetOnHealthyTask": false}));
        let error = harness.call::<CreateService>(input).await.expect_err("refused");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(error.message.contains("upgraded"), "{}", error.message);
        let input = with(json!({"enable": true, "rollback": false}));
        harness.call::<CreateService>(input).await.expect("creates");
    }

    #[tokio::test]
    async fn service_has_the_strategy_of_the_request_or_that_of_the_cluster_or_a_launch_type() {
        let harness = harness().await;
        harness.add_capacity_provider("gpu").await;
        let strategy = json!([{"capacityProvider": "gpu", "weight": 1, "base": 0}]);
        let put = json!({
            "cluster": "default", "capacityProviders": ["gpu"], "defaultCapacityProviderStrategy": strategy
        });
        harness.call::<PutClusterCapacityProviders>(put).await.expect("put");
        let weight_2 = json!([{"capacityProvider": "gpu", "weight": 2, "base": 1}]);
        for (name, more, shown, launch_type) in [
            (
                "given",
                json!({"capacityProviderStrategy": weight_2}),
                weight_2.clone(),
                Value::Null,
            ),
            ("default", json!({}), strategy, Value::Null),
            ("typed", json!({"launchType": "EC2"}), Value::Null, json!("EC2")),
        ] {
            let mut input = request(more);
            input["serviceName"] = json!(name);
            let answer = harness.call::<CreateService>(input).await.expect("creates");
            let service = &answer["service"];
            assert_eq!(
                (&service["capacityProviderStrategy"], &service["launchType"]),
                (&shown, &launch_type)
            );
            assert_eq!(service["deployments"][0]["capacityProviderStrategy"], shown);
        }
        let daemon = json!({"serviceName": "d", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
        let error = harness
            .call::<CreateService>(daemon.clone())
            .await
            .expect_err("refused");
        assert!(
            error.message.contains("using the DAEMON scheduling strategy"),
            "{}",
            error.message
        );
        let mut typed = daemon;
        typed["launchType"] = json!("EC2");
        harness.call::<CreateService>(typed).await.expect("creates");
    }

    #[tokio::test]
    async fn daemon_service_has_its_own_defaults_and_takes_no_count() {
        let harness = harness().await;
        let input = json!({"serviceName": "d", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
        let answer = harness.call::<CreateService>(input.clone()).await.expect("creates");
        let configuration = &answer["service"]["deploymentConfiguration"];
        assert_eq!(
            (
                &configuration["maximumPercent"],
                &configuration["minimumHealthyPercent"]
            ),
            (&json!(100), &json!(0))
        );
        let mut with_count = input;
        with_count["desiredCount"] = json!(1);
        let error = harness.call::<CreateService>(with_count).await.expect_err("refused");
        assert!(
            error
                .message
                .starts_with("The daemon scheduling strategy does not support a desired count")
        );
    }

    #[tokio::test]
    async fn zones_are_kept_even_unless_that_is_impossible_or_not_wanted() {
        let harness = harness().await;
        let binpack = json!([{"type": "binpack", "field": "cpu"}]);
        let full = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
        let enabled = json!("ENABLED");
        for (name, more, shown) in [
            ("given", json!({"availabilityZoneRebalancing": "DISABLED"}), "DISABLED"),
            ("asked", json!({"availabilityZoneRebalancing": enabled}), "ENABLED"),
            ("packed", json!({"placementStrategy": binpack}), "DISABLED"),
            ("full", json!({"deploymentConfiguration": full}), "DISABLED"),
        ] {
            let mut input = request(more);
            input["serviceName"] = json!(name);
            let answer = harness.call::<CreateService>(input).await.expect("creates");
            assert_eq!(answer["service"]["availabilityZoneRebalancing"], shown, "{name}");
        }
        for (more, part) in [
            (
                json!({"placementStrategy": binpack}),
                "does not spread over availability zones",
            ),
            (json!({"deploymentConfiguration": full}), "maximumPercent is 100"),
        ] {
            let mut input = request(more);
            input["availabilityZoneRebalancing"] = enabled.clone();
            let error = harness.call::<CreateService>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn service_that_cannot_be_honoured_is_refused_and_not_made() {
        let harness = harness().await;
        for (more, part) in [
            (json!({"launchType": "FARGATE"}), "does not support launch_type FARGATE"),
            (json!({"loadBalancers": [{"containerName": "c"}]}), "loadBalancers"),
            (
                json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}}),
                "Network Configuration is not valid",
            ),
            (json!({"enableExecuteCommand": true}), "enableExecuteCommand"),
            (
                json!({"deploymentController": {"type": "CODE_DEPLOY"}}),
                "CODE_DEPLOY of deploymentController.type",
            ),
            (
                json!({"deploymentConfiguration": {"alarms": {"alarmNames": ["a"], "enable": true, "rollback": true}}}),
                "The alarm a of deploymentConfiguration.alarms.alarmNames does not exist.",
            ),
            (
                json!({"deploymentConfiguration": {"maximumPercent": 100}}),
                "cannot be 100",
            ),
            (json!({"desiredCount": -1}), "must not be negative"),
            (json!({"serviceName": "a b"}), "Invalid service name"),
            (json!({"taskDefinition": "nope"}), "TaskDefinition not found."),
            (json!({"cluster": "nope"}), "Cluster not found."),
        ] {
            let error = harness.call::<CreateService>(request(more)).await.expect_err(part);
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert_eq!(harness.state.state().all_services().count(), 0);
    }
}
