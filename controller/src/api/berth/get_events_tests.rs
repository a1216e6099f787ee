//! Events through the API: their shapes, filters, positions and gaps.

use std::time::Duration;

use berth_aws::berth::operations::GetEvents;
use berth_aws::ecs::operations::{
    CreateService, RegisterTaskDefinition, RunTask, StopTask, UpdateContainerInstancesState,
};
use berth_core::announcements::Position;
use berth_core::model::{ContainerInstanceId, LogIndex, TaskReport, TaskStatus};
use berth_core::state::Command;
use serde_json::{Value, json};

use super::places;
use crate::api::testing::{HISTORY, Harness, NOW};

async fn harness() -> Harness {
    let harness = Harness::new();
    harness.add_host(1, "zone-a");
    let input =
        json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "i", "cpu": 256, "memory": 64}]});
    harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
    harness
}

/// Everything that is kept.
async fn all(harness: &Harness) -> Vec<Value> {
    events(harness, json!({"since": 0})).await
}

async fn events(harness: &Harness, input: Value) -> Vec<Value> {
    let answer = harness.call::<GetEvents>(input).await.expect("answered");
    answer["events"].as_array().expect("a list").clone()
}

/// Has the host say how far a task is.
fn report(harness: &Harness, task: &str, status: TaskStatus) {
    let id = task.rsplit('/').next().expect("an id").parse().expect("an id");
    let report = TaskReport {
        started_at: (status == TaskStatus::Running).then_some(NOW),
        ..TaskReport::new(id, status)
    };
    let command = Command::RecordTaskReports {
        container_instance: ContainerInstanceId(1),
        reports: vec![report],
        at: NOW.plus_ms(250),
    };
    harness.state.apply(&command).expect("the host is there");
}

async fn run(harness: &Harness) -> String {
    let answer = harness
        .call::<RunTask>(json!({"taskDefinition": "web"}))
        .await
        .expect("runs");
    answer["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned()
}

#[tokio::test]
async fn task_and_its_host_are_told_in_the_shapes_that_eventbridge_delivers() {
    let harness = harness().await;
    let task = run(&harness).await;
    report(&harness, &task, TaskStatus::Running);
    let all = all(&harness).await;
    let types: Vec<&str> = all.iter().filter_map(|event| event["detail-type"].as_str()).collect();
    let (of_task, of_host) = ("ECS Task State Change", "ECS Container Instance State Change");
    assert_eq!(types, [of_host, of_task, of_host, of_task]);
    let running = &all[3];
    assert_eq!(
        (
            &running["version"],
            &running["source"],
            &running["account"],
            &running["region"]
        ),
        (
            &json!("0"),
            &json!("aws.ecs"),
            &json!("123456789012"),
            &json!("us-east-1")
        )
    );
    assert_eq!(running["resources"], json!([task]));
    // To the second outside, to the millisecond inside.
    assert_eq!(running["time"], "2023-11-14T22:13:20Z");
    let detail = &running["detail"];
    assert_eq!(detail["updatedAt"], "2023-11-14T22:13:20.250Z");
    assert_eq!(detail["startedAt"], "2023-11-14T22:13:20.000Z");
    assert_eq!(
        (&detail["lastStatus"], &detail["desiredStatus"], &detail["version"]),
        (&json!("RUNNING"), &json!("RUNNING"), &json!(2))
    );
    assert_eq!(detail["containers"][0]["name"], "app");
    assert_eq!(
        detail["clusterArn"],
        "arn:aws:ecs:us-east-1:123456789012:cluster/default"
    );
    assert_eq!(detail.get("tags"), None);
    let host = &all[2]["detail"];
    assert_eq!(host["remainingResources"][0]["integerValue"], 4096 - 256);
    assert_eq!(
        (&host["agentConnected"], &host["status"]),
        (&json!(true), &json!("ACTIVE"))
    );
    assert_eq!(host["clusterArn"], detail["clusterArn"]);
    assert!(
        host["version"].as_i64() > all[0]["detail"]["version"].as_i64(),
        "{host}"
    );
    let id = running["id"].as_str().expect("an id");
    assert_eq!(id.len(), 36);
}

#[tokio::test]
async fn service_and_its_deployment_are_told_with_what_ecs_documents() {
    let harness = harness().await;
    let create = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
    let created = harness.call::<CreateService>(create).await.expect("created");
    let of_service = events(&harness, json!({"since": 0, "service": "web"})).await;
    let arn = &created["service"]["serviceArn"];
    assert_eq!(of_service[0]["detail-type"], "ECS Deployment State Change");
    assert_eq!(of_service[0]["resources"], json!([arn]));
    let id = created["service"]["deployments"][0]["id"].as_str().expect("an id");
    assert_eq!(
        of_service[0]["detail"],
        json!({
            "eventType": "INFO", "eventName": "SERVICE_DEPLOYMENT_IN_PROGRESS", "deploymentId": id,
            "updatedAt": "2023-11-14T22:13:20.000Z", "reason": format!("ECS deployment {id} in progress.")
        })
    );
}

#[tokio::test]
async fn host_that_is_drained_is_told_with_when() {
    let harness = harness().await;
    let host = format!("{:032x}", 1);
    let drain = json!({"containerInstances": [host], "status": "DRAINING"});
    harness
        .call::<UpdateContainerInstancesState>(drain)
        .await
        .expect("drained");
    let last = all(&harness).await.pop().expect("some");
    assert_eq!(last["detail"]["status"], "DRAINING");
    assert_eq!(last["detail"]["updatedAt"], "2023-11-14T22:13:20.000Z");
}

#[tokio::test]
async fn events_are_filtered_by_task_host_type_and_cluster() {
    let harness = harness().await;
    let (one, other) = (run(&harness).await, run(&harness).await);
    harness.call::<StopTask>(json!({"task": other})).await.expect("stops");
    let count = async |filter: Value| {
        let mut input = json!({"since": 0});
        for (member, value) in filter.as_object().expect("an object") {
            input[member] = value.clone();
        }
        events(&harness, input).await.len()
    };
    assert_eq!(count(json!({"task": one})).await, 1);
    assert_eq!(count(json!({"task": other})).await, 2);
    assert_eq!(
        count(json!({"detailTypes": ["ECS Container Instance State Change"]})).await,
        3
    );
    assert_eq!(count(json!({"containerInstance": format!("{:032x}", 1)})).await, 6);
    assert_eq!(count(json!({"detailTypes": ["ECS Service Action"]})).await, 0);
    harness.add_cluster("other");
    assert_eq!(count(json!({"cluster": "other"})).await, 0);
}

#[tokio::test]
async fn reader_goes_on_from_the_position_of_the_last_answer_and_waits() {
    let harness = harness().await;
    run(&harness).await;
    let first = harness
        .call::<GetEvents>(json!({"since": 0, "maxEvents": 2}))
        .await
        .expect("answered");
    assert_eq!(first["events"].as_array().map(Vec::len), Some(2));
    let second = harness.call::<GetEvents>(json!({"position": first["position"], "maxEvents": 2}));
    let second = second.await.expect("answered");
    assert_eq!(second["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(second.get("gap"), None);
    let waiting = harness.call::<GetEvents>(json!({"position": second["position"], "waitMs": 20_000}));
    let told = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        run(&harness).await
    };
    let (answer, task) = tokio::join!(waiting, told);
    let answer = answer.expect("answered");
    assert_eq!(answer["events"][0]["resources"], json!([task]));
    let none = harness.call::<GetEvents>(json!({"waitMs": 1})).await.expect("answered");
    assert_eq!(none["events"], json!([]), "without a position, what comes from now on");
}

#[tokio::test]
async fn reader_that_cannot_go_on_is_told_of_the_gap() {
    let harness = harness().await;
    harness.events().begin_after(LogIndex(50));
    let early = places::write(HISTORY, Position::after(LogIndex(3)));
    let answer = harness
        .call::<GetEvents>(json!({"position": early, "waitMs": 20_000}))
        .await
        .expect("answered");
    assert_eq!((&answer["gap"]["from"], &answer["events"]), (&json!(early), &json!([])));
    assert_eq!(
        answer["gap"]["to"],
        places::write(HISTORY, Position::after(LogIndex(50)))
    );
    let again = harness
        .call::<GetEvents>(json!({"position": answer["position"]}))
        .await
        .expect("answered");
    assert_eq!(again.get("gap"), None);
    let of_other = places::write(HISTORY + 1, Position::after(LogIndex(50)));
    let answer = harness
        .call::<GetEvents>(json!({"position": of_other}))
        .await
        .expect("answered");
    assert!(
        answer["gap"]["reason"]
            .as_str()
            .expect("why")
            .contains("another history"),
        "{answer}"
    );
    let answer = harness.call::<GetEvents>(json!({"since": 0})).await.expect("answered");
    assert!(answer["gap"].get("reason").is_some(), "{answer}");
    let since = NOW.0 / 1000 + 9;
    let answer = harness
        .call::<GetEvents>(json!({"since": since}))
        .await
        .expect("answered");
    assert!(answer["gap"].get("from").is_none(), "{answer}");
}

#[tokio::test]
async fn request_that_makes_no_sense_is_refused() {
    let harness = harness().await;
    for (input, code) in [
        (json!({"position": "nonsense"}), "InvalidParameterException"),
        (json!({"position": "1-1-1", "since": 0}), "InvalidParameterException"),
        (
            json!({"detailTypes": ["EC2 Instance State-change Notification"]}),
            "InvalidParameterException",
        ),
        (json!({"maxEvents": 0}), "InvalidParameterException"),
        (json!({"waitMs": 60_000}), "InvalidParameterException"),
        (json!({"cluster": "other"}), "ClusterNotFoundException"),
        (json!({"service": "other"}), "ServiceNotFoundException"),
        (json!({"task": "0".repeat(32)}), "ResourceNotFoundException"),
    ] {
        let error = harness.call::<GetEvents>(input.clone()).await.expect_err("refused");
        assert_eq!(error.kind.code, code, "{input}");
    }
}
