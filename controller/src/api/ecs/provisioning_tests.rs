//! `RunTask` on a pool whose hosts sleep: what it answers, and what other operations say of tasks that wait for a host.

use berth_aws::berth::operations::{ExplainPlacement, GetEvents};
use berth_aws::ecs::operations::{
    CreateCapacityProvider, DescribeClusters, DescribeTasks, ListTasks, PutClusterCapacityProviders,
    RegisterTaskDefinition, RunTask, StartTask, StopTask,
};
use berth_core::model::{ContainerInstanceId, PowerChange, TaskId};
use berth_core::state::{Command, MAX_PROVISIONING_TASKS, PlaceTask};
use serde_json::{Value, json};

use crate::api::testing::{Harness, NOW};

/// A cluster whose one pool has hosts that sleep, each of 4 vCPU and 8 GiB.
async fn harness(sleeping: u128) -> Harness {
    let harness = Harness::new();
    for id in 1..=sleeping {
        let host = harness.add_host_with(id, &[("berth.sleep", "")], Some("metal"));
        for command in [change(host, PowerChange::Sleep), gone(host)] {
            harness.state.apply(&command).expect("it falls asleep");
        }
    }
    let group = json!({"autoScalingGroupArn": "metal", "managedScaling": {"status": "ENABLED"}});
    let input = json!({"name": "metal", "autoScalingGroupProvider": group});
    harness.call::<CreateCapacityProvider>(input).await.expect("created");
    let default = json!([{"capacityProvider": "metal", "weight": 1}]);
    let input = json!({
        "cluster": "default", "capacityProviders": ["metal"], "defaultCapacityProviderStrategy": default
    });
    harness.call::<PutClusterCapacityProviders>(input).await.expect("put");
    for (family, memory) in [("job", 1024), ("large", 9000)] {
        let container = json!({"name": "c", "image": "i", "memory": memory, "cpu": 100});
        let input = json!({"family": family, "containerDefinitions": [container]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
    }
    harness
}

fn change(host: ContainerInstanceId, change: PowerChange) -> Command {
    Command::ChangePower {
        container_instance: host,
        change,
        at: NOW,
    }
}

fn gone(host: ContainerInstanceId) -> Command {
    Command::RecordAgentDisconnected {
        container_instance: host,
        last_heard_at: NOW,
        at: NOW,
    }
}

async fn run(harness: &Harness, mut input: Value) -> Value {
    input["taskDefinition"] = json!("job");
    harness.call::<RunTask>(input).await.expect("runs")
}

#[tokio::test]
async fn tasks_on_a_pool_that_sleeps_are_provisioning_and_have_all_that_was_asked_for_once_placed() {
    let harness = harness(1).await;
    let asked = json!({
        "count": 2, "group": "night", "startedBy": "cron", "tags": [{"key": "team", "value": "x"}], "enableECSManagedTags": false,
        "overrides": {"containerOverrides": [{"name": "c", "memory": 2048}]}, "clientToken": "t"
    });
    let answer = run(&harness, asked.clone()).await;
    assert_eq!(answer["failures"], json!([]));
    let tasks = answer["tasks"].as_array().expect("tasks").clone();
    assert_eq!(tasks.len(), 2);
    for task in &tasks {
        assert_eq!(
            (
                &task["lastStatus"],
                &task["desiredStatus"],
                &task["capacityProviderName"]
            ),
            (&json!("PROVISIONING"), &json!("RUNNING"), &json!("metal"))
        );
        assert_eq!(
            (task.get("containerInstanceArn"), task.get("connectivity")),
            (None, None)
        );
        assert_eq!((&task["group"], &task["memory"]), (&json!("night"), &json!("2048")));
    }
    assert_eq!(
        run(&harness, asked).await["tasks"].as_array().map(Vec::len),
        Some(2),
        "the same two"
    );
    let arn = &tasks[0]["taskArn"];
    let listed = harness.call::<ListTasks>(json!({})).await.expect("lists");
    assert_eq!(listed["taskArns"].as_array().map(Vec::len), Some(2));
    let clusters = harness.call::<DescribeClusters>(json!({})).await.expect("describes");
    assert_eq!(clusters["clusters"][0]["pendingTasksCount"], 2);
    let id: TaskId = arn
        .as_str()
        .and_then(|arn| arn.rsplit('/').next())
        .expect("an ARN")
        .parse()
        .expect("an id");
    let host = harness.add_host_with(1, &[("berth.sleep", "")], Some("metal"));
    let place = Command::PlaceTasks {
        placements: vec![PlaceTask {
            task: id,
            container_instance: host,
            placement: None,
        }],
        at: NOW,
    };
    harness.state.apply(&place).expect("there is room");
    let described = harness
        .call::<DescribeTasks>(json!({"tasks": [arn], "include": ["TAGS"]}))
        .await
        .expect("describes");
    let task = &described["tasks"][0];
    assert_eq!((&task["lastStatus"], &task["version"]), (&json!("PENDING"), &json!(2)));
    assert!(
        task["containerInstanceArn"]
            .as_str()
            .is_some_and(|arn| arn.ends_with(&host.to_string()))
    );
    assert_eq!(task["tags"], json!([{"key": "team", "value": "x"}]));
    assert_eq!(task["overrides"]["containerOverrides"][0]["memory"], 2048);
}

#[tokio::test]
async fn task_that_waits_is_stopped_at_once_and_every_change_of_it_is_an_event() {
    let harness = harness(1).await;
    let arn = run(&harness, json!({})).await["tasks"][0]["taskArn"].clone();
    let stopped = harness
        .call::<StopTask>(json!({"task": arn, "reason": "enough"}))
        .await
        .expect("stops");
    let task = &stopped["task"];
    assert_eq!(
        (
            &task["lastStatus"],
            &task["desiredStatus"],
            &task["stopCode"],
            &task["stoppedReason"]
        ),
        (
            &json!("STOPPED"),
            &json!("STOPPED"),
            &json!("UserInitiated"),
            &json!("enough")
        )
    );
    let events = harness
        .call::<GetEvents>(json!({"task": arn, "since": 0}))
        .await
        .expect("events");
    let statuses: Vec<&Value> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["detail"]["lastStatus"])
        .collect();
    assert_eq!(statuses, ["PROVISIONING", "STOPPED"]);
    let why = harness
        .call::<ExplainPlacement>(json!({"task": arn}))
        .await
        .expect_err("it never had a host");
    assert!(why.message.contains("never had a host: enough"), "{}", why.message);
}

#[tokio::test]
async fn task_that_waits_is_explained_by_its_pool_and_the_host_that_is_woken() {
    let harness = harness(2).await;
    let arn = run(&harness, json!({})).await["tasks"][0]["taskArn"].clone();
    let explained = || async {
        let answer = harness.call::<ExplainPlacement>(json!({"task": arn})).await;
        answer.expect("explained")["fit"].clone()
    };
    let fit = explained().await;
    assert_eq!(fit["taskArn"], arn);
    assert_eq!(fit["hosts"][0]["refusals"][0]["sentence"], "is asleep");
    assert_eq!(
        fit["sentence"],
        "None of 2 hosts would take a task now. It waits for a host of capacity provider metal, for 30 minutes at most since it was run. Of capacity \
         provider metal, host-1, host-2 are asleep, and one takes it once it is woken."
    );
    assert_eq!(fit["remedies"][0]["changes"][0]["type"], "WAKE_HOST");
    let call = change(ContainerInstanceId(2), PowerChange::Call);
    harness.state.apply(&call).expect("it is called");
    let fit = explained().await;
    let sentence = fit["sentence"].as_str().expect("text");
    assert!(
        sentence.ends_with("Of capacity provider metal, host-2 is being woken."),
        "{sentence}"
    );
    assert_eq!(fit["remedies"][0]["sentence"], "on host-2: wait until it has woken");
}

#[tokio::test]
async fn what_can_never_fit_or_is_for_one_host_is_answered_with_failures() {
    let harness = harness(1).await;
    let answer = harness
        .call::<RunTask>(json!({"taskDefinition": "large"}))
        .await
        .expect("answers");
    assert_eq!(answer["tasks"], json!([]));
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:MEMORY");
    assert_eq!(
        answer["failures"][0]["detail"],
        "is asleep, needs 9000 MiB, free 8192 of 8192 MiB, short by 808 MiB"
    );
    let launched = run(&harness, json!({"launchType": "EC2"})).await;
    assert_eq!(
        launched["failures"][0]["reason"], "AGENT",
        "it has no capacity provider"
    );
    let input = json!({"taskDefinition": "job", "containerInstances": [format!("{:032x}", 1)]});
    let started = harness.call::<StartTask>(input).await.expect("answers");
    assert_eq!(started["failures"][0]["reason"], "AGENT");
}

#[tokio::test]
async fn tasks_beyond_those_that_may_wait_at_once_are_refused_in_the_words_of_ecs() {
    let harness = harness(1).await;
    for _ in 0..MAX_PROVISIONING_TASKS / 10 {
        assert_eq!(
            run(&harness, json!({"count": 10})).await["tasks"]
                .as_array()
                .map(Vec::len),
            Some(10)
        );
    }
    let input = json!({"taskDefinition": "job"});
    let error = harness.call::<RunTask>(input).await.expect_err("too many wait");
    assert_eq!(error.kind.code, "ClientException");
    assert_eq!(error.message, "Tasks provisioning capacity limit exceeded.");
}
