//! `launchType` of requests and answers, and what goes with it: EC2 is every host of the cluster, FARGATE those that offer it. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{LaunchType, PlacementConstraint, PlacementStrategy, errors as ecs};
use berth_core::model::{FARGATE, PlatformVersion, TaskDefinition};
use berth_core::state::{ClusterState, Feature};

use super::definition::fargate;
use crate::api::errors::{check_upgraded, client, invalid};
use crate::api::members::Honoured;

/// Those that there are.
pub(super) const HONOURED: Honoured = Honoured::Only(&["EC2", FARGATE]);

/// The operating system of all hosts, as ECS calls it.
const PLATFORM_FAMILY: &str = "Linux";

/// What a request says beside its launch type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside<'a> {
    pub(super) platform_version: Option<&'a str>,
    pub(super) constraints: bool,
    pub(super) strategies: bool,
}

impl<'a> Beside<'a> {
    /// What a request for a service says.
    pub(super) fn of_request(
        platform_version: Option<&'a str>,
        constraints: Option<&[PlacementConstraint]>,
        strategies: Option<&[PlacementStrategy]>,
    ) -> Self {
        Self {
            platform_version,
            constraints: constraints.is_some_and(|given| !given.is_empty()),
            strategies: strategies.is_some_and(|given| !given.is_empty()),
        }
    }
}

/// Refuses tasks of a definition that cannot be of the launch type; EC2 where none is named.
///
/// # Errors
/// `ClientException`.
pub(super) fn check_compatible(definition: &TaskDefinition, launch_type: Option<&str>) -> Result<(), AwsError> {
    let requires = &definition.requires_compatibilities;
    let (name, is_compatible) = match launch_type {
        Some(FARGATE) => (FARGATE, fargate::check(definition).is_ok()),
        _ => ("EC2", requires.is_empty() || requires.iter().any(|name| name == "EC2")),
    };
    match is_compatible {
        true => Ok(()),
        false => Err(client(format!("Task definition does not support launch_type {name}."))),
    }
}

/// Refuses what does not go with the launch type.
///
/// # Errors
/// `InvalidParameterException` in ECS's words, `PlatformUnknownException` for a platform version that there is not.
pub(super) fn check_beside(launch_type: Option<&str>, beside: Beside<'_>) -> Result<(), AwsError> {
    let version = beside.platform_version.filter(|version| !version.is_empty());
    if launch_type != Some(FARGATE) {
        return match version {
            Some(_) => Err(invalid(
                "The platform version must be null when specifying an EC2 launch type.",
            )),
            None => Ok(()),
        };
    }
    if let Some(other) = version.filter(|version| PlatformVersion::of(version).is_none()) {
        return Err(ecs::PLATFORM_UNKNOWN.error(format!(
            "The specified platform version {other} does not exist. Hosts have one platform version: leave platformVersion out, or use {} or {}.",
            PlatformVersion::Latest.as_str(),
            PlatformVersion::V1_4_0.as_str()
        )));
    }
    if beside.constraints {
        return Err(invalid(
            "Placement constraints are not supported with FARGATE launch type.",
        ));
    }
    match beside.strategies {
        true => Err(invalid(
            "Placement strategies are not supported with FARGATE launch type.",
        )),
        false => Ok(()),
    }
}

/// The platform version that a request names, if it does and [`check_beside`] has nothing against it.
///
/// # Errors
/// `InvalidParameterException` for one by its number while there may be controllers that cannot keep it.
pub(super) fn platform_version(state: &ClusterState, given: Option<&str>) -> Result<Option<PlatformVersion>, AwsError> {
    let version = given.and_then(PlatformVersion::of);
    let is_known = state.uses(Feature::FargatePlatform);
    let is_default = version.is_none_or(|version| version.is_latest());
    check_upgraded(is_known || is_default, invalid, "platformVersion is not supported")?;
    Ok(version.filter(|_| is_known))
}

/// The launch type as requests and answers have it.
pub(super) fn render(launch_type: Option<&str>) -> LaunchType {
    match launch_type {
        Some(FARGATE) => LaunchType::Fargate,
        _ => LaunchType::Ec2,
    }
}

/// The platform version of what is asked for, such as a service, and the platform family; EC2 has none.
pub(super) fn platform(launch_type: Option<&str>, version: PlatformVersion) -> (Option<String>, Option<String>) {
    of_fargate(launch_type, version)
}

/// The platform version of what is there, such as a task, and the platform family; EC2 has none.
pub(super) fn resolved_platform(launch_type: Option<&str>) -> (Option<String>, Option<String>) {
    of_fargate(launch_type, PlatformVersion::default().resolved())
}

fn of_fargate(launch_type: Option<&str>, version: PlatformVersion) -> (Option<String>, Option<String>) {
    match launch_type == Some(FARGATE) {
        true => (Some(version.as_str().to_owned()), Some(PLATFORM_FAMILY.to_owned())),
        false => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, CreateTaskSet, DescribeClusters, ListServices, ListTasks, PutClusterCapacityProviders,
        RegisterTaskDefinition, RunTask, StartTask, UpdateService,
    };
    use berth_core::model::ContainerInstanceId;
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    /// A definition `web` for FARGATE alone, one `own` that says nothing of it and could not, and hosts of which the second offers it.
    async fn harness() -> Harness {
        let harness = Harness::new();
        let container = json!({"name": "c", "image": "i", "memory": 64});
        for (family, more) in [
            (
                "web",
                json!({"cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"]}),
            ),
            ("own", json!({})),
        ] {
            let mut input = more;
            input["family"] = json!(family);
            input["networkMode"] = json!("awsvpc");
            input["containerDefinitions"] = json!([container]);
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
        let own = ("ecs.capability.task-eni", "yes");
        let subnet = ("ecs.subnet-id", "subnet-a");
        harness.add_host_with(1, &[own, subnet], None);
        harness.add_host_with(2, &[own, subnet, ("berth.fargate", "yes")], None);
        harness
    }

    fn request(more: Value) -> Value {
        let mut input = json!({
            "taskDefinition": "web", "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}}
        });
        for (member, value) in more.as_object().into_iter().flatten() {
            input[member] = value.clone();
        }
        input
    }

    #[tokio::test]
    async fn tasks_go_to_hosts_that_offer_it_and_are_shown_as_ecs_shows_them() {
        let harness = harness().await;
        let input = request(json!({"count": 3, "platformVersion": "LATEST"}));
        let answer = harness.call::<RunTask>(input).await.expect("runs");
        assert_eq!(answer["failures"], json!([]));
        for task in answer["tasks"].as_array().expect("tasks") {
            assert_eq!(
                (&task["launchType"], &task["platformVersion"]),
                (&json!("FARGATE"), &json!("1.4.0"))
            );
            assert_eq!(
                (&task["platformFamily"], &task["containerInstanceArn"]),
                (&json!("Linux"), &Value::Null)
            );
            assert_eq!((&task["cpu"], &task["memory"]), (&json!("256"), &json!("512")));
        }
        let on = |host: u128| json!({"containerInstance": ContainerInstanceId(host).to_string()});
        for (filter, found) in [
            (on(1), 0),
            (on(2), 3),
            (json!({"launchType": "FARGATE"}), 3),
            (json!({"launchType": "EC2"}), 0),
        ] {
            let listed = harness.call::<ListTasks>(filter).await.expect("listed");
            assert_eq!(listed["taskArns"].as_array().map(Vec::len), Some(found));
        }
        let input = json!({"clusters": ["default"], "include": ["STATISTICS"]});
        let described = harness.call::<DescribeClusters>(input).await.expect("described");
        let statistics = described["clusters"][0]["statistics"].as_array().expect("statistics");
        let of = |name: &str| {
            statistics
                .iter()
                .find(|pair| pair["name"] == name)
                .map(|pair| &pair["value"])
        };
        assert_eq!(of("pendingFargateTasksCount"), Some(&json!("3")));
        assert_eq!(of("pendingEC2TasksCount"), Some(&json!("0")));
    }

    #[tokio::test]
    async fn what_does_not_go_with_the_launch_type_is_refused_in_the_words_of_ecs() {
        let harness = harness().await;
        let constraints = json!([{"type": "distinctInstance"}]);
        for (more, code, said) in [
            (
                json!({"taskDefinition": "own"}),
                "ClientException",
                "Task definition does not support launch_type FARGATE.",
            ),
            (
                json!({"launchType": "EC2"}),
                "ClientException",
                "Task definition does not support launch_type EC2.",
            ),
            (
                json!({"taskDefinition": "own", "launchType": "EC2", "platformVersion": "LATEST"}),
                "InvalidParameterException",
                "The platform version must be null when specifying an EC2 launch type.",
            ),
            (
                json!({"platformVersion": "1.3.0"}),
                "PlatformUnknownException",
                "The specified platform version 1.3.0 does not exist.",
            ),
            (
                json!({"placementConstraints": constraints}),
                "InvalidParameterException",
                "Placement constraints are not supported with FARGATE launch type.",
            ),
            (
                json!({"placementStrategy": [{"type": "random"}]}),
                "InvalidParameterException",
                "Placement strategies are not supported with FARGATE launch type.",
            ),
        ] {
            let ran = harness.call::<RunTask>(request(more.clone())).await.expect_err(said);
            let mut input = request(more);
            input["serviceName"] = json!("site");
            input["desiredCount"] = json!(1);
            let created = harness.call::<CreateService>(input).await.expect_err(said);
            for error in [ran, created] {
                assert_eq!(error.kind.code, code, "{}", error.message);
                assert!(error.message.starts_with(said), "{}", error.message);
            }
        }
        let daemon = request(json!({"serviceName": "site", "schedulingStrategy": "DAEMON"}));
        let error = harness.call::<CreateService>(daemon).await.expect_err("refused");
        assert!(
            error.message.starts_with("The DAEMON scheduling strategy"),
            "{}",
            error.message
        );
        let larger = request(json!({"overrides": {"memory": "4096"}}));
        let error = harness.call::<RunTask>(larger).await.expect_err("refused");
        assert!(
            error.message.starts_with("No Fargate configuration exists"),
            "{}",
            error.message
        );
        let start = json!({
            "taskDefinition": "web", "containerInstances": [ContainerInstanceId(2).to_string()],
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}}
        });
        let error = harness.call::<StartTask>(start).await.expect_err("refused");
        assert_eq!(error.message, "Task definition does not support launch_type EC2.");
    }

    #[tokio::test]
    async fn services_and_task_sets_show_their_launch_type_and_keep_to_it() {
        let harness = harness().await;
        let input = request(json!({"serviceName": "site", "desiredCount": 1}));
        let service = harness.call::<CreateService>(input).await.expect("creates")["service"].clone();
        assert_eq!(
            (&service["launchType"], &service["platformVersion"]),
            (&json!("FARGATE"), &json!("LATEST"))
        );
        let deployment = &service["deployments"][0];
        assert_eq!(
            (&deployment["launchType"], &deployment["platformVersion"]),
            (&json!("FARGATE"), &json!("1.4.0"))
        );
        for (more, said) in [
            (json!({"taskDefinition": "own"}), "does not support launch_type FARGATE"),
            (
                json!({"placementStrategy": [{"type": "random"}]}),
                "Placement strategies are not supported",
            ),
            (json!({"platformVersion": "1.3.0"}), "platform version 1.3.0"),
            (
                json!({"capacityProviderStrategy": [{"capacityProvider": "gpu", "weight": 1}], "forceNewDeployment": true}),
                "does not support launch_type EC2",
            ),
        ] {
            let mut input = more;
            input["service"] = json!("site");
            let error = harness.call::<UpdateService>(input).await.expect_err(said);
            assert!(error.message.contains(said), "{}", error.message);
        }
        let nothing = json!({"service": "site", "capacityProviderStrategy": []});
        let service = harness.call::<UpdateService>(nothing).await.expect("updates")["service"].clone();
        assert_eq!(service["launchType"], "FARGATE", "it had no strategy");
        let input = json!({"serviceName": "sets", "desiredCount": 1, "deploymentController": {"type": "EXTERNAL"}});
        harness.call::<CreateService>(input).await.expect("creates");
        let input = request(json!({"cluster": "default", "service": "sets"}));
        let set = harness.call::<CreateTaskSet>(input).await.expect("creates")["taskSet"].clone();
        assert_eq!(
            (&set["launchType"], &set["platformVersion"]),
            (&json!("FARGATE"), &json!("LATEST"))
        );
    }

    #[tokio::test]
    async fn service_goes_to_capacity_providers_of_ecs_and_back_to_the_launch_type() {
        let harness = harness().await;
        harness.add_host_with(
            3,
            &[
                ("ecs.capability.task-eni", "yes"),
                ("ecs.subnet-id", "subnet-a"),
                ("berth.fargate-spot", "yes"),
            ],
            None,
        );
        let strategy = json!([
            {"capacityProvider": "FARGATE", "weight": 1, "base": 0}, {"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}
        ]);
        let put = json!({
            "cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": strategy
        });
        harness.call::<PutClusterCapacityProviders>(put).await.expect("put");
        let mut input = request(json!({"count": 4}));
        input["launchType"] = Value::Null;
        let answer = harness.call::<RunTask>(input).await.expect("runs");
        assert_eq!(answer["failures"], json!([]));
        let tasks = answer["tasks"].as_array().expect("tasks");
        let of = |name: &str| tasks.iter().filter(|task| task["capacityProviderName"] == name).count();
        assert_eq!((of("FARGATE"), of("FARGATE_SPOT")), (2, 2));
        assert!(tasks.iter().all(|task| task["launchType"] == "FARGATE"));
        let input = request(json!({"serviceName": "site", "desiredCount": 1}));
        harness.call::<CreateService>(input).await.expect("creates");
        let change = json!({"service": "site", "capacityProviderStrategy": strategy, "forceNewDeployment": true});
        let service = harness.call::<UpdateService>(change).await.expect("updates")["service"].clone();
        assert_eq!(
            (
                &service["launchType"],
                &service["capacityProviderStrategy"],
                &service["platformVersion"]
            ),
            (&Value::Null, &strategy, &json!("LATEST"))
        );
        let input = json!({"launchType": "FARGATE"});
        let listed = harness.call::<ListServices>(input).await.expect("listed");
        assert_eq!(listed["serviceArns"].as_array().map(Vec::len), Some(1));
        let back = json!({"service": "site", "capacityProviderStrategy": [], "forceNewDeployment": true});
        let service = harness.call::<UpdateService>(back).await.expect("updates")["service"].clone();
        assert_eq!(
            (&service["launchType"], &service["capacityProviderStrategy"]),
            (&json!("FARGATE"), &Value::Null)
        );
    }

    #[tokio::test]
    async fn services_show_the_platform_version_that_was_asked_for_and_another_begins_a_deployment() {
        let harness = harness().await;
        let input = request(json!({"serviceName": "site", "desiredCount": 1, "platformVersion": "1.4.0"}));
        let service = harness.call::<CreateService>(input).await.expect("creates")["service"].clone();
        assert_eq!(service["platformVersion"], "1.4.0");
        let update = async |more: Value| {
            let mut input = more;
            input["service"] = json!("site");
            harness.call::<UpdateService>(input).await.expect("updates")["service"].clone()
        };
        for (more, version, deployments) in [
            (json!({"desiredCount": 2}), "1.4.0", 1),
            (json!({"platformVersion": "1.4.0"}), "1.4.0", 1),
            (json!({"platformVersion": "LATEST"}), "LATEST", 2),
        ] {
            let service = update(more).await;
            assert_eq!(service["platformVersion"], version);
            assert_eq!(service["deployments"].as_array().map(Vec::len), Some(deployments));
            assert_eq!(service["deployments"][0]["platformVersion"], "1.4.0");
        }
    }

    #[tokio::test]
    async fn tasks_of_several_containers_go_to_hosts_that_share_networks_alone() {
        let harness = harness().await;
        let container = |name: &str| json!({"name": name, "image": "i"});
        let input = json!({
            "family": "pair", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"],
            "containerDefinitions": [container("a"), container("b")]
        });
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let run = request(json!({"taskDefinition": "pair"}));
        let answer = harness.call::<RunTask>(run.clone()).await.expect("answers");
        assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE");
        assert_eq!(answer["tasks"], json!([]));
        let own = [("ecs.capability.task-eni", "yes"), ("ecs.subnet-id", "subnet-a")];
        let sidecars = [
            own[0],
            own[1],
            ("berth.fargate", "runc"),
            ("berth.fargate-sidecars", "yes"),
        ];
        harness.add_host_with(3, &sidecars, None);
        let answer = harness.call::<RunTask>(run).await.expect("runs");
        assert_eq!(answer["failures"], json!([]));
    }

    #[tokio::test]
    async fn definition_for_fargate_is_held_to_its_rules() {
        let harness = Harness::new();
        let register = async |more: Value| {
            let container = json!({"name": "c", "image": "i", "stopTimeout": 120});
            let mut input = json!({
                "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [container]
            });
            for (member, value) in more.as_object().into_iter().flatten() {
                input[member] = value.clone();
            }
            harness.call::<RegisterTaskDefinition>(input).await
        };
        let definition = register(json!({})).await.expect("registers")["taskDefinition"].clone();
        assert_eq!(definition["compatibilities"], json!(["EC2", "FARGATE"]));
        assert_eq!(definition["requiresCompatibilities"], json!(["FARGATE"]));
        let member_of = json!([{"type": "memberOf", "expression": "attribute:a exists"}]);
        let slow = json!([{"name": "c", "image": "i", "stopTimeout": 121}]);
        for (more, said) in [
            (
                json!({"networkMode": "bridge"}),
                "Fargate only supports network mode 'awsvpc'.",
            ),
            (
                json!({"cpu": null, "containerDefinitions": [{"name": "c", "image": "i"}]}),
                "Fargate requires that 'cpu' be defined",
            ),
            (
                json!({"memory": "3072"}),
                "No Fargate configuration exists for given values: 256 CPU, 3072 memory.",
            ),
            (
                json!({"placementConstraints": member_of}),
                "Fargate does not support placement constraints",
            ),
            (
                json!({"containerDefinitions": slow}),
                "Invalid setting for container 'c'. With Fargate 'stopTimeout'",
            ),
        ] {
            let error = register(more).await.expect_err(said);
            assert_eq!(error.kind.code, "ClientException");
            assert!(error.message.starts_with(said), "{}", error.message);
        }
    }
}
