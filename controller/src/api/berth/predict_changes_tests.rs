//! `PredictChanges` through the API: what would move, what would be lacking, what is refused, and that nothing is changed.

use berth_aws::berth::operations::PredictChanges;
use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition};
use serde_json::{Value, json};

use crate::api::testing::Harness;

async fn harness() -> Harness {
    let harness = Harness::new();
    for (id, zone) in [(1, "zone-a"), (2, "zone-b")] {
        harness.add_host(id, zone);
    }
    let definition = json!({
        "family": "web", "networkMode": "host",
        "containerDefinitions": [{"name": "app", "image": "app", "cpu": 1024, "memory": 4000}]
    });
    harness
        .call::<RegisterTaskDefinition>(definition)
        .await
        .expect("registered");
    let create = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 3});
    harness.call::<CreateService>(create).await.expect("created");
    harness
}

#[tokio::test]
async fn loss_of_a_zone_says_what_moves_what_finds_no_host_and_what_room_is_left() {
    let harness = harness().await;
    let before = harness.state.state();
    let answer = harness
        .call::<PredictChanges>(json!({"loseZones": ["zone-a"]}))
        .await
        .expect("predicted");
    assert_eq!(
        (&answer["settled"], &answer["hostsGivenUp"][0]["hostName"]),
        (&json!(true), &json!("host-1"))
    );
    let service = &answer["services"][0];
    assert_eq!(
        (&service["tasksBefore"], &service["tasksAfter"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(service["fit"]["hostsThatFit"], 0);
    let remedy = service["fit"]["remedies"][0]["sentence"].as_str().expect("text");
    assert_eq!(remedy, "on host-1: bring its agent back");
    let zones = &answer["after"]["zones"];
    assert_eq!(
        zones[0],
        json!({"availabilityZone": "zone-a", "hosts": 0, "freeCpu": 0, "freeMemory": 0})
    );
    assert_eq!(
        zones[1],
        json!({"availabilityZone": "zone-b", "hosts": 1, "freeCpu": 2048, "freeMemory": 192})
    );
    assert_eq!(
        answer["before"]["services"][0],
        json!({"serviceName": "web", "tasks": 1})
    );
    assert_eq!(harness.state.state(), before, "nothing was changed");
}

#[tokio::test]
async fn host_that_is_added_takes_what_found_none_and_a_service_can_be_changed() {
    let harness = harness().await;
    let input = json!({
        "services": [{"service": "web", "desiredCount": 5, "placementStrategy": [{"type": "binpack", "field": "cpu"}]}],
        "addHosts": [{"cpu": 4096, "memory": 16000, "availabilityZone": "zone-c"}]
    });
    let answer = harness.call::<PredictChanges>(input).await.expect("predicted");
    assert_eq!(answer["services"][0]["tasksAfter"], 5);
    assert!(answer.to_string().contains("new-host-1"), "{answer}");
}

#[tokio::test]
async fn host_that_is_added_says_what_it_is_given_and_what_all_others_say_alike() {
    let harness = Harness::new();
    let own = |subnet| [("ecs.capability.task-eni", "yes"), ("ecs.subnet-id", subnet)];
    harness.add_host_with(1, &own("subnet-a"), None);
    let definition = json!({
        "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [{"name": "app", "image": "app"}]
    });
    harness
        .call::<RegisterTaskDefinition>(definition)
        .await
        .expect("registered");
    let create = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 2, "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}}
    });
    harness.call::<CreateService>(create).await.expect("created");
    let missing = async |attributes: Value| {
        let input = json!({"addHosts": [{"cpu": 4096, "memory": 16000, "attributes": attributes}]});
        let answer = harness.call::<PredictChanges>(input).await.expect("predicted");
        answer["services"][0]["missing"].clone()
    };
    assert_eq!(missing(json!([])).await, 2, "it does not offer itself");
    assert_eq!(missing(json!([{"name": "berth.fargate", "value": "runc"}])).await, 0);
    let elsewhere = json!([{"name": "berth.fargate"}, {"name": "ecs.subnet-id", "value": "subnet-b"}]);
    assert_eq!(missing(elsewhere).await, 2, "what is given counts");
    harness.add_host_with(2, &own("subnet-b"), None);
    assert_eq!(
        missing(json!([{"name": "berth.fargate"}])).await,
        2,
        "the others do not agree"
    );
}

/// A new revision of the service that is there, and a new service.
fn rollout() -> Value {
    let definition = |family: &str, memory: u32| {
        let container = json!({"name": "app", "image": "app", "cpu": 512, "memory": memory});
        json!({"family": family, "networkMode": "host", "containerDefinitions": [container]})
    };
    json!([
        {"operation": "RegisterTaskDefinition", "input": definition("web", 3000)},
        {"operation": "RegisterTaskDefinition", "input": definition("api", 500)},
        {"operation": "UpdateService", "input": {"service": "web", "taskDefinition": "web"}},
        {"operation": "CreateService", "input": {"serviceName": "api", "taskDefinition": "api", "desiredCount": 2}}
    ])
}

#[tokio::test]
async fn requests_are_rehearsed_in_order_and_told_step_by_step_and_change_nothing() {
    let harness = harness().await;
    let before = harness.state.state();
    let answer = harness
        .call::<PredictChanges>(json!({"requests": rollout()}))
        .await
        .expect("predicted");
    assert_eq!(harness.state.state(), before, "nothing was changed");
    let steps = answer["steps"].as_array().expect("a list");
    let started = |group: &str| -> i64 {
        let starts = steps.iter().flat_map(|step| step["starts"].as_array().expect("a list"));
        let of_group = starts.filter(|found| found["group"] == group);
        of_group.filter_map(|found| found["tasks"].as_i64()).sum()
    };
    assert_eq!((started("service:web"), started("service:api")), (3, 2), "{answer}");
    assert_eq!((&steps[0]["afterMs"], &answer["stepsLeftOut"]), (&json!(0), &json!(0)));
    assert!(
        steps[0]["starts"][0]["host"]["hostName"]
            .as_str()
            .expect("a host")
            .starts_with("host-")
    );
    let names: Vec<&str> = answer["services"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|service| service["serviceName"].as_str())
        .collect();
    assert_eq!(names, ["api", "web"]);
    let delete = json!([{"operation": "DeleteService", "input": {"service": "web", "force": true}}]);
    let answer = harness
        .call::<PredictChanges>(json!({"requests": delete}))
        .await
        .expect("predicted");
    assert_eq!(
        answer["steps"][0]["stops"].as_array().map(Vec::len),
        Some(2),
        "on both hosts: {answer}"
    );
    assert_eq!(answer["tasksMoved"], 3);
}

#[tokio::test]
async fn new_service_that_fits_nowhere_is_told_with_what_would_help() {
    let harness = harness().await;
    let container = json!({"name": "app", "image": "app", "cpu": 64, "memory": 9000});
    let requests = json!([
        {"operation": "RegisterTaskDefinition", "input": {"family": "big", "containerDefinitions": [container]}},
        {"operation": "CreateService", "input": {"serviceName": "big", "taskDefinition": "big:1", "desiredCount": 1}}
    ]);
    let answer = harness
        .call::<PredictChanges>(json!({"requests": requests}))
        .await
        .expect("predicted");
    let service = &answer["services"][0];
    assert_eq!(
        (&service["serviceName"], &service["missing"]),
        (&json!("big"), &json!(1))
    );
    let remedies = service["fit"]["remedies"].as_array().expect("remedies");
    assert!(!remedies.is_empty(), "{answer}");
}

#[tokio::test]
async fn request_that_would_be_refused_is_refused_with_its_number_and_the_error_of_its_operation() {
    let harness = harness().await;
    for (request, code, said) in [
        (
            json!({"operation": "UpdateService", "input": {"service": "web", "taskDefinition": "gone"}}),
            "ClientException",
            "Request 2, UpdateService: TaskDefinition not found.",
        ),
        (
            json!({"operation": "CreateService", "input": {"serviceName": "a", "taskDefinition": "web", "loadBalancers": [{}]}}),
            "ClientException",
            "Request 2, CreateService: ",
        ),
        (
            json!({"operation": "RunTask", "input": {"taskDefinition": "web"}}),
            "InvalidParameterException",
            "operation",
        ),
        (
            json!({"operation": "DeleteService", "input": "web"}),
            "InvalidParameterException",
            "The input of a request is an object",
        ),
    ] {
        let first = json!({"operation": "UpdateService", "input": {"service": "web", "desiredCount": 1}});
        let answer = harness
            .call::<PredictChanges>(json!({"requests": [first, request]}))
            .await;
        let error = answer.expect_err("refused");
        assert_eq!(error.kind.code, code, "{request}");
        assert!(error.message.contains(said), "{}", error.message);
    }
}

#[tokio::test]
async fn question_about_what_is_not_there_is_refused() {
    let harness = harness().await;
    let gone = "0".repeat(31) + "9";
    let host = |number: u32| format!("{number:032x}");
    let added = |name: &str| json!({"cpu": 1024, "memory": 1024, "name": name});
    for (input, code) in [
        (json!({"loseHosts": [gone]}), "ResourceNotFoundException"),
        (json!({"loseZones": ["zone-z"]}), "ResourceNotFoundException"),
        (
            json!({"services": [{"service": "api", "desiredCount": 1}]}),
            "ServiceNotFoundException",
        ),
        (
            json!({"services": [{"service": "web", "placementStrategy": [{"type": "spread", "field": "x"}]}]}),
            "InvalidParameterException",
        ),
        (json!({"services": [{"service": "web"}]}), "InvalidParameterException"),
        (
            json!({"loseHosts": [host(1)], "drainHosts": [host(1)]}),
            "InvalidParameterException",
        ),
        (
            json!({"loseZones": ["zone-a"], "drainHosts": [host(1)]}),
            "InvalidParameterException",
        ),
        (json!({"addHosts": [added("host-1")]}), "InvalidParameterException"),
        (json!({"addHosts": [added("a b")]}), "InvalidParameterException"),
        (json!({"addHosts": [added("")]}), "InvalidParameterException"),
        (
            json!({"addHosts": [added("new"), added("new")]}),
            "InvalidParameterException",
        ),
        (
            json!({"addHosts": [{"cpu": 1, "memory": 1, "attributes": [{"name": "x"}, {"name": "x", "value": "y"}]}]}),
            "InvalidParameterException",
        ),
        (
            json!({"addHosts": [{"cpu": 1, "memory": 1, "attributes": [{"name": "a b"}]}]}),
            "InvalidParameterException",
        ),
        (json!({"cluster": "other"}), "ClusterNotFoundException"),
    ] {
        let error = harness
            .call::<PredictChanges>(input.clone())
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, code, "{input}");
    }
}

#[tokio::test]
async fn host_that_is_lost_and_drained_is_named_in_the_refusal_with_both() {
    let harness = harness().await;
    let one = format!("{:032x}", 1);
    let input = json!({"loseHosts": [one], "drainHosts": [one]});
    let error = harness.call::<PredictChanges>(input).await.expect_err("refused");
    for said in ["Host host-1 ", "loseHosts", "drainHosts"] {
        assert!(error.message.contains(said), "{}", error.message);
    }
}

#[tokio::test]
async fn answer_tells_tasks_that_were_missing_before_from_those_that_the_change_makes_missing() {
    let harness = harness().await;
    let scale = json!({"services": [{"service": "web", "desiredCount": 8}]});
    let more = harness.call::<PredictChanges>(scale).await.expect("predicted");
    let missing = |answer: &Value| {
        let service = &answer["services"][0];
        (service["missingBefore"].clone(), service["missing"].clone())
    };
    // Two hosts of 8,192 MiB have room for four of 4,000.
    assert_eq!(missing(&more), (json!(0), json!(4)));
    let short = json!({"serviceName": "wide", "taskDefinition": "web", "desiredCount": 3});
    harness.call::<CreateService>(short).await.expect("created");
    let lost = harness.call::<PredictChanges>(json!({"loseZones": ["zone-a"]}));
    let lost = lost.await.expect("predicted");
    let services = lost["services"].as_array().expect("a list").iter();
    let sum = |member: &str| {
        services
            .clone()
            .filter_map(|service| service[member].as_i64())
            .sum::<i64>()
    };
    assert_eq!((sum("missingBefore"), sum("missing")), (2, 4));
}
