//! awsJson with ECS's real shapes: what is read, what is refused and how, and what is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use berth_aws::ecs::operations::{CreateService, DescribeTasks, PutAccountSetting, RegisterTaskDefinition};
use berth_aws::ecs::operations::{StopTask, TagResource};
use berth_aws::ecs::{self, CreateServiceResponse, LaunchType, NetworkMode, PlacementStrategyType, Service, errors};
use berth_aws::ecs::{ServiceEvent, Task};
use berth_aws::{AwsError, Operation, Timestamp, berth, protocol};
use serde_json::{Value, json};

fn read<O: Operation>(document: &Value) -> Result<O::Input, AwsError> {
    protocol::read::<O>(document.to_string().as_bytes())
}

fn refusal<O: Operation>(document: &Value) -> AwsError {
    match read::<O>(document) {
        Ok(_) => panic!("{document} must be refused"),
        Err(error) => error,
    }
}

fn task_definition() -> Value {
    json!({
        "family": "web",
        "networkMode": "bridge",
        "containerDefinitions": [{
            "name": "nginx",
            "image": "nginx:latest",
            "cpu": 256,
            "memory": 512,
            "essential": true,
            "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
            "environment": [{"name": "A", "value": "1"}],
            "dockerLabels": {"team": "blue"},
            "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}]
        }],
        "tags": [{"key": "stage", "value": "prod"}]
    })
}

#[test]
fn read_register_task_definition_gives_every_member() {
    let input = read::<RegisterTaskDefinition>(&task_definition()).unwrap();
    assert_eq!(input.family.as_deref(), Some("web"));
    assert_eq!(input.network_mode, Some(NetworkMode::Bridge));
    let container = &input.container_definitions.as_ref().unwrap()[0];
    assert_eq!((container.cpu, container.memory), (Some(256), Some(512)));
    assert_eq!(container.port_mappings.as_ref().unwrap()[0].container_port, Some(80));
    assert_eq!(container.docker_labels.as_ref().unwrap()["team"], "blue");
    assert_eq!(serde_json::to_value(&input).unwrap(), task_definition());
}

#[test]
fn read_create_service_gives_nested_structures() {
    let input = read::<CreateService>(&json!({
        "serviceName": "web", "taskDefinition": "web:1", "desiredCount": 6, "launchType": "EC2",
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "deploymentCircuitBreaker": {"enable": true, "rollback": true}},
        "placementStrategy": [{"type": "spread", "field": "attribute:ecs.availability-zone"}]
    }))
    .unwrap();
    assert_eq!(input.launch_type, Some(LaunchType::Ec2));
    assert_eq!(
        input.placement_strategy.unwrap()[0].r#type,
        Some(PlacementStrategyType::Spread)
    );
    let breaker = input
        .deployment_configuration
        .unwrap()
        .deployment_circuit_breaker
        .unwrap();
    assert_eq!((breaker.enable, breaker.rollback), (Some(true), Some(true)));
}

#[test]
fn read_null_member_counts_as_absent() {
    let mut document = task_definition();
    document["networkMode"] = Value::Null;
    document["containerDefinitions"][0]["memory"] = Value::Null;
    let input = read::<RegisterTaskDefinition>(&document).unwrap();
    assert_eq!(
        (input.network_mode, input.container_definitions.unwrap()[0].memory),
        (None, None)
    );
    document["family"] = Value::Null;
    assert!(
        refusal::<RegisterTaskDefinition>(&document)
            .message
            .contains("Value null at 'family'")
    );
}

#[test]
fn read_whole_number_with_fraction_is_an_integer() {
    let mut document = task_definition();
    document["containerDefinitions"][0]["memory"] = json!(512.0);
    let input = read::<RegisterTaskDefinition>(&document).unwrap();
    assert_eq!(input.container_definitions.unwrap()[0].memory, Some(512));
}

#[test]
fn read_wrong_type_names_the_place() {
    let cases = [
        (
            json!("512"),
            "containerDefinitions[0].memory: STRING_VALUE can not be converted to Integer",
        ),
        (
            json!(1.5),
            "containerDefinitions[0].memory: NUMBER_VALUE 1.5 can not be converted to Integer",
        ),
        (
            json!(3_000_000_000_i64),
            "containerDefinitions[0].memory: NUMBER_VALUE 3000000000 can not be converted to Integer",
        ),
        (
            json!({}),
            "containerDefinitions[0].memory: START_OBJECT can not be converted to Integer",
        ),
    ];
    for (value, message) in cases {
        let mut document = task_definition();
        document["containerDefinitions"][0]["memory"] = value;
        let error = refusal::<RegisterTaskDefinition>(&document);
        assert_eq!((error.kind.code, error.kind.status), ("SerializationException", 400));
        assert_eq!(error.message, message);
    }
}

#[test]
fn read_wrong_type_in_a_map_names_the_key() {
    let mut document = task_definition();
    document["containerDefinitions"][0]["dockerLabels"]["team"] = json!(7);
    let error = refusal::<RegisterTaskDefinition>(&document);
    assert!(
        error
            .message
            .starts_with(r#"containerDefinitions[0].dockerLabels["team"]: NUMBER_VALUE"#),
        "{}",
        error.message
    );
}

#[test]
fn read_unknown_member_is_refused_by_name() {
    let mut document = task_definition();
    document["containerDefinitions"][0]["memry"] = json!(512);
    let error = refusal::<RegisterTaskDefinition>(&document);
    assert_eq!(error.kind.code, "InvalidParameterException");
    assert!(
        error.message.contains("'containerDefinitions[0].memry'"),
        "{}",
        error.message
    );
}

#[test]
fn read_malformed_document_is_a_serialization_error() {
    for body in ["{", "{\"family\": }", "not json"] {
        let error = protocol::read::<RegisterTaskDefinition>(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind.code, "SerializationException", "{body}");
    }
    assert_eq!(
        refusal::<RegisterTaskDefinition>(&json!([])).kind.code,
        "SerializationException"
    );
}

#[test]
fn read_no_body_is_an_empty_object() {
    let error = protocol::read::<StopTask>(b"").unwrap_err();
    let expected =
        "1 validation error detected: Value null at 'task' failed to satisfy constraint: Member must not be null";
    assert_eq!(error.message, expected);
}

#[test]
fn read_several_violations_are_reported_together() {
    let error = refusal::<RegisterTaskDefinition>(&json!({"networkMode": "bridgee"}));
    assert_eq!(
        error.message,
        "3 validation errors detected: \
         Value null at 'family' failed to satisfy constraint: Member must not be null; \
         Value 'bridgee' at 'networkMode' failed to satisfy constraint: Member must satisfy enum value set: [bridge, host, awsvpc, none]; \
         Value null at 'containerDefinitions' failed to satisfy constraint: Member must not be null"
    );
}

#[test]
fn read_broken_length_pattern_and_range_are_reported() {
    let error =
        refusal::<TagResource>(&json!({"resourceArn": "a", "tags": [{"key": "ok"}, {"key": "", "value": "a\"b"}]}));
    assert_eq!(
        error.message,
        "2 validation errors detected: \
         Value '' at 'tags.2.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value 'a\"b' at 'tags.2.member.value' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)"
    );
    let error = refusal::<berth::operations::GetTaskLogs>(&json!({"task": "t", "tail": 10_001, "waitMs": -1}));
    assert!(error.message.contains(
        "Value '10001' at 'tail' failed to satisfy constraint: Member must have value less than or equal to 10000"
    ));
    assert!(error.message.contains(
        "Value '-1' at 'waitMs' failed to satisfy constraint: Member must have value greater than or equal to 0"
    ));
}

#[test]
fn read_unicode_tag_is_allowed_by_the_pattern() {
    let input = read::<TagResource>(&json!({"resourceArn": "a", "tags": [{"key": "équipe 1", "value": "北京@home"}]}));
    assert_eq!(input.unwrap().tags.unwrap()[0].key.as_deref(), Some("équipe 1"));
}

#[test]
fn read_wrong_enum_in_a_list_is_reported_on_the_list() {
    let error = refusal::<DescribeTasks>(&json!({"tasks": ["t"], "include": ["TAGS", "NAGS"]}));
    assert_eq!(
        error.message,
        "1 validation error detected: Value '[TAGS, NAGS]' at 'include' failed to satisfy constraint: \
         Member must satisfy constraint: [Member must satisfy enum value set: [TAGS]]"
    );
}

#[test]
fn read_document_member_takes_any_json() {
    let shape = ecs::SERVICE.operation("CreateService").unwrap();
    assert_eq!(shape.input.name, "CreateServiceRequest");
    let details = json!({"a": [1, {"b": null}]});
    let input = read::<CreateService>(&json!({
        "serviceName": "web",
        "deploymentConfiguration": {"lifecycleHooks": [{"hookDetails": details}]}
    }));
    let hooks = input
        .unwrap()
        .deployment_configuration
        .unwrap()
        .lifecycle_hooks
        .unwrap();
    assert_eq!(hooks[0].hook_details, Some(details));
}

#[test]
fn write_output_leaves_out_what_is_none_and_writes_times_as_seconds() {
    let event = ServiceEvent {
        created_at: Some(Timestamp(1_512_345_678_123)),
        ..Default::default()
    };
    let service = Service {
        service_name: Some("web".to_owned()),
        events: Some(vec![event]),
        ..Default::default()
    };
    let response = protocol::write::<CreateService>(&CreateServiceResponse { service: Some(service) }, "id-1");
    assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.1");
    assert_eq!(response.headers()["x-amzn-requestid"], "id-1");
    let expected = r#"{"service":{"serviceName":"web","events":[{"createdAt":1512345678.123}]}}"#;
    assert_eq!(response.body().as_ref(), expected.as_bytes());
}

#[test]
fn write_empty_list_stays_a_list() {
    let task = Task {
        containers: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(serde_json::to_value(task).unwrap(), json!({"containers": []}));
}

#[test]
fn write_error_gives_type_status_and_further_members() {
    let error = errors::CONFLICT.error("in use").with_member("resourceIds", vec!["a"]);
    let response = protocol::write_error(&ecs::SERVICE, &error, "id-2");
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["x-amzn-errortype"], "ConflictException");
    let document: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        document,
        json!({"__type": "ConflictException", "message": "in use", "resourceIds": ["a"]})
    );
    assert_eq!(
        protocol::write_error(&ecs::SERVICE, &errors::SERVER.error("down"), "id-3").status(),
        500
    );
}

#[test]
fn tables_hold_all_of_ecs() {
    assert_eq!(ecs::SERVICE.operations.len(), 88);
    assert_eq!(ecs::SERVICE.errors.len(), 31);
    assert!(ecs::SERVICE.operations.is_sorted_by_key(|operation| operation.name));
    assert!(ecs::SERVICE.operation("ListClusters").unwrap().read_only);
    assert!(ecs::SERVICE.operation("listClusters").is_none());
    assert_eq!(PutAccountSetting::MODEL.name, PutAccountSetting::NAME);
}

#[test]
fn for_each_operation_visits_every_type() {
    macro_rules! names {
        ($($operation:ty),* $(,)?) => { vec![$(<$operation as Operation>::NAME),*] };
    }
    let names: Vec<&str> = ecs::for_each_operation!(names);
    assert_eq!(names.len(), 88);
}
