//! `RegisterDaemonTaskDefinition`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{RegisterDaemonTaskDefinitionRequest, RegisterDaemonTaskDefinitionResponse};
use berth_core::state::{Command, Event};

use super::{daemons, definition};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: RegisterDaemonTaskDefinitionRequest,
) -> Result<RegisterDaemonTaskDefinitionResponse, AwsError> {
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let definition = definition::daemon::from_request(call, &input)?;
    let events = api.propose(Command::RegisterTaskDefinition(definition)).await?;
    let registered = events.iter().find_map(|event| match event {
        Event::TaskDefinitionRegistered(key) => Some(key.arn()),
        _ => None,
    });
    Ok(RegisterDaemonTaskDefinitionResponse {
        daemon_task_definition_arn: registered,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DeleteDaemonTaskDefinition, DescribeDaemonTaskDefinition, DescribeTaskDefinition, ListDaemonTaskDefinitions,
        ListTaskDefinitions, RegisterDaemonTaskDefinition, RegisterTaskDefinition,
    };
    use serde_json::{Value, json};

    use crate::api::ecs::daemons::testing::{arn, create, harness};

    async fn describe(harness: &crate::api::testing::Harness, name: &str) -> Value {
        let input = json!({"daemonTaskDefinition": name});
        let answer = harness
            .call::<DescribeDaemonTaskDefinition>(input)
            .await
            .expect("describes");
        answer["daemonTaskDefinition"].clone()
    }

    #[tokio::test]
    async fn definition_comes_back_as_it_was_given_by_family_revision_and_arn() {
        let harness = harness().await;
        let input = json!({
            "family": "stats", "cpu": "128", "memory": "256", "pidMode": "none", "volumes": [],
            "containerDefinitions": [{
                "name": "main", "image": "stats", "privileged": false, "command": ["run"], "essential": true,
                "environment": [{"name": "A", "value": "1"}],
                "healthCheck": {"command": ["CMD", "true"]}, "dependsOn": [],
            }],
        });
        let registered = harness
            .call::<RegisterDaemonTaskDefinition>(input.clone())
            .await
            .expect("registers");
        let own = arn("daemon-task-definition/stats:1");
        assert_eq!(registered["daemonTaskDefinitionArn"], own);
        for name in ["stats", "stats:1", &own] {
            let found = describe(&harness, name).await;
            assert_eq!(found["daemonTaskDefinitionArn"], own);
            for member in ["family", "cpu", "memory", "pidMode", "volumes"] {
                assert_eq!(found[member], input[member], "{member}");
            }
            let (container, given) = (&found["containerDefinitions"][0], &input["containerDefinitions"][0]);
            for member in ["name", "image", "privileged", "command", "essential", "environment"] {
                assert_eq!(container[member], given[member], "{member}");
            }
            assert_eq!(container["healthCheck"]["interval"], 30);
            assert!(container.get("portMappings").is_none(), "{container}");
            assert_eq!((&found["status"], &found["revision"]), (&json!("ACTIVE"), &json!(1)));
        }
    }

    #[tokio::test]
    async fn families_of_daemons_and_of_tasks_are_apart() {
        let harness = harness().await;
        let input = json!({"family": "agent", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        let registered = harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        assert_eq!(registered["taskDefinition"]["revision"], 1);
        let of_tasks = harness.call::<ListTaskDefinitions>(json!({})).await.expect("lists");
        assert_eq!(of_tasks["taskDefinitionArns"], json!([arn("task-definition/agent:1")]));
        let input = json!({"taskDefinition": "agent:2"});
        assert!(harness.call::<DescribeTaskDefinition>(input).await.is_err());
        let input = json!({"taskDefinition": arn("daemon-task-definition/agent:2")});
        let error = harness
            .call::<DescribeTaskDefinition>(input)
            .await
            .expect_err("another kind");
        assert_eq!(error.kind.code, "InvalidParameterException");
    }

    #[tokio::test]
    async fn deleted_definition_is_deleted_once_no_daemon_uses_it() {
        let harness = harness().await;
        create(&harness, json!({})).await;
        for (name, status) in [("agent:1", "DELETE_IN_PROGRESS"), ("agent:2", "DELETED")] {
            let input = json!({"daemonTaskDefinition": name});
            let deleted = harness
                .call::<DeleteDaemonTaskDefinition>(input.clone())
                .await
                .expect("deletes");
            assert_eq!(
                deleted["daemonTaskDefinitionArn"],
                arn(&format!("daemon-task-definition/{name}"))
            );
            let found = describe(&harness, name).await;
            assert_eq!(found["status"], status);
            assert!(found["deleteRequestedAt"].is_number());
            let error = harness
                .call::<DeleteDaemonTaskDefinition>(input)
                .await
                .expect_err("again");
            assert_eq!(error.kind.code, "ClientException");
        }
        let input = json!({"daemonTaskDefinition": "agent"});
        let error = harness
            .call::<DescribeDaemonTaskDefinition>(input.clone())
            .await
            .expect_err("none is active");
        assert_eq!(error.message, "Unable to describe daemon task definition.");
        let error = harness
            .call::<DeleteDaemonTaskDefinition>(input)
            .await
            .expect_err("no revision");
        assert!(error.message.contains("names no revision"), "{}", error.message);
    }

    #[tokio::test]
    async fn definitions_are_listed_by_family_status_and_revision_in_both_orders() {
        let harness = harness().await;
        let input = json!({"family": "stats", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness
            .call::<RegisterDaemonTaskDefinition>(input)
            .await
            .expect("registers");
        let input = json!({"daemonTaskDefinition": "agent:1"});
        harness
            .call::<DeleteDaemonTaskDefinition>(input)
            .await
            .expect("deletes");
        for (input, wanted) in [
            (json!({}), vec!["agent:2", "stats:1"]),
            (
                json!({"sort": "DESC", "status": "ALL"}),
                vec!["stats:1", "agent:2", "agent:1"],
            ),
            (
                json!({"status": "ALL", "revision": "LAST_REGISTERED"}),
                vec!["agent:2", "stats:1"],
            ),
            (json!({"familyPrefix": "st"}), vec!["stats:1"]),
            (json!({"family": "st"}), vec![]),
            (json!({"family": "agent"}), vec!["agent:2"]),
            (json!({"status": "DELETE_IN_PROGRESS"}), vec![]),
        ] {
            let answer = harness
                .call::<ListDaemonTaskDefinitions>(input.clone())
                .await
                .expect("lists");
            let found = answer["daemonTaskDefinitions"].as_array().expect("a list").iter();
            let found: Vec<_> = found.map(|definition| definition["arn"].clone()).collect();
            let wanted = wanted
                .iter()
                .map(|name| json!(arn(&format!("daemon-task-definition/{name}"))));
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{input}");
        }
        let first = harness
            .call::<ListDaemonTaskDefinitions>(json!({"maxResults": 1}))
            .await
            .expect("lists");
        let more = json!({"maxResults": 1, "nextToken": first["nextToken"]});
        let second = harness.call::<ListDaemonTaskDefinitions>(more).await.expect("lists");
        assert_eq!(
            second["daemonTaskDefinitions"][0]["arn"],
            arn("daemon-task-definition/stats:1")
        );
        assert!(second.get("nextToken").is_none());
    }

    #[tokio::test]
    async fn what_no_daemon_task_can_have_is_refused_by_name() {
        let harness = harness().await;
        let container = json!({"name": "c", "image": "i", "memory": 64});
        for (member, value, part) in [
            ("pidMode", json!("shared"), "shared of pidMode"),
            ("ipcMode", json!("shared"), "shared of ipcMode"),
            ("taskRoleArn", json!("r"), "taskRoleArn"),
            ("volumes", json!([{"name": "v"}]), "volumes"),
            ("family", json!("a b"), "Family contains invalid characters"),
            ("containerDefinitions", json!([]), "Container list cannot be empty"),
            (
                "containerDefinitions",
                json!([{"name": "c", "image": "i", "memory": 64, "privileged": true}]),
                "containerDefinitions[0].privileged",
            ),
        ] {
            let mut input = json!({"family": "f", "containerDefinitions": [container]});
            input[member] = value;
            let error = harness
                .call::<RegisterDaemonTaskDefinition>(input)
                .await
                .expect_err(part);
            assert_eq!(error.kind.code, "ClientException");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
