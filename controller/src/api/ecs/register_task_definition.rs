//! `RegisterTaskDefinition`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{RegisterTaskDefinitionRequest, RegisterTaskDefinitionResponse, errors as ecs};
use berth_core::model::{ContainerDefinition, NetworkMode};
use berth_core::state::{Command, Event, Feature};

use super::{definition, render, tags};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, client};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: RegisterTaskDefinitionRequest,
) -> Result<RegisterTaskDefinitionResponse, AwsError> {
    let mut definition = definition::from_request(call, input)?;
    if !api.uses(Feature::MembersThatAskForNothing) {
        definition.also_given.clear();
    }
    let needs_level = |container: &ContainerDefinition| {
        container.health_check.is_some() || !container.depends_on.is_empty() || container.start_timeout_secs.is_some()
    };
    errors::check_upgraded(
        !definition.containers.iter().any(needs_level) || api.uses(Feature::ContainerHealth),
        client,
        "Health checks, dependencies and start timeouts of containers are not supported",
    )?;
    errors::check_upgraded(
        definition.network_mode != NetworkMode::Awsvpc || api.uses(Feature::TaskNetworkInterfaces),
        client,
        "The network mode awsvpc is not supported",
    )?;
    errors::check_upgraded(
        definition.runtime_platform.is_none() || api.uses(Feature::FargatePlatform),
        client,
        "runtimePlatform is not supported",
    )?;
    let events = api.propose(Command::RegisterTaskDefinition(definition.clone())).await?;
    let registered = events.into_iter().find_map(|event| match event {
        Event::TaskDefinitionRegistered(key) => Some(key),
        _ => None,
    });
    definition.key = registered.ok_or_else(|| ecs::SERVER.error("The task definition got no revision."))?;
    Ok(RegisterTaskDefinitionResponse {
        task_definition: Some(render::task_definition(&definition)),
        tags: Some(tags::render(&definition.tags)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeTaskDefinition, RegisterTaskDefinition};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn definition(container: Value) -> Value {
        let mut container = container;
        for (member, value) in [("name", json!("web")), ("image", json!("busybox"))] {
            if container.get(member).is_none() {
                container[member] = value;
            }
        }
        json!({"family": "site", "containerDefinitions": [container]})
    }

    async fn refusal(input: Value) -> (String, String) {
        let error = Harness::new()
            .call::<RegisterTaskDefinition>(input)
            .await
            .expect_err("refused");
        (error.kind.code.to_owned(), error.message)
    }

    #[tokio::test]
    async fn definition_registered_twice_gets_the_next_revision_and_ecs_defaults() {
        let harness = Harness::new();
        let input = definition(json!({"memory": 128, "portMappings": [{"containerPort": 80}]}));
        harness
            .call::<RegisterTaskDefinition>(input.clone())
            .await
            .expect("registers");
        let answer = harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let mut registered = answer["taskDefinition"].clone();
        registered["registeredAt"].take();
        assert_eq!(
            registered,
            json!({
                "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/site:2",
                "family": "site", "revision": 2, "status": "ACTIVE", "volumes": [], "placementConstraints": [],
                "requiresAttributes": [], "compatibilities": ["EXTERNAL", "EC2"], "registeredAt": null,
                "registeredBy": "arn:aws:iam::123456789012:root",
                "containerDefinitions": [{
                    "name": "web", "image": "busybox", "cpu": 0, "memory": 128, "essential": true,
                    "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
                    "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": []
                }]
            })
        );
    }

    #[tokio::test]
    async fn member_that_is_not_honoured_is_refused_by_name() {
        for (member, value) in [
            ("logConfiguration", json!({"logDriver": "awslogs"})),
            ("mountPoints", json!([{"sourceVolume": "v"}])),
            ("secrets", json!([{"name": "a", "valueFrom": "b"}])),
            ("privileged", json!(true)),
        ] {
            let mut container = json!({"memory": 64});
            container[member] = value;
            let (code, message) = refusal(definition(container)).await;
            assert_eq!(code, "ClientException");
            assert!(
                message.contains(&format!("containerDefinitions[0].{member}")),
                "{message}"
            );
        }
        let mut input = definition(json!({"memory": 64}));
        input["taskRoleArn"] = json!("arn:aws:iam::123456789012:role/r");
        assert!(refusal(input).await.1.contains("taskRoleArn"));
    }

    #[tokio::test]
    async fn restart_policy_is_kept_as_given_and_refused_outside_of_the_bounds_of_ecs() {
        let given = json!({"enabled": true, "ignoredExitCodes": [0, 143], "restartAttemptPeriod": 180});
        let input = definition(json!({"memory": 64, "restartPolicy": given}));
        let answer = Harness::new()
            .call::<RegisterTaskDefinition>(input)
            .await
            .expect("registers");
        assert_eq!(
            answer["taskDefinition"]["containerDefinitions"][0]["restartPolicy"],
            given
        );
        for (policy, what) in [
            (
                json!({"enabled": true, "restartAttemptPeriod": 59}),
                "'restartPolicy.restartAttemptPeriod' must be between 60 and 1800 seconds, not 59.",
            ),
            (
                json!({"enabled": true, "restartAttemptPeriod": 1801}),
                "'restartPolicy.restartAttemptPeriod' must be between 60 and 1800 seconds, not 1801.",
            ),
            (
                json!({"enabled": true, "ignoredExitCodes": (0..51).collect::<Vec<i32>>()}),
                "'restartPolicy.ignoredExitCodes' can have at most 50 exit codes, not 51.",
            ),
        ] {
            let (code, message) = refusal(definition(json!({"memory": 64, "restartPolicy": policy}))).await;
            assert_eq!(code, "ClientException");
            assert_eq!(message, format!("Invalid setting for container 'web'. {what}"));
        }
    }

    #[tokio::test]
    async fn health_check_comes_back_with_the_defaults_of_ecs() {
        for (given, shown) in [
            (
                json!({"command": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"]}),
                json!({
                    "command": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"], "interval": 30, "timeout": 5, "retries": 3
                }),
            ),
            (
                json!({"command": ["CMD", "/check"], "interval": 5, "timeout": 2, "retries": 10, "startPeriod": 0}),
                json!({"command": ["CMD", "/check"], "interval": 5, "timeout": 2, "retries": 10, "startPeriod": 0}),
            ),
            (
                json!({"command": ["NONE"]}),
                json!({"command": ["NONE"], "interval": 30, "timeout": 5, "retries": 3}),
            ),
        ] {
            let input = definition(json!({"memory": 64, "healthCheck": given}));
            let answer = Harness::new()
                .call::<RegisterTaskDefinition>(input)
                .await
                .expect("registers");
            assert_eq!(
                answer["taskDefinition"]["containerDefinitions"][0]["healthCheck"],
                shown
            );
        }
    }

    #[tokio::test]
    async fn health_check_outside_of_the_bounds_of_ecs_or_without_a_command_is_refused() {
        let numbers = [
            ("interval", 4, "between 5 and 300 seconds, not 4."),
            ("interval", 301, "between 5 and 300 seconds, not 301."),
            ("timeout", 1, "between 2 and 60 seconds, not 1."),
            ("timeout", 61, "between 2 and 60 seconds, not 61."),
            ("retries", 0, "between 1 and 10, not 0."),
            ("retries", 11, "between 1 and 10, not 11."),
            ("startPeriod", -1, "between 0 and 300 seconds, not -1."),
            ("startPeriod", 301, "between 0 and 300 seconds, not 301."),
        ];
        for (member, value, part) in numbers {
            let mut check = json!({"command": ["CMD", "true"]});
            check[member] = json!(value);
            let (code, message) = refusal(definition(json!({"memory": 64, "healthCheck": check}))).await;
            assert_eq!(code, "ClientException");
            let what = format!("Invalid setting for container 'web'. 'healthCheck.{member}' must be {part}");
            assert_eq!(message, what);
        }
        for (command, part) in [
            (json!([]), "should not be null or empty"),
            (json!(["true"]), "must start with CMD"),
            (json!(["CMD"]), "must have a command after CMD."),
            (json!(["CMD-SHELL", ""]), "must have a command after CMD-SHELL."),
            (json!(["NONE", "x"]), "must have nothing after NONE"),
        ] {
            let check = json!({"command": command});
            let (code, message) = refusal(definition(json!({"memory": 64, "healthCheck": check}))).await;
            assert_eq!(code, "ClientException");
            assert!(message.contains(part), "{message}");
        }
    }

    /// Three containers, the second and third with these members; the first is essential and has no health check.
    fn three(second: Value, third: Value) -> Value {
        let container = |name: &str, essential: bool, more: Value| {
            let mut container = json!({"name": name, "image": "busybox", "memory": 64, "essential": essential});
            for (member, value) in more.as_object().expect("members") {
                container[member] = value.clone();
            }
            container
        };
        let containers = [
            container("a", true, json!({})),
            container("b", false, second),
            container("c", false, third),
        ];
        json!({"family": "site", "containerDefinitions": containers})
    }

    fn on(container: &str, condition: &str) -> Value {
        json!([{"containerName": container, "condition": condition}])
    }

    #[tokio::test]
    async fn dependencies_come_back_as_they_were_given() {
        let check = json!({"command": ["CMD", "true"]});
        let second = json!({"dependsOn": on("c", "HEALTHY"), "startTimeout": 60});
        let third = json!({"dependsOn": on("a", "START"), "healthCheck": check});
        let answer = Harness::new()
            .call::<RegisterTaskDefinition>(three(second.clone(), third))
            .await
            .expect("registers");
        let shown = &answer["taskDefinition"]["containerDefinitions"];
        assert_eq!(shown[1]["dependsOn"], second["dependsOn"]);
        assert_eq!(shown[1]["startTimeout"], 60);
        assert!(shown[0].get("dependsOn").is_none());
    }

    #[tokio::test]
    async fn dependencies_that_could_never_be_met_are_refused() {
        let with = |dependency: Value| json!({"dependsOn": dependency});
        for (second, third, part) in [
            (
                with(on("x", "START")),
                json!({}),
                "'x', which the task definition does not have",
            ),
            (with(on("b", "START")), json!({}), "names the container itself"),
            (
                with(on("a", "SUCCESS")),
                json!({}),
                "the condition SUCCESS for the essential container 'a'",
            ),
            (with(on("a", "HEALTHY")), json!({}), "'a', which has no health check"),
            (
                with(on("c", "START")),
                with(on("b", "START")),
                "goes in a circle: b, c wait for each other",
            ),
        ] {
            let (code, message) = refusal(three(second, third)).await;
            assert_eq!(code, "ClientException");
            assert!(
                message.starts_with("Invalid setting for container 'b'. 'dependsOn' "),
                "{message}"
            );
            assert!(message.contains(part), "{message}");
        }
    }

    #[tokio::test]
    async fn health_check_is_refused_while_there_may_be_controllers_that_do_not_know_it() {
        let input = definition(json!({"memory": 64, "healthCheck": {"command": ["CMD", "true"]}}));
        let refused = Harness::before_levels().call::<RegisterTaskDefinition>(input).await;
        let error = refused.expect_err("refused");
        assert_eq!(error.kind.code, "ClientException");
        assert!(error.message.contains("upgraded"), "{}", error.message);
    }

    #[tokio::test]
    async fn member_at_its_default_is_accepted_and_comes_back_as_it_was_given() {
        let harness = Harness::new();
        let given = json!({
            "name": "web", "image": "busybox", "cpu": 0, "memory": 64, "essential": true, "environment": [],
            "portMappings": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
            "privileged": false, "readonlyRootFilesystem": false, "interactive": false, "versionConsistency": "disabled",
            "linuxParameters": {}, "secrets": [], "entryPoint": [], "dockerLabels": {},
            "restartPolicy": {"enabled": false, "ignoredExitCodes": []}
        });
        let other = json!({"name": "other", "image": "busybox", "memory": 64});
        let input = json!({
            "family": "site", "containerDefinitions": [other, given], "volumes": [], "enableFaultInjection": false,
            "requiresCompatibilities": [], "tags": [{"key": "k", "value": "v"}]
        });
        let registered = harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let described = harness
            .call::<DescribeTaskDefinition>(json!({"taskDefinition": "site"}))
            .await
            .expect("describes");
        assert_eq!(registered["taskDefinition"], described["taskDefinition"]);
        let described = &described["taskDefinition"];
        assert_eq!(described["containerDefinitions"][1], given);
        assert!(described["containerDefinitions"][0].get("privileged").is_none());
        assert_eq!(described["enableFaultInjection"], false);
        assert_eq!(described["requiresCompatibilities"], json!([]));
        assert!(described["registeredAt"].is_number());
        assert!(described.get("tags").is_none(), "they are beside it");
    }

    #[tokio::test]
    async fn member_that_asks_for_nothing_is_not_kept_while_there_may_be_controllers_that_do_not_know_it() {
        let harness = Harness::before_levels();
        let input = definition(json!({"memory": 64, "privileged": false}));
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let described = harness
            .call::<DescribeTaskDefinition>(json!({"taskDefinition": "site"}))
            .await
            .expect("describes");
        let container = &described["taskDefinition"]["containerDefinitions"][0];
        assert!(container.get("privileged").is_none(), "{container}");
    }

    #[tokio::test]
    async fn container_that_breaks_a_rule_is_refused_in_the_words_of_ecs() {
        for (container, message) in [
            (
                json!({}),
                "Invalid setting for container 'web'. At least one of 'memory' or 'memoryReservation' must be specified.",
            ),
            (
                json!({"image": "", "memory": 64}),
                "Container.image should not be null or empty.",
            ),
            (
                json!({"name": "a b", "memory": 64}),
                "Container.name contains invalid characters.",
            ),
            (
                json!({"memory": 64, "essential": false}),
                "At least one container must be marked as essential.",
            ),
        ] {
            assert_eq!(
                refusal(definition(container)).await,
                ("ClientException".to_owned(), message.to_owned())
            );
        }
        for container in [
            json!({"memory": 4}),
            json!({"memory": 64, "memoryReservation": 65}),
            json!({"memory": 64, "cpu": -1}),
            json!({"memory": 64, "portMappings": [{"containerPort": 70000}]}),
            json!({"memory": 64, "portMappings": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
        ] {
            assert_eq!(refusal(definition(container)).await.0, "ClientException");
        }
    }

    #[tokio::test]
    async fn size_that_fargate_needs_of_the_task_is_asked_for_before_that_of_its_containers() {
        let mut input = definition(json!({}));
        input["networkMode"] = json!("awsvpc");
        input["requiresCompatibilities"] = json!(["FARGATE"]);
        for missing in ["cpu", "memory"] {
            let message = format!("Fargate requires that '{missing}' be defined at the task level.");
            assert_eq!(refusal(input.clone()).await, ("ClientException".to_owned(), message));
            input["cpu"] = json!("256");
        }
    }

    #[tokio::test]
    async fn host_network_with_another_host_port_is_refused() {
        let mut input = definition(json!({"memory": 64, "portMappings": [{"containerPort": 80, "hostPort": 81}]}));
        input["networkMode"] = json!("host");
        assert_eq!(
            refusal(input).await.1,
            "When networkMode=host, the host ports and container ports in port mappings must match."
        );
    }

    #[tokio::test]
    async fn task_memory_alone_is_enough_and_bounds_its_containers() {
        let mut input = definition(json!({}));
        input["memory"] = json!("512");
        input["cpu"] = json!("0.5 vCPU");
        let answer = Harness::new()
            .call::<RegisterTaskDefinition>(input)
            .await
            .expect("registers");
        assert_eq!(
            (&answer["taskDefinition"]["cpu"], &answer["taskDefinition"]["memory"]),
            (&json!("512"), &json!("512"))
        );
        let mut input = definition(json!({"memory": 600}));
        input["memory"] = json!("512");
        assert!(
            refusal(input)
                .await
                .1
                .contains("must not be greater than the memory of the task")
        );
    }
}
