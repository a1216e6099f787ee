//! `RunTask`: up to ten copies of a task, placed by Berth. Shell.

use std::collections::BTreeMap;

use berth_aws::AwsError;
use berth_aws::ecs::{Failure, RunTaskRequest, RunTaskResponse};
use berth_core::ids::IdSource;
use berth_core::model::{
    CapacityProviderName, CapacityProviderStrategyItem, ClusterKey, FARGATE, PredefinedCapacityProvider, Task, TaskId,
    launch_type_of,
};
use berth_core::reconcile::{StandaloneRequest, divide_at_once};
use berth_core::state::ClusterState;

use super::definition::fargate;
use super::launch_type::{self, Beside, check_beside, check_compatible};
use super::new_task::{TaskInput, prototype};
use super::{capacity_providers, idempotency, network_configuration, overrides, placement, references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};
use crate::api::members::{Honoured, refuse_others};

/// Copies that one request can ask for (ECS: 10).
const COUNT: std::ops::RangeInclusive<i32> = 1..=10;

const HONOURED: Honoured = Honoured::Members(&[
    ("capacityProviderStrategy", Honoured::All),
    ("cluster", Honoured::All),
    ("count", Honoured::All),
    ("enableECSManagedTags", Honoured::All),
    ("group", Honoured::All),
    ("launchType", launch_type::HONOURED),
    ("networkConfiguration", network_configuration::HONOURED),
    ("overrides", overrides::HONOURED),
    ("placementConstraints", Honoured::All),
    ("placementStrategy", Honoured::All),
    ("platformVersion", Honoured::All),
    ("propagateTags", Honoured::All),
    ("startedBy", Honoured::All),
    ("tags", Honoured::All),
    ("taskDefinition", Honoured::All),
    ("clientToken", Honoured::All),
]);

pub(crate) async fn handle(api: &Api, call: &Call, mut input: RunTaskRequest) -> Result<RunTaskResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let count = input.count.unwrap_or(1);
    if !COUNT.contains(&count) {
        return Err(invalid(format!(
            "count must be between {} and {}.",
            COUNT.start(),
            COUNT.end()
        )));
    }
    let token = input.client_token.take();
    let token = idempotency::client_token(call, "RunTask", token.as_deref(), &idempotency::digest(&input))?;
    let state = api.read().await?;
    // Before anything that may have changed since the request came first.
    if let Some(token) = &token {
        let seen = state.remembered_request(token).map_err(|why| errors::rejection(&why))?;
        if let Some(seen) = seen {
            return Ok(answer(&state, &seen.tasks, vec![]));
        }
    }
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let capacity = input.capacity_provider_strategy.take();
    let capacity = capacity_providers::of_request(cluster, input.launch_type.as_ref(), capacity)?;
    let cluster = cluster.key.clone();
    let definition = references::usable_task_definition(&state, &call.scope, input.task_definition.as_deref())?;
    let launch_type = input
        .launch_type
        .as_ref()
        .map(|launch_type| launch_type.as_str().to_owned());
    let launched = launch_type_of(&capacity, launch_type.as_deref());
    check_compatible(definition, launched)?;
    let beside = Beside {
        platform_version: input.platform_version.as_deref(),
        constraints: input
            .placement_constraints
            .as_ref()
            .is_some_and(|given| !given.is_empty()),
        strategies: input.placement_strategy.as_ref().is_some_and(|given| !given.is_empty()),
    };
    check_beside(launched, beside)?;
    if state.container_instances_of(&cluster).next().is_none() {
        return Err(invalid("No Container Instances were found in your cluster."));
    }
    check_has_hosts(&state, &cluster, &capacity)?;
    let task_input = TaskInput {
        group: input.group,
        started_by: input.started_by,
        launch_type,
        capacity: capacity.clone(),
        overrides: input.overrides,
        tags: input.tags,
        propagate_tags: input.propagate_tags,
        managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        network: network_configuration::of_request(&state, definition, input.network_configuration)?,
        constraints: placement::constraints(input.placement_constraints.unwrap_or_default())?,
        strategies: placement::strategies(&state, input.placement_strategy.unwrap_or_default())?,
    };
    let task = prototype(&cluster, definition, task_input, call.now)?;
    if task.launch_type.as_deref() == Some(FARGATE) {
        fargate::check_size(
            task.overrides.cpu.or(definition.cpu),
            task.overrides.memory.or(definition.memory),
        )?;
    }
    let providers = divided(api, &capacity, count.unsigned_abs());
    let tasks = providers.into_iter().map(|capacity_provider| Task {
        id: api.with_ids(IdSource::task_id),
        capacity_provider,
        ..task.clone()
    });
    let request = StandaloneRequest {
        tasks: tasks.collect(),
        only_host: BTreeMap::new(),
        client_token: token,
    };
    let ran = api.run_tasks(request).await?;
    let state = api.read().await?;
    let failures = placement::failures(&cluster, ran.unplaced.iter().map(|(_, why)| why));
    Ok(answer(&state, &ran.tasks, failures))
}

/// Refuses tasks for pools of which none has a host; hosts of ECS's own capacity providers are found, or not, by what they say of themselves.
fn check_has_hosts(
    state: &ClusterState,
    cluster: &ClusterKey,
    capacity: &[CapacityProviderStrategyItem],
) -> Result<(), AwsError> {
    let is_pool =
        |item: &CapacityProviderStrategyItem| PredefinedCapacityProvider::of(&item.capacity_provider).is_none();
    let is_of = |host: &CapacityProviderName| capacity.iter().any(|item| item.capacity_provider == *host);
    let mut of_hosts = state.container_instances_of(cluster);
    match !capacity.iter().any(is_pool) || of_hosts.any(|host| host.host.capacity_provider.as_ref().is_some_and(is_of))
    {
        true => Ok(()),
        false => Err(invalid("No Container Instances were found in your capacity provider.")),
    }
}

/// The capacity provider of each of `count` tasks.
fn divided(api: &Api, capacity: &[CapacityProviderStrategyItem], count: u32) -> Vec<Option<CapacityProviderName>> {
    if capacity.is_empty() {
        return (0..count).map(|_| None).collect();
    }
    let parts = divide_at_once(capacity, count, api.with_ids(IdSource::next_u64));
    let named = capacity.iter().zip(parts);
    named
        .flat_map(|(item, part)| (0..part).map(|_| Some(item.capacity_provider.clone())))
        .collect()
}

fn answer(state: &ClusterState, tasks: &[TaskId], failures: Vec<Failure>) -> RunTaskResponse {
    let tasks = tasks.iter().filter_map(|id| state.task(*id));
    RunTaskResponse {
        tasks: Some(tasks.map(|task| render::task(state, task, true)).collect()),
        failures: Some(failures),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DeregisterTaskDefinition, PutClusterCapacityProviders, RegisterTaskDefinition, RunTask, StartTask,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn harness() -> Harness {
        let harness = Harness::new();
        let container = json!({"name": "c", "image": "i", "memory": 1024, "cpu": 100});
        let input =
            json!({"family": "job", "tags": [{"key": "team", "value": "x"}], "containerDefinitions": [container]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        harness
    }

    async fn run(harness: &Harness, mut input: Value) -> Value {
        input["taskDefinition"] = json!("job");
        harness.call::<RunTask>(input).await.expect("runs")
    }

    #[tokio::test]
    async fn task_on_an_empty_cluster_or_none_is_refused_in_the_words_of_ecs() {
        let harness = harness().await;
        let input = json!({"taskDefinition": "job"});
        let error = harness.call::<RunTask>(input.clone()).await.expect_err("no cluster");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
        harness.add_cluster("default");
        let error = harness.call::<RunTask>(input).await.expect_err("no hosts");
        assert_eq!(error.message, "No Container Instances were found in your cluster.");
    }

    #[tokio::test]
    async fn tasks_beyond_the_room_are_failures_with_reason_and_numbers() {
        let harness = harness().await;
        harness.add_host(1, "a");
        let answer = run(&harness, json!({"count": 10})).await;
        let (tasks, failures) = (answer["tasks"].as_array().expect("tasks"), &answer["failures"]);
        assert_eq!(tasks.len(), 8);
        assert!(
            tasks
                .iter()
                .all(|task| task["lastStatus"] == "PENDING" && task["memory"] == "1024")
        );
        assert_eq!(failures.as_array().map(Vec::len), Some(1));
        assert_eq!(failures[0]["reason"], "RESOURCE:MEMORY");
        let arn = failures[0]["arn"].as_str().expect("arn");
        assert!(
            arn.starts_with("arn:aws:ecs:us-east-1:123456789012:container-instance/default/"),
            "{arn}"
        );
        assert!(
            failures[0]["detail"].as_str().is_some_and(|d| d.contains("1024 MiB")),
            "{failures}"
        );
    }

    #[tokio::test]
    async fn tasks_are_divided_among_the_capacity_providers_of_the_request_or_the_cluster() {
        let harness = harness().await;
        harness.add_host(1, "a");
        for name in ["plain", "gpu"] {
            harness.add_capacity_provider(name).await;
        }
        let default = json!([{"capacityProvider": "gpu", "weight": 1}]);
        let put = json!({
            "cluster": "default", "capacityProviders": ["plain", "gpu"], "defaultCapacityProviderStrategy": default
        });
        harness.call::<PutClusterCapacityProviders>(put).await.expect("put");
        let input = json!({"taskDefinition": "job"});
        let error = harness.call::<RunTask>(input).await.expect_err("an empty pool");
        assert_eq!(
            error.message,
            "No Container Instances were found in your capacity provider."
        );
        harness.add_host_of(2, "a", Some("gpu"));
        harness.add_host_of(3, "a", Some("plain"));
        let strategy = json!([
            {"capacityProvider": "gpu", "weight": 1}, {"capacityProvider": "plain", "weight": 3, "base": 2}
        ]);
        for (more, gpu, plain) in [
            (json!({"count": 6, "capacityProviderStrategy": strategy}), 1, 5),
            (json!({"count": 1}), 1, 0),
            (json!({"count": 1, "launchType": "EC2"}), 0, 0),
        ] {
            let answer = run(&harness, more).await;
            assert_eq!(answer["failures"], json!([]));
            let tasks = answer["tasks"].as_array().expect("tasks");
            let of = |name: &str| tasks.iter().filter(|task| task["capacityProviderName"] == name).count();
            assert_eq!((of("gpu"), of("plain")), (gpu, plain), "{tasks:?}");
        }
        let none = json!([{"capacityProvider": "gpu"}, {"capacityProvider": "plain"}]);
        for (more, part) in [
            (
                json!({"launchType": "EC2", "capacityProviderStrategy": strategy}),
                "both a launch type and capacity provider strategy",
            ),
            (
                json!({"capacityProviderStrategy": none}),
                "weight value greater than zero",
            ),
        ] {
            let mut input = more;
            input["taskDefinition"] = json!("job");
            let error = harness.call::<RunTask>(input).await.expect_err(part);
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn request_repeated_under_its_token_makes_no_second_task() {
        let harness = harness().await;
        harness.add_host(1, "a");
        let first = run(&harness, json!({"clientToken": "t"})).await;
        let again = run(&harness, json!({"clientToken": "t"})).await;
        assert_eq!(first["tasks"][0]["taskArn"], again["tasks"][0]["taskArn"]);
        assert_eq!(again["tasks"].as_array().map(Vec::len), Some(1));
        let other = json!({"clientToken": "t", "count": 2, "taskDefinition": "job"});
        let error = harness.call::<RunTask>(other).await.expect_err("another request");
        assert_eq!(error.kind.code, "ConflictException");
        assert_eq!(
            error.members["resourceIds"],
            json!([first["tasks"][0]["taskArn"]]),
            "the tasks that the token stands for"
        );
        let input = json!({"taskDefinition": "job:1"});
        harness
            .call::<DeregisterTaskDefinition>(input)
            .await
            .expect("deregisters");
        let late = run(&harness, json!({"clientToken": "t"})).await;
        assert_eq!(first["tasks"][0]["taskArn"], late["tasks"][0]["taskArn"]);
    }

    #[tokio::test]
    async fn task_of_a_definition_for_another_launch_type_is_refused() {
        let harness = harness().await;
        let host = harness.add_host(1, "a");
        let container = json!({"name": "c", "image": "i", "memory": 64});
        let input = json!({
            "family": "elsewhere", "requiresCompatibilities": ["EXTERNAL"], "containerDefinitions": [container]
        });
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let run = json!({"taskDefinition": "elsewhere"});
        let start = json!({"taskDefinition": "elsewhere", "containerInstances": [host.to_string()]});
        for error in [
            harness.call::<RunTask>(run).await.expect_err("refused"),
            harness.call::<StartTask>(start).await.expect_err("refused"),
        ] {
            assert_eq!(error.message, "Task definition does not support launch_type EC2.");
        }
    }

    #[tokio::test]
    async fn overrides_tags_and_placement_reach_the_task() {
        let harness = harness().await;
        harness.add_host(1, "a");
        harness.add_host(2, "b");
        let answer = run(&harness, json!({
            "count": 3, "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true, "startedBy": "me, by hand", "group": "g",
            "tags": [{"key": "own", "value": "1"}],
            "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.availability-zone == b"}],
            "overrides": {"containerOverrides": [{"name": "c", "memory": 2048, "command": ["x"]}]}
        }))
        .await;
        for task in answer["tasks"].as_array().expect("tasks") {
            assert_eq!(
                (&task["availabilityZone"], &task["memory"]),
                (&json!("b"), &json!("2048"))
            );
            assert_eq!(
                (&task["group"], &task["startedBy"]),
                (&json!("g"), &json!("me, by hand"))
            );
            assert_eq!(task["overrides"]["containerOverrides"][0]["command"], json!(["x"]));
            let keys: Vec<_> = task["tags"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|t| t["key"].clone())
                .collect();
            assert_eq!(keys, ["aws:ecs:clusterName", "own", "team"]);
        }
        assert_eq!(answer["failures"], json!([]));
    }

    #[tokio::test]
    async fn own_tags_win_over_those_of_the_definition_and_those_of_ecs_do_not_count() {
        let harness = harness().await;
        let host = harness.add_host(1, "a");
        let mut own: Vec<Value> = (0..49).map(|n| json!({"key": n.to_string(), "value": ""})).collect();
        own.push(json!({"key": "team", "value": "mine"}));
        let input = json!({
            "taskDefinition": "job", "tags": own, "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true
        });
        let mut on_host = input.clone();
        on_host["containerInstances"] = json!([host.to_string()]);
        for answer in [
            harness.call::<RunTask>(input.clone()).await.expect("runs"),
            harness.call::<StartTask>(on_host.clone()).await.expect("starts"),
        ] {
            let tags = answer["tasks"][0]["tags"].as_array().expect("tags");
            assert_eq!(tags.len(), 51);
            assert!(tags.contains(&json!({"key": "team", "value": "mine"})));
            assert!(tags.contains(&json!({"key": "aws:ecs:clusterName", "value": "default"})));
        }
        for input in [&input, &on_host] {
            let mut of_no_service = input.clone();
            of_no_service["propagateTags"] = json!("SERVICE");
            let mut too_many = input.clone();
            own[49]["key"] = json!("other");
            too_many["tags"] = json!(own);
            for (refused, part) in [(of_no_service, "SERVICE"), (too_many, "50 tags")] {
                let error = match refused.get("containerInstances") {
                    None => harness.call::<RunTask>(refused).await,
                    Some(_) => harness.call::<StartTask>(refused).await,
                };
                let error = error.expect_err(part);
                assert!(error.message.contains(part), "{}", error.message);
            }
        }
    }

    #[tokio::test]
    async fn request_that_cannot_be_honoured_is_refused() {
        let harness = harness().await;
        harness.add_host(1, "a");
        for (member, value, part) in [
            ("launchType", json!("FARGATE"), "FARGATE"),
            ("count", json!(11), "between 1 and 10"),
            (
                "capacityProviderStrategy",
                json!([{"capacityProvider": "x", "weight": 1}]),
                "not associated with the cluster",
            ),
            (
                "capacityProviderStrategy",
                json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]),
                "Not associated: FARGATE_SPOT",
            ),
            ("enableExecuteCommand", json!(true), "enableExecuteCommand"),
            ("group", json!("service:web"), "Invalid namespace for group."),
            (
                "overrides",
                json!({"containerOverrides": [{"name": "zz"}]}),
                "zz is not a container",
            ),
            ("overrides", json!({"taskRoleArn": "arn"}), "overrides.taskRoleArn"),
            ("taskDefinition", json!("other"), "TaskDefinition not found."),
        ] {
            let mut input = json!({"taskDefinition": "job"});
            input[member] = value;
            let error = harness.call::<RunTask>(input).await.expect_err(member);
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
