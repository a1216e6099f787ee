//! `CreateDaemon`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{CreateDaemonRequest, CreateDaemonResponse};
use berth_core::ids::IdSource;
use berth_core::model::{
    CapacityProviderStrategy, Deployment, DeploymentController, ManagedDaemon, PlatformVersion, SchedulingStrategy,
    Service, ServiceKey, ServiceStatus,
};
use berth_core::state::{ClientToken, ClusterState, Command, Rejection};

use super::tags::{self, Carrier};
use super::{daemons, idempotency, references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::members::{Honoured, refuse_others};
use crate::api::ports::ProposeFailure;

pub(super) const HONOURED: Honoured = Honoured::Members(&[
    ("daemonName", Honoured::All),
    ("clusterArn", Honoured::All),
    ("daemonTaskDefinitionArn", Honoured::All),
    ("capacityProviderArns", Honoured::All),
    ("deploymentConfiguration", daemons::CONFIGURATION),
    ("tags", Honoured::All),
    ("propagateTags", Honoured::All),
    ("enableECSManagedTags", Honoured::All),
    ("clientToken", Honoured::All),
    ("critical", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    mut input: CreateDaemonRequest,
) -> Result<CreateDaemonResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let token = input.client_token.take();
    let digest = idempotency::digest(&input);
    let client_token = idempotency::client_token(call, "CreateDaemon", token.as_deref(), &digest)?;
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster_arn.as_deref())?;
    let name = input.daemon_name.as_deref().unwrap_or_default();
    daemons::check_name(name)?;
    let key = cluster.key.daemon(name);
    if let Some(daemon) = created_before(&state, client_token.as_ref(), &key)? {
        return Ok(answer(daemon));
    }
    let given = input.daemon_task_definition_arn.as_deref();
    let definition = daemons::usable_task_definition(&state, &call.scope, given)?;
    let capacity = daemons::capacity(cluster, input.capacity_provider_arns.as_deref())?;
    let id = api.with_ids(IdSource::deployment_id);
    let deployment = Deployment::new(id, definition.key.clone(), call.now);
    let service = Box::new(daemon(call, input, key.clone(), capacity, deployment, digest)?);
    match api.try_propose(Command::CreateService { service, client_token }).await {
        Ok(_) => {}
        Err(ProposeFailure::Rejected(Rejection::ServiceExists(_))) => {
            let state = api.read().await?;
            return Err(exists(&state, &key));
        }
        Err(failure) => return Err(idempotency::failure(&failure)),
    }
    let state = api.read().await?;
    state
        .service(&key)
        .map(|daemon| answer(daemon))
        .ok_or_else(daemons::not_found)
}

/// The same whenever the request comes, though the daemon may have had other deployments since.
fn answer(daemon: &Service) -> CreateDaemonResponse {
    CreateDaemonResponse {
        daemon_arn: Some(daemon.key.arn()),
        status: Some(render::daemon_status(daemon.status)),
        created_at: Some(render::time(daemon.created_at)),
        deployment_arn: render::first_deployment_arn(daemon),
    }
}

/// The daemon that the same request with the same token made.
fn created_before<'s>(
    state: &'s ClusterState,
    token: Option<&ClientToken>,
    key: &ServiceKey,
) -> Result<Option<&'s Service>, AwsError> {
    let Some(request) = idempotency::remembered(state, token)? else {
        return Ok(None);
    };
    // Another request may have made one of this name after it was deleted.
    let made = state
        .service(key)
        .filter(|daemon| daemon.status != ServiceStatus::Inactive && daemon.created_at == request.at);
    made.map(|daemon| Some(&**daemon)).ok_or_else(|| {
        invalid("The daemon that was created with this clientToken is deleted. Use another clientToken.")
    })
}

fn exists(state: &ClusterState, key: &ServiceKey) -> AwsError {
    match state.service(key).map(|daemon| daemon.status) {
        Some(ServiceStatus::Draining) => invalid(
            "A daemon of this name is being deleted. Create it again once DescribeDaemon does not find it any more.",
        ),
        _ => invalid(
            "Creation of daemon was not idempotent: there is a daemon of this name that is not what this request asks for, or is not any more. \
             UpdateDaemon changes it.",
        ),
    }
}

fn daemon(
    call: &Call,
    input: CreateDaemonRequest,
    key: ServiceKey,
    capacity_provider_strategy: CapacityProviderStrategy,
    deployment: Deployment,
    request_digest: String,
) -> Result<Service, AwsError> {
    let (settings, configuration) = daemons::settings(input.deployment_configuration.as_ref(), input.critical)?;
    let tags = tags::from_request(Carrier::ManagedDaemon, input.tags)?;
    Ok(Service {
        key,
        status: ServiceStatus::Active,
        scheduling_strategy: SchedulingStrategy::Daemon,
        desired_count: 0,
        launch_type: None,
        capacity_provider_strategy,
        platform_version: PlatformVersion::default(),
        network_configuration: None,
        placement_constraints: vec![],
        placement_strategy: vec![],
        deployment_controller: DeploymentController::default(),
        task_sets: vec![],
        zone_rebalancing: false,
        managed_daemon: Some(Box::new(ManagedDaemon { settings })),
        deployment_configuration: configuration,
        deployments: vec![deployment],
        last_completed: None,
        service_deployments: Default::default(),
        events: Default::default(),
        steady: false,
        health_check_grace_period_secs: None,
        propagate_tags: daemons::propagate_tags(input.propagate_tags),
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        tags,
        created_at: call.now,
        created_by: call.caller_arn.clone(),
        request_digest,
        inactive_since: None,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateDaemon, DeleteDaemon, DescribeContainerInstances, DescribeDaemon, DescribeDaemonDeployments,
        DescribeDaemonRevisions, DescribeServices, ListContainerInstances, ListServices, RegisterTaskDefinition,
        RunTask, UpdateDaemon,
    };
    use serde_json::json;

    use crate::api::ecs::daemons::testing::{arn, create, harness, request};
    use crate::api::testing::Harness;

    #[tokio::test]
    async fn daemon_is_described_with_its_revision_its_deployment_and_the_defaults_of_ecs() {
        let harness = harness().await;
        let created = create(&harness, json!({"clusterArn": arn("cluster/default")})).await;
        assert_eq!(created["daemonArn"], arn("daemon/default/logs"));
        assert_eq!(created["status"], "ACTIVE");
        let described = harness
            .call::<DescribeDaemon>(json!({"daemonArn": created["daemonArn"]}))
            .await
            .expect("describes");
        let daemon = &described["daemon"];
        assert_eq!(daemon["deploymentArn"], created["deploymentArn"]);
        assert_eq!(daemon["clusterArn"], arn("cluster/default"));
        let current = &daemon["currentRevisions"][0];
        let pools = json!([{"arn": arn("capacity-provider/gpu"), "runningCount": 0, "withoutDaemonCount": 1}]);
        assert_eq!(current["capacityProviders"], pools);
        assert_eq!(
            (&current["totalRunningCount"], &current["totalWithoutDaemonCount"]),
            (&json!(0), &json!(1))
        );

        let input = json!({"daemonRevisionArns": [current["arn"]]});
        let revisions = harness.call::<DescribeDaemonRevisions>(input).await.expect("describes");
        let revision = &revisions["daemonRevisions"][0];
        for (member, value) in [
            ("daemonTaskDefinitionArn", json!(arn("daemon-task-definition/agent:1"))),
            ("daemonArn", created["daemonArn"].clone()),
            ("critical", json!(true)),
            ("propagateTags", json!("NONE")),
            ("enableECSManagedTags", json!(false)),
            ("enableExecuteCommand", json!(false)),
            (
                "containerImages",
                json!([{"containerName": "agent", "image": "agent:1"}]),
            ),
        ] {
            assert_eq!(revision[member], value, "{member}");
        }

        let input = json!({"daemonDeploymentArns": [created["deploymentArn"]]});
        let deployments = harness
            .call::<DescribeDaemonDeployments>(input)
            .await
            .expect("describes");
        let deployment = &deployments["daemonDeployments"][0];
        for (member, value) in [
            ("status", json!("PENDING")),
            (
                "deploymentConfiguration",
                json!({"drainPercent": 25.0, "bakeTimeInMinutes": 0}),
            ),
            (
                "circuitBreaker",
                json!({"failureCount": 0, "status": "MONITORING", "threshold": 3}),
            ),
            ("sourceDaemonRevisions", json!([])),
        ] {
            assert_eq!(deployment[member], value, "{member}");
        }
        assert_eq!(deployment["targetDaemonRevision"]["arn"], current["arn"]);
        assert_eq!(deployment["alarms"]["status"], "DISABLED");
    }

    #[tokio::test]
    async fn same_request_again_is_the_same_daemon_and_another_is_refused() {
        let harness = harness().await;
        let with_token = |drain: f64| json!({"clientToken": "t", "deploymentConfiguration": {"drainPercent": drain}});
        let first = create(&harness, with_token(10.0)).await;
        assert_eq!(create(&harness, with_token(10.0)).await, first);
        let without = json!({"deploymentConfiguration": {"drainPercent": 10.0}});
        assert_eq!(
            create(&harness, without).await,
            first,
            "the same request without a token"
        );
        for (more, part) in [
            (with_token(20.0), "clientToken was used before"),
            (json!({"critical": false}), "was not idempotent"),
        ] {
            let error = harness.call::<CreateDaemon>(request(more)).await.expect_err(part);
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(part), "{}", error.message);
        }
        let input = json!({"daemonArn": first["daemonArn"]});
        harness.call::<DeleteDaemon>(input).await.expect("deletes");
        let error = harness
            .call::<CreateDaemon>(request(json!({})))
            .await
            .expect_err("drains");
        assert!(error.message.contains("is being deleted"), "{}", error.message);
    }

    #[tokio::test]
    async fn request_that_made_a_daemon_is_answered_as_before_by_its_token_alone_once_the_daemon_is_another() {
        let harness = harness().await;
        let with_token = json!({"clientToken": "t"});
        let first = create(&harness, with_token.clone()).await;
        let update = json!({
            "daemonArn": first["daemonArn"], "daemonTaskDefinitionArn": arn("daemon-task-definition/agent:2"),
            "capacityProviderArns": [arn("capacity-provider/gpu")],
        });
        let updated = harness.call::<UpdateDaemon>(update).await.expect("updates");
        assert_ne!(updated["deploymentArn"], first["deploymentArn"]);
        assert_eq!(create(&harness, with_token).await, first);
        let without = harness.call::<CreateDaemon>(request(json!({}))).await;
        let error = without.expect_err("it runs agent:2 now");
        assert_eq!(error.kind.code, "InvalidParameterException");
        assert!(error.message.contains("was not idempotent"), "{}", error.message);
    }

    #[tokio::test]
    async fn what_no_daemon_can_be_is_refused_and_named_and_changes_nothing() {
        let harness = harness().await;
        for (more, code, part) in [
            (json!({"daemonName": "a:b"}), "InvalidParameterException", "daemonName"),
            (
                json!({"clusterArn": arn("cluster/none")}),
                "ClusterNotFoundException",
                "not found",
            ),
            (
                json!({"daemonTaskDefinitionArn": arn("daemon-task-definition/agent:9")}),
                "ClientException",
                "task definition not found",
            ),
            (
                json!({"daemonTaskDefinitionArn": arn("task-definition/agent:1")}),
                "InvalidParameterException",
                "is not a daemon task definition",
            ),
            (
                json!({"capacityProviderArns": []}),
                "InvalidParameterException",
                "cannot be empty",
            ),
            (
                json!({"capacityProviderArns": [arn("capacity-provider/other")]}),
                "InvalidParameterException",
                "other is not associated with the cluster default",
            ),
            (
                json!({"capacityProviderArns": [arn("capacity-provider/FARGATE")]}),
                "InvalidParameterException",
                "FARGATE cannot have daemons",
            ),
            (
                json!({"capacityProviderArns": ["gpu", "gpu"]}),
                "InvalidParameterException",
                "given twice",
            ),
            (
                json!({"deploymentConfiguration": {"bakeTimeInMinutes": 1441}}),
                "InvalidParameterException",
                "bakeTimeInMinutes must be between 0 and 1440",
            ),
            (
                json!({"deploymentConfiguration": {"alarms": {"enable": true, "alarmNames": ["a"]}}}),
                "ClientException",
                "deploymentConfiguration.alarms",
            ),
            (
                json!({"enableExecuteCommand": true}),
                "ClientException",
                "enableExecuteCommand",
            ),
            (
                json!({"tags": [{"key": "aws:x", "value": "v"}]}),
                "InvalidParameterException",
                "aws:x",
            ),
        ] {
            let error = harness.call::<CreateDaemon>(request(more)).await.expect_err(part);
            assert_eq!(error.kind.code, code, "{}", error.message);
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert_eq!(harness.state.state().all_services().count(), 0);
    }

    #[tokio::test]
    async fn daemon_is_no_service_and_host_registers_until_it_serves() {
        let harness = harness().await;
        let hosts = harness
            .call::<ListContainerInstances>(json!({"status": "ACTIVE"}))
            .await
            .expect("lists");
        create(&harness, json!({})).await;
        let services = harness.call::<ListServices>(json!({})).await.expect("lists");
        assert_eq!(services["serviceArns"], json!([]));
        let error = harness
            .call::<DescribeServices>(json!({"services": ["daemon:logs"]}))
            .await
            .expect_err("no such name");
        assert_eq!(error.kind.code, "InvalidParameterException");
        let instances = json!({"containerInstances": hosts["containerInstanceArns"]});
        let described = harness
            .call::<DescribeContainerInstances>(instances)
            .await
            .expect("describes");
        assert_eq!(described["containerInstances"][0]["status"], "REGISTERING");
        let registering = harness
            .call::<ListContainerInstances>(json!({"status": "REGISTERING"}))
            .await;
        assert_eq!(registering.expect("lists"), hosts);
        let web = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(web).await.expect("registers");
        let ran = harness
            .call::<RunTask>(json!({"taskDefinition": "web"}))
            .await
            .expect("answers");
        assert_eq!(ran["failures"][0]["reason"], "AGENT");
        let group = harness
            .call::<RunTask>(json!({"taskDefinition": "web", "group": "daemon:logs"}))
            .await;
        assert_eq!(group.expect_err("reserved").message, "Invalid namespace for group.");
    }

    #[tokio::test]
    async fn daemons_are_refused_until_every_controller_knows_them() {
        let harness = Harness::before_levels();
        harness.add_host(1, "a");
        let error = harness
            .call::<CreateDaemon>(request(json!({})))
            .await
            .expect_err("too early");
        assert!(error.message.contains("not every controller"), "{}", error.message);
    }
}
