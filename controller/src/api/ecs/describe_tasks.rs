//! `DescribeTasks`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeTasksRequest, DescribeTasksResponse, TaskField};

use super::references::{self, Lookup};
use super::render;
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// Most tasks of one request (ECS: 100).
const MAX_TASKS: usize = 100;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeTasksRequest,
) -> Result<DescribeTasksResponse, AwsError> {
    let names = input.tasks.unwrap_or_default();
    if names.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    if names.len() > MAX_TASKS {
        return Err(invalid(format!("Tasks must not be more than {MAX_TASKS}.")));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let with_tags = input.include.unwrap_or_default().contains(&TaskField::Tags);
    let (mut tasks, mut failures) = (vec![], vec![]);
    for name in &names {
        match references::task(&state, &cluster.key, name)? {
            Lookup::Found(task) => tasks.push(render::task(&state, task, with_tags)),
            Lookup::Missing(arn) => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeTasksResponse {
        tasks: Some(tasks),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeTasks, ListTasks, RegisterTaskDefinition, RunTask, StopTask};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn harness(count: u32) -> (Harness, Vec<String>) {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "f", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let input = json!({"taskDefinition": "f", "count": count, "startedBy": "me"});
        let answer = harness.call::<RunTask>(input).await.expect("runs");
        let arn = |task: &Value| task["taskArn"].as_str().expect("arn").to_owned();
        let arns = answer["tasks"].as_array().expect("tasks").iter().map(arn).collect();
        (harness, arns)
    }

    #[tokio::test]
    async fn tasks_are_described_and_missing_ones_are_failures() {
        let (harness, arns) = harness(1).await;
        let missing = "0123456789abcdef0123456789abcdef";
        let input = json!({"tasks": [arns[0], missing]});
        let answer = harness.call::<DescribeTasks>(input).await.expect("describes");
        assert_eq!(answer["tasks"][0]["taskArn"], json!(arns[0]));
        assert_eq!(
            answer["failures"],
            json!([{
                "arn": format!("arn:aws:ecs:us-east-1:123456789012:task/default/{missing}"), "reason": "MISSING"
            }])
        );
        let error = harness
            .call::<DescribeTasks>(json!({"tasks": []}))
            .await
            .expect_err("refused");
        assert_eq!(error.message, "Tasks cannot be empty.");
    }

    #[tokio::test]
    async fn task_that_is_stopped_says_by_whom_and_why() {
        let (harness, arns) = harness(1).await;
        let input = json!({"task": arns[0], "reason": "enough"});
        let task = harness.call::<StopTask>(input).await.expect("stops")["task"].clone();
        assert_eq!(
            (&task["desiredStatus"], &task["stoppedReason"]),
            (&json!("STOPPED"), &json!("enough"))
        );
        assert_eq!(task["stopCode"], "UserInitiated");
        let input = json!({"task": "0123456789abcdef0123456789abcdef"});
        let error = harness.call::<StopTask>(input).await.expect_err("refused");
        assert_eq!(error.message, "The referenced task was not found.");
    }

    #[tokio::test]
    async fn tasks_are_listed_by_filter_and_page() {
        let (harness, mut arns) = harness(3).await;
        arns.sort();
        let first = harness
            .call::<ListTasks>(json!({"maxResults": 2}))
            .await
            .expect("lists");
        assert_eq!(first["taskArns"], json!(arns[..2]));
        let input = json!({"maxResults": 2, "nextToken": first["nextToken"]});
        let second = harness.call::<ListTasks>(input).await.expect("lists");
        assert_eq!(second["taskArns"], json!(arns[2..]));
        harness.call::<StopTask>(json!({"task": arns[0]})).await.expect("stops");
        for (filter, expected) in [
            (json!({"desiredStatus": "STOPPED"}), &arns[..1]),
            (json!({}), &arns[1..]),
            (json!({"family": "f", "startedBy": "me"}), &arns[1..]),
            (json!({"family": "other"}), &arns[..0]),
            (json!({"startedBy": "you"}), &arns[..0]),
            (json!({"launchType": "FARGATE"}), &arns[..0]),
            (
                json!({"containerInstance": "00000000000000000000000000000001"}),
                &arns[1..],
            ),
        ] {
            let answer = harness.call::<ListTasks>(filter.clone()).await.expect("lists");
            assert_eq!(answer["taskArns"], json!(expected), "{filter}");
        }
        let error = harness
            .call::<ListTasks>(json!({"serviceName": "web"}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ServiceNotFoundException");
    }
}
