//! `SubmitTaskStateChange`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{SubmitTaskStateChangeRequest, SubmitTaskStateChangeResponse};
use berth_core::model::{StateChange, Timestamp};

use super::ecs_agents;
use super::stop_task::reason;
use crate::api::context::{Api, Call};
use crate::api::members::{Honoured, refuse_others};

/// Tasks have no network interfaces and no managed agents that such an agent could speak of.
const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("task", Honoured::All),
    ("status", Honoured::All),
    ("reason", Honoured::All),
    ("containers", Honoured::All),
    ("pullStartedAt", Honoured::All),
    ("pullStoppedAt", Honoured::All),
    ("executionStoppedAt", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: SubmitTaskStateChangeRequest,
) -> Result<SubmitTaskStateChangeResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let task = ecs_agents::task(api, call, input.cluster.as_deref(), input.task.as_deref()).await?;
    let time = |given: Option<berth_aws::Timestamp>| given.map(|given| Timestamp(given.0));
    let mut change = StateChange::nothing_new(task.id, call.now);
    change.status = ecs_agents::task_status(input.status.as_deref())?;
    change.reason = reason(input.reason)?;
    change.containers = ecs_agents::containers(&task, input.containers.unwrap_or_default())?;
    change.pull_started_at = time(input.pull_started_at);
    change.pull_stopped_at = time(input.pull_stopped_at);
    change.execution_stopped_at = time(input.execution_stopped_at);
    ecs_agents::record(api, change).await?;
    Ok(SubmitTaskStateChangeResponse {
        acknowledgment: Some(ecs_agents::ACKNOWLEDGED.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        DescribeTasks, RegisterContainerInstance, RegisterTaskDefinition, StartTask, SubmitAttachmentStateChanges,
        SubmitContainerStateChange, SubmitTaskStateChange,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn register_definition(harness: &Harness) {
        let definition = json!({"family": "web", "containerDefinitions": [
            {"name": "web", "image": "web:1", "memory": 64, "portMappings": [{"containerPort": 80}]},
            {"name": "log", "image": "log:1", "memory": 64},
        ]});
        harness
            .call::<RegisterTaskDefinition>(definition)
            .await
            .expect("registered");
    }

    async fn start(harness: &Harness, host: &Value) -> String {
        let input = json!({"taskDefinition": "web", "containerInstances": [host]});
        let started = harness.call::<StartTask>(input).await.expect("started");
        started["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned()
    }

    async fn task_of_an_ecs_agent(harness: &Harness) -> String {
        harness.add_cluster("default");
        register_definition(harness).await;
        let host = json!({"totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 1024},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 1024},
        ]});
        let host = harness
            .call::<RegisterContainerInstance>(host)
            .await
            .expect("registered");
        start(harness, &host["containerInstance"]["containerInstanceArn"]).await
    }

    async fn described(harness: &Harness, task: &str) -> Value {
        let described = harness.call::<DescribeTasks>(json!({"tasks": [task]})).await;
        described.expect("described")["tasks"][0].clone()
    }

    #[tokio::test]
    async fn task_goes_as_its_agent_says_and_never_back() {
        let harness = Harness::new();
        let task = task_of_an_ecs_agent(&harness).await;
        let binding = json!({"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"});
        let input = json!({"task": task, "containerName": "web", "status": "RUNNING", "runtimeId": "abc",
            "networkBindings": [binding]});
        let answer = harness
            .call::<SubmitContainerStateChange>(input)
            .await
            .expect("recorded");
        assert_eq!(answer, json!({"acknowledgment": "ACCEPT"}));
        let input = json!({"task": task, "status": "RUNNING", "pullStartedAt": 1, "containers": [
            {"containerName": "log", "status": "RUNNING", "imageDigest": "sha256:1"}]});
        harness.call::<SubmitTaskStateChange>(input).await.expect("recorded");
        let running = described(&harness, &task).await;
        assert_eq!(running["lastStatus"], "RUNNING");
        assert_eq!(running["containers"][0]["networkBindings"], json!([binding]));
        assert_eq!(running["containers"][0]["runtimeId"], "abc");
        assert_eq!(running["containers"][1]["imageDigest"], "sha256:1");
        let back = json!({"task": task, "status": "PENDING"});
        harness.call::<SubmitTaskStateChange>(back).await.expect("left out");
        assert_eq!(described(&harness, &task).await["lastStatus"], "RUNNING");
        let ended = json!({"task": task, "status": "STOPPED", "containers": [
            {"containerName": "web", "status": "STOPPED", "exitCode": 3}]});
        harness.call::<SubmitTaskStateChange>(ended).await.expect("recorded");
        let stopped = described(&harness, &task).await;
        assert_eq!(stopped["lastStatus"], "STOPPED");
        assert_eq!(stopped["stopCode"], "EssentialContainerExited");
        assert_eq!(stopped["stoppedReason"], "Essential container in task exited");
        assert_eq!(stopped["containers"][0]["exitCode"], 3);
    }

    #[tokio::test]
    async fn task_that_never_ran_could_not_be_started() {
        let harness = Harness::new();
        let task = task_of_an_ecs_agent(&harness).await;
        let ended = json!({"task": task, "status": "STOPPED", "containers": [
            {"containerName": "web", "status": "STOPPED", "reason": "CannotPullContainerError: no such image"}]});
        harness.call::<SubmitTaskStateChange>(ended).await.expect("recorded");
        let stopped = described(&harness, &task).await;
        assert_eq!(stopped["stopCode"], "TaskFailedToStart");
        assert_eq!(stopped["stoppedReason"], "CannotPullContainerError: no such image");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_and_what_is_of_berths_own_agent() {
        let harness = Harness::new();
        let task = task_of_an_ecs_agent(&harness).await;
        let host = harness.add_host(1, "a");
        let own = start(&harness, &json!(host.to_string())).await;
        let container = |name: &str| json!([{"containerName": name, "status": "RUNNING"}]);
        for (input, code, said) in [
            (
                json!({"task": task, "status": "DANCING"}),
                "InvalidParameterException",
                "DANCING",
            ),
            (
                json!({"task": task, "status": "RUNNING", "containers": container("db")}),
                "InvalidParameterException",
                "db",
            ),
            (
                json!({"task": own, "status": "STOPPED"}),
                "ClientException",
                "says by itself",
            ),
            (
                json!({"task": task, "attachments": [{"attachmentArn": "a", "status": "ATTACHED"}]}),
                "ClientException",
                "attachments",
            ),
        ] {
            let error = harness.call::<SubmitTaskStateChange>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, code, "{}", error.message);
            assert!(error.message.contains(said), "{}", error.message);
        }
        let input = json!({"attachments": [{"attachmentArn": "arn:aws:ecs:us-east-1:123456789012:attachment/default/1",
            "status": "ATTACHED"}]});
        let error = harness
            .call::<SubmitAttachmentStateChanges>(input)
            .await
            .expect_err("refused");
        assert!(error.message.contains("attachment/default/1"), "{}", error.message);
    }
}
