//! `UpdateTaskProtection`: keeps tasks from being stopped by the scheduler of their service for a while. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateTaskProtectionRequest, UpdateTaskProtectionResponse};
use berth_core::model::{TaskId, Timestamp};
use berth_core::state::{Command, Feature};

use super::{references, task_protection};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};

/// Most tasks of one request (ECS: 10).
const MAX_TASKS: usize = 10;
/// Longest protection, in minutes (ECS: 48 hours).
const MAX_MINUTES: i32 = 2_880;
/// Protection where the caller says none, in minutes (ECS: two hours).
const DEFAULT_MINUTES: i32 = 120;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateTaskProtectionRequest,
) -> Result<UpdateTaskProtectionResponse, AwsError> {
    let is_wanted = input
        .protection_enabled
        .ok_or_else(|| invalid("protectionEnabled must not be null."))?;
    let protected_until = until(is_wanted, input.expires_in_minutes, call.now)?;
    let state = api.read().await?;
    errors::check_upgraded(
        state.uses(Feature::TaskProtection),
        invalid,
        "Tasks cannot be protected",
    )?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let found = task_protection::find(&state, &cluster.key, input.tasks, MAX_TASKS)?;
    let tasks: Vec<TaskId> = found.iter().flatten().map(|task| task.id).collect();
    if !tasks.is_empty() {
        let command = Command::UpdateTaskProtection {
            tasks,
            protected_until,
            at: call.now,
        };
        api.propose(command).await?;
    }
    // Which of them the command left out shows in what they are now.
    let state = api.read().await?;
    let (mut protected_tasks, mut failures) = (vec![], vec![]);
    for found in found {
        let now = found.map(|task| state.task(task.id).map_or(task, |task| task));
        match now.map(|task| (task, task_protection::failure(task, is_wanted, call.now))) {
            Ok((task, None)) => protected_tasks.push(task_protection::protected(task, call.now)),
            Ok((_, Some(failure))) | Err(failure) => failures.push(failure),
        }
    }
    Ok(UpdateTaskProtectionResponse {
        protected_tasks: Some(protected_tasks),
        failures: Some(failures),
    })
}

/// Until when tasks are to be protected; `None` if not.
fn until(is_wanted: bool, minutes: Option<i32>, now: Timestamp) -> Result<Option<Timestamp>, AwsError> {
    match minutes {
        Some(_) if !is_wanted => Err(invalid("expiresInMinutes needs protectionEnabled to be true.")),
        Some(minutes) if !(1..=MAX_MINUTES).contains(&minutes) => Err(invalid(format!(
            "expiresInMinutes must be between 1 and {MAX_MINUTES}, not {minutes}."
        ))),
        _ if !is_wanted => Ok(None),
        _ => Ok(Some(
            now.plus_ms(i64::from(minutes.unwrap_or(DEFAULT_MINUTES)) * 60_000),
        )),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, GetTaskProtection, RegisterTaskDefinition, RunTask, StopTask, UpdateService,
        UpdateTaskProtection,
    };
    use berth_core::ids::IdSource;
    use berth_core::reconcile::{Agenda, reconcile};
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, NOW};

    /// A service `web` with two tasks, and their ARNs.
    async fn harness() -> (Harness, Vec<String>) {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        let input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
        harness.call::<CreateService>(input).await.expect("creates");
        settle(&harness);
        let state = harness.state.state();
        let web = harness.cluster("default").service("web");
        let tasks = state.tasks_of_service(&web);
        let arns: Vec<String> = tasks.map(|task| task.arn()).collect();
        assert_eq!(arns.len(), 2);
        (harness, arns)
    }

    fn settle(harness: &Harness) {
        let state = harness.state.state();
        let mut agenda = Agenda::everything(&state);
        for command in reconcile(&state, &mut agenda, NOW, &mut IdSource::from_seed(7)) {
            harness.state.apply(&command).expect("what was decided is accepted");
        }
    }

    async fn protect(harness: &Harness, tasks: &[&str]) -> Value {
        let input = json!({"cluster": "default", "tasks": tasks, "protectionEnabled": true});
        harness.call::<UpdateTaskProtection>(input).await.expect("answers")
    }

    #[tokio::test]
    async fn protection_lasts_two_hours_or_as_long_as_is_asked_for_until_it_is_ended() {
        let (harness, arns) = harness().await;
        let seconds = |minutes: u32| json!(1_700_000_000.0 + f64::from(minutes) * 60.0);
        let of = |arn: &str, until: Value| {
            let mut task = json!({"taskArn": arn, "protectionEnabled": !until.is_null()});
            if !until.is_null() {
                task["expirationDate"] = until;
            }
            json!({"protectedTasks": [task], "failures": []})
        };
        assert_eq!(protect(&harness, &[&arns[0]]).await, of(&arns[0], seconds(120)));
        for (enabled, minutes, until) in [
            (true, Some(1), seconds(1)),
            (true, Some(2_880), seconds(2_880)),
            (false, None, Value::Null),
        ] {
            let mut input = json!({"cluster": "default", "tasks": [arns[0]], "protectionEnabled": enabled});
            if let Some(minutes) = minutes {
                input["expiresInMinutes"] = json!(minutes);
            }
            let answer = harness.call::<UpdateTaskProtection>(input).await.expect("answers");
            assert_eq!(answer, of(&arns[0], until.clone()));
            let input = json!({"cluster": "default", "tasks": [arns[0]]});
            let answer = harness.call::<GetTaskProtection>(input).await.expect("answers");
            assert_eq!(answer, of(&arns[0], until));
        }
    }

    #[tokio::test]
    async fn protection_that_makes_no_sense_is_refused_and_changes_nothing() {
        let (harness, arns) = harness().await;
        let before = harness.state.state();
        let many = vec![arns[0].clone(); 11];
        for (input, named) in [
            (
                json!({"tasks": [arns[0]], "protectionEnabled": true, "expiresInMinutes": 0}),
                "expiresInMinutes",
            ),
            (
                json!({"tasks": [arns[0]], "protectionEnabled": true, "expiresInMinutes": 2881}),
                "2880",
            ),
            (
                json!({"tasks": [arns[0]], "protectionEnabled": false, "expiresInMinutes": 5}),
                "expiresInMinutes",
            ),
            (json!({"tasks": many, "protectionEnabled": true}), "10"),
            (json!({"tasks": [], "protectionEnabled": true}), "empty"),
        ] {
            let mut input = input;
            input["cluster"] = json!("default");
            let error = harness.call::<UpdateTaskProtection>(input).await.expect_err(named);
            assert_eq!(error.kind.code, "InvalidParameterException");
            assert!(error.message.contains(named), "{}", error.message);
        }
        assert_eq!(harness.state.state(), before);
        let elsewhere = json!({"cluster": "default", "tasks": ["0123456789abcdef0123456789abcdef"]});
        let error = harness
            .call_in::<GetTaskProtection>("eu-west-1", elsewhere)
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
    }

    #[tokio::test]
    async fn tasks_that_cannot_be_protected_are_failures_and_the_others_are_protected() {
        let (harness, arns) = harness().await;
        let ran = harness
            .call::<RunTask>(json!({"taskDefinition": "web"}))
            .await
            .expect("runs");
        let standalone = ran["tasks"][0]["taskArn"].as_str().expect("arn").to_owned();
        let missing = "arn:aws:ecs:us-east-1:123456789012:task/default/0123456789abcdef0123456789abcdef";
        harness.call::<StopTask>(json!({"task": arns[1]})).await.expect("stops");
        let answer = protect(&harness, &[&standalone, missing, &arns[1], &arns[0]]).await;
        let protected = answer["protectedTasks"].as_array().expect("tasks");
        assert_eq!(
            protected.iter().map(|t| t["taskArn"].clone()).collect::<Vec<_>>(),
            [json!(arns[0])]
        );
        let failures = answer["failures"].as_array().expect("failures").iter();
        let failures: Vec<_> = failures.map(|f| (f["arn"].clone(), f["reason"].clone())).collect();
        assert_eq!(
            failures,
            [
                (json!(standalone), json!("TASK_NOT_VALID")),
                (json!(missing), json!("MISSING")),
                (json!(arns[1]), json!("TASK_NOT_VALID")),
            ]
        );
        let input = json!({"cluster": "default", "tasks": [standalone, missing]});
        let answer = harness.call::<GetTaskProtection>(input).await.expect("answers");
        assert_eq!(answer["protectedTasks"], json!([]));
        assert_eq!(answer["failures"].as_array().map(Vec::len), Some(2));
    }

    #[tokio::test]
    async fn task_beyond_those_that_its_service_wants_is_not_protected() {
        let (harness, arns) = harness().await;
        let input = json!({"service": "web", "desiredCount": 1});
        harness.call::<UpdateService>(input).await.expect("updates");
        let answer = protect(&harness, &[&arns[0], &arns[1]]).await;
        assert_eq!(answer["protectedTasks"][0]["taskArn"], json!(arns[0]));
        assert_eq!(answer["failures"][0]["arn"], json!(arns[1]));
        assert_eq!(answer["failures"][0]["reason"], "DEPLOYMENT_BLOCKED");
        // What is protected already can be protected for longer.
        assert_eq!(protect(&harness, &[&arns[0]]).await["failures"], json!([]));
    }

    #[tokio::test]
    async fn protection_before_all_controllers_know_it_is_refused() {
        let harness = Harness::before_levels();
        harness.add_cluster("default");
        let task = "0123456789abcdef0123456789abcdef";
        let input = json!({"cluster": "default", "tasks": [task], "protectionEnabled": true});
        let error = harness.call::<UpdateTaskProtection>(input).await.expect_err("refused");
        assert!(error.message.contains("has been upgraded"), "{}", error.message);
    }
}
