//! Resources through the API: the list in pages, then what changes.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_aws::berth::operations::WatchResources;
use berth_aws::ecs::operations::{
    CreateService, DeleteCapacityProvider, DescribeTasks, RegisterTaskDefinition, RunTask, StopTask, TagResource,
};
use berth_core::model::LogIndex;
use serde_json::{Value, json};

use crate::api::testing::{HISTORY, Harness};

async fn harness() -> Harness {
    let harness = Harness::new();
    harness.add_host(1, "zone-a");
    harness.add_host(2, "zone-b");
    let input =
        json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "i", "cpu": 256, "memory": 64}]});
    harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
    let create = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
    harness.call::<CreateService>(create).await.expect("created");
    harness
}

async fn run(harness: &Harness) -> String {
    let answer = harness
        .call::<RunTask>(json!({"taskDefinition": "web"}))
        .await
        .expect("runs");
    answer["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned()
}

/// A tool that follows all resources, with pages as small as they can be.
struct Tool {
    position: Option<Value>,
    known: BTreeMap<String, Value>,
    kinds: Vec<String>,
}

impl Tool {
    fn new() -> Self {
        Self {
            position: None,
            known: BTreeMap::new(),
            kinds: vec![],
        }
    }

    async fn look(&mut self, harness: &Harness, size: u32, wait_ms: u32) -> Value {
        let mut input = json!({"maxResults": size, "waitMs": wait_ms});
        if let Some(position) = &self.position {
            input["position"] = position.clone();
        }
        let answer = harness.call::<WatchResources>(input).await.expect("answered");
        for change in answer["changes"].as_array().expect("a list") {
            let arn = change["arn"].as_str().expect("an ARN").to_owned();
            self.kinds.push(change["kind"].as_str().expect("a kind").to_owned());
            match change.get("resource") {
                Some(resource) => drop(self.known.insert(arn, resource.clone())),
                None => drop(self.known.remove(&arn)),
            }
        }
        self.position = Some(answer["position"].clone());
        answer
    }

    /// Looks until nothing is new.
    async fn catch_up(&mut self, harness: &Harness) {
        for _ in 0..200 {
            let answer = self.look(harness, 1, 0).await;
            if answer["listing"] == false && answer["changes"] == json!([]) {
                return;
            }
        }
        panic!("the list does not end");
    }
}

#[tokio::test]
async fn all_resources_are_listed_in_pages_in_the_shapes_of_ecs() {
    let harness = harness().await;
    harness.add_capacity_provider("gpu").await;
    let task = run(&harness).await;
    let mut tool = Tool::new();
    tool.catch_up(&harness).await;
    let kinds = [
        "CAPACITY_PROVIDER",
        "CLUSTER",
        "TASK_DEFINITION",
        "CONTAINER_INSTANCE",
        "CONTAINER_INSTANCE",
        "SERVICE",
        "TASK",
    ];
    assert_eq!(tool.kinds, kinds);
    let described = harness
        .call::<DescribeTasks>(json!({"tasks": [task], "include": ["TAGS"]}))
        .await;
    assert_eq!(tool.known[&task], described.expect("described")["tasks"][0]);
    let mut of_one_kind = json!({"kinds": ["SERVICE"]});
    let answer = harness
        .call::<WatchResources>(of_one_kind.clone())
        .await
        .expect("answered");
    assert_eq!(answer["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["listing"], true);
    of_one_kind["position"] = answer["position"].clone();
    harness.add_host(3, "zone-a");
    let answer = harness.call::<WatchResources>(of_one_kind).await.expect("answered");
    assert_eq!((&answer["changes"], &answer["listing"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn what_changes_between_two_pages_of_the_list_is_known_in_the_end() {
    let harness = harness().await;
    let first = run(&harness).await;
    let mut tool = Tool::new();
    tool.look(&harness, 2, 0).await;
    harness.add_capacity_provider("gpu").await;
    let second = run(&harness).await;
    harness.call::<StopTask>(json!({"task": first})).await.expect("stops");
    tool.catch_up(&harness).await;
    assert_eq!(tool.known[&first]["desiredStatus"], "STOPPED");
    assert_eq!(tool.known[&second]["desiredStatus"], "RUNNING");
    assert!(
        tool.known.keys().any(|arn| arn.ends_with("capacity-provider/gpu")),
        "{:?}",
        tool.known.keys()
    );
}

#[tokio::test]
async fn change_is_told_with_all_that_looks_other_and_what_is_gone_too() {
    let harness = harness().await;
    harness.add_capacity_provider("gpu").await;
    let mut tool = Tool::new();
    tool.catch_up(&harness).await;
    let told = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        run(&harness).await
    };
    let (answer, task) = tokio::join!(tool.look(&harness, 100, 20_000), told);
    let kinds: Vec<&str> = answer["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|change| change["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["CLUSTER", "CONTAINER_INSTANCE", "TASK"]);
    assert_eq!(answer["changes"][0]["resource"]["pendingTasksCount"], 1);
    assert_eq!(answer["changes"][1]["resource"]["pendingTasksCount"], 1);
    let tag = json!({"resourceArn": task, "tags": [{"key": "k", "value": "v"}]});
    harness.call::<TagResource>(tag).await.expect("tagged");
    harness
        .call::<DeleteCapacityProvider>(json!({"capacityProvider": "gpu"}))
        .await
        .expect("deleted");
    let answer = tool.look(&harness, 100, 0).await;
    assert_eq!(
        answer["changes"][0]["resource"]["tags"],
        json!([{"key": "k", "value": "v"}])
    );
    assert_eq!(answer["changes"][1]["gone"], true);
    assert!(!tool.known.keys().any(|arn| arn.ends_with("capacity-provider/gpu")));
}

#[tokio::test]
async fn tool_that_comes_back_too_late_or_to_another_history_gets_the_list_again() {
    let harness = harness().await;
    let mut tool = Tool::new();
    tool.catch_up(&harness).await;
    harness.events().begin_after(LogIndex(90));
    let answer = tool.look(&harness, 100, 20_000).await;
    assert!(
        answer["gap"]["reason"].as_str().expect("why").contains("listed anew"),
        "{answer}"
    );
    assert_eq!(
        (&answer["listing"], answer["changes"].as_array().map(Vec::len)),
        (&json!(true), Some(5))
    );
    let next = tool.look(&harness, 100, 0).await;
    assert_eq!((&next["listing"], next.get("gap")), (&json!(false), None));
    tool.position = Some(format!("{:016x}-1-0", HISTORY + 1).into());
    let answer = tool.look(&harness, 100, 0).await;
    assert!(
        answer["gap"]["reason"]
            .as_str()
            .expect("why")
            .contains("another history"),
        "{answer}"
    );
    for (input, code) in [
        (json!({"position": "nonsense"}), "InvalidParameterException"),
        (
            json!({"position": format!("{HISTORY:016x}-1-0-nonsense")}),
            "InvalidParameterException",
        ),
        (json!({"kinds": ["NODE"]}), "InvalidParameterException"),
        (json!({"cluster": "other"}), "ClusterNotFoundException"),
    ] {
        let error = harness
            .call::<WatchResources>(input.clone())
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, code, "{input}");
    }
}
