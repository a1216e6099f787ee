//! `networkConfiguration` of requests and answers: where tasks of the network mode `awsvpc` get their addresses from. Pure.
//!
//! Berth has no VPC. A subnet is what hosts call theirs, in their attribute `ecs.subnet-id`; the one security group is the one of which all
//! tasks are, and tasks have no public addresses.

use berth_aws::AwsError;
use berth_aws::ecs::{AssignPublicIp, AwsVpcConfiguration, NetworkConfiguration as Given};
use berth_core::model::{NetworkConfiguration, NetworkMode, TaskDefinition};
use berth_core::state::{ClusterState, Feature, Rejection};

use crate::api::errors::{self, invalid};
use crate::api::members::Honoured;

/// Most subnets (ECS: 16).
const MAX_SUBNETS: usize = 16;
/// Most security groups (ECS: 5).
const MAX_SECURITY_GROUPS: usize = 5;
/// Longest id of a subnet: as long as the value of an attribute.
const MAX_SUBNET_ID: usize = 128;
/// The security group that there is.
const DEFAULT_SECURITY_GROUP: &str = "sg-default";

/// What is honoured of it: all, since values that are not are refused here.
pub(super) const HONOURED: Honoured = Honoured::Members(&[(
    "awsvpcConfiguration",
    Honoured::Members(&[
        ("subnets", Honoured::All),
        ("securityGroups", Honoured::All),
        ("assignPublicIp", Honoured::All),
    ]),
)]);

/// The network configuration of tasks of `definition`.
///
/// # Errors
/// `InvalidParameterException` in ECS's words where one is missing or has no meaning, and for values that Berth does not have.
pub(super) fn of_request(
    state: &ClusterState,
    definition: &TaskDefinition,
    given: Option<Given>,
) -> Result<Option<NetworkConfiguration>, AwsError> {
    let given = from_request(state, given)?;
    match (definition.network_mode, given) {
        (NetworkMode::Awsvpc, None) => Err(errors::rejection(&Rejection::NetworkConfigurationNeeded)),
        (NetworkMode::Awsvpc, given) => Ok(given),
        (NetworkMode::None | NetworkMode::Host | NetworkMode::Bridge, None) => Ok(None),
        (NetworkMode::None | NetworkMode::Host | NetworkMode::Bridge, Some(_)) => {
            Err(errors::rejection(&Rejection::NetworkConfigurationNotValid))
        }
    }
}

/// The network configuration of a request, whatever it is for.
///
/// # Errors
/// `InvalidParameterException` for values that Berth does not have.
pub(super) fn from_request(
    state: &ClusterState,
    given: Option<Given>,
) -> Result<Option<NetworkConfiguration>, AwsError> {
    let Some(given) = given.and_then(|given| given.awsvpc_configuration) else {
        return Ok(None);
    };
    errors::check_upgraded(
        state.uses(Feature::TaskNetworkInterfaces),
        invalid,
        "networkConfiguration is not supported",
    )?;
    read(given).map(Some)
}

fn read(given: AwsVpcConfiguration) -> Result<NetworkConfiguration, AwsError> {
    let subnets = given.subnets.unwrap_or_default();
    if subnets.is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if subnets.len() > MAX_SUBNETS {
        return Err(invalid(format!("At most {MAX_SUBNETS} subnets can be given.")));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_id = |id: &&String| !id.is_empty() && id.len() <= MAX_SUBNET_ID && id.chars().all(is_allowed);
    if let Some(other) = subnets.iter().find(|id| !is_id(id)) {
        return Err(invalid(format!(
            "The subnet ID '{other}' is not valid: use up to {MAX_SUBNET_ID} letters, numbers, hyphens, underscores and periods. A subnet is what \
             hosts have as their attribute ecs.subnet-id."
        )));
    }
    let security_groups = given.security_groups.unwrap_or_default();
    if security_groups.len() > MAX_SECURITY_GROUPS {
        return Err(invalid(format!(
            "At most {MAX_SECURITY_GROUPS} security groups can be given."
        )));
    }
    if let Some(other) = security_groups.iter().find(|id| *id != DEFAULT_SECURITY_GROUP) {
        return Err(invalid(format!(
            "The security group '{other}' does not exist. Berth has {DEFAULT_SECURITY_GROUP} alone, which lets everything in and out; leave \
             securityGroups out, and filter on hosts what is to be kept away."
        )));
    }
    match given.assign_public_ip {
        Some(AssignPublicIp::Enabled) => Err(invalid(
            "Assign public IP is not supported for this launch type. Tasks have an address of their host's subnet; set assignPublicIp to DISABLED.",
        )),
        Some(AssignPublicIp::Disabled) | None => Ok(NetworkConfiguration {
            subnets,
            security_groups,
        }),
    }
}

/// The network configuration in an answer, with ECS's default of what may be left out.
pub(super) fn render(configuration: &NetworkConfiguration) -> Given {
    Given {
        awsvpc_configuration: Some(AwsVpcConfiguration {
            subnets: Some(configuration.subnets.clone()),
            security_groups: Some(configuration.security_groups.clone()),
            assign_public_ip: Some(AssignPublicIp::Disabled),
        }),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, CreateTaskSet, DescribeServiceRevisions, DescribeTasks, RegisterTaskDefinition, RunTask,
        StartTask, UpdateService,
    };
    use berth_core::model::{ContainerInstanceId, NetworkInterface, TaskId, TaskReport, TaskStatus};
    use berth_core::state::Command;
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, NOW};

    /// Definitions `own`, whose tasks have addresses of their own, and `bridge`; hosts of two subnets, and one that can give no addresses.
    async fn harness() -> Harness {
        let harness = Harness::new();
        let container = json!({"name": "c", "image": "i", "memory": 64, "portMappings": [{"containerPort": 80}]});
        for (family, mode) in [("own", "awsvpc"), ("bridge", "bridge")] {
            let input = json!({"family": family, "networkMode": mode, "containerDefinitions": [container]});
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
        harness.add_host(1, "a");
        for (id, subnet) in [(2, "subnet-a"), (3, "subnet-b")] {
            let attributes = [("ecs.capability.task-eni", "yes"), ("ecs.subnet-id", subnet)];
            harness.add_host_with(id, &attributes, None);
        }
        harness
    }

    fn network(subnets: &[&str]) -> Value {
        json!({"awsvpcConfiguration": {"subnets": subnets}})
    }

    fn shown(subnets: &[&str]) -> Value {
        json!({"awsvpcConfiguration": {"subnets": subnets, "securityGroups": [], "assignPublicIp": "DISABLED"}})
    }

    async fn run(harness: &Harness, network: Value, count: u32) -> Value {
        let spread = json!([{"type": "spread", "field": "instanceId"}]);
        let input = json!({
            "taskDefinition": "own", "networkConfiguration": network, "count": count, "placementStrategy": spread
        });
        harness.call::<RunTask>(input).await.expect("answers")
    }

    #[tokio::test]
    async fn definition_shows_what_hosts_need_and_its_ports_are_those_of_the_task() {
        let harness = Harness::new();
        let register = |ports: Value, more: Value| {
            let container = json!({"name": "c", "image": "i", "memory": 64, "portMappings": ports});
            let mut input = json!({"family": "own", "networkMode": "awsvpc", "containerDefinitions": [container]});
            for (member, value) in more.as_object().expect("members") {
                input[member] = value.clone();
            }
            harness.call::<RegisterTaskDefinition>(input)
        };
        let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]);
        let definition = register(ports, json!({})).await.expect("registers")["taskDefinition"].take();
        let ports = &definition["containerDefinitions"][0]["portMappings"];
        assert_eq!((&ports[0]["hostPort"], &ports[1]["hostPort"]), (&json!(80), &json!(81)));
        assert_eq!(definition["networkMode"], "awsvpc");
        assert_eq!(
            definition["requiresAttributes"],
            json!([{"name": "ecs.capability.task-eni"}])
        );
        assert_eq!(definition["compatibilities"], json!(["EC2"]));
        for (ports, more, said) in [
            (
                json!([{"containerPort": 80, "hostPort": 8080}]),
                json!({}),
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ),
            (
                json!([{"containerPort": 80}, {"containerPort": 80}]),
                json!({}),
                "Invalid setting for container 'c'. The container port 80/tcp is used twice in the task definition.",
            ),
            (
                json!([]),
                json!({"requiresCompatibilities": ["EXTERNAL"]}),
                "When the launch type is EXTERNAL, the only supported network modes are bridge, host, and none.",
            ),
        ] {
            let error = register(ports, more).await.expect_err(said);
            assert_eq!((error.kind.code, error.message.as_str()), ("ClientException", said));
        }
        let before = Harness::before_levels();
        let container = json!({"name": "c", "image": "i", "memory": 64});
        let input = json!({"family": "own", "networkMode": "awsvpc", "containerDefinitions": [container]});
        let error = before.call::<RegisterTaskDefinition>(input).await.expect_err("refused");
        assert!(error.message.contains("upgraded"), "{}", error.message);
    }

    #[tokio::test]
    async fn tasks_go_to_hosts_of_the_subnets_that_can_give_them_addresses() {
        let harness = harness().await;
        for (subnets, count, on) in [
            (&["subnet-a"][..], 2, &[2][..]),
            (&["subnet-a", "subnet-b"], 4, &[2, 3]),
        ] {
            let answer = run(&harness, network(subnets), count).await;
            assert_eq!(answer["failures"], json!([]));
            let hosts: std::collections::BTreeSet<String> = answer["tasks"]
                .as_array()
                .expect("tasks")
                .iter()
                .map(|task| task["containerInstanceArn"].as_str().expect("a host").to_owned())
                .collect();
            let cluster = harness.cluster("default");
            let expected = on
                .iter()
                .map(|id| cluster.container_instance_arn(ContainerInstanceId(*id)));
            assert_eq!(hosts, expected.collect());
        }
        let answer = run(&harness, network(&["subnet-x"]), 1).await;
        let failure = &answer["failures"][0];
        assert_eq!(
            (&answer["tasks"], &failure["reason"]),
            (&json!([]), &json!("ATTRIBUTE"))
        );
        let detail = failure["detail"].as_str().expect("words");
        assert!(detail.contains("the attribute ecs.capability.task-eni"), "{detail}");
        let on_the_first = json!({
            "taskDefinition": "own", "networkConfiguration": network(&["subnet-a"]),
            "containerInstances": [ContainerInstanceId(1).to_string()]
        });
        let answer = harness.call::<StartTask>(on_the_first).await.expect("answers");
        assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE");
    }

    #[tokio::test]
    async fn task_shows_its_address_as_a_network_interface_that_is_deleted_with_it() {
        let harness = harness().await;
        let answer = run(&harness, network(&["subnet-a"]), 1).await;
        let attachment = &answer["tasks"][0]["attachments"][0];
        assert_eq!(
            (&attachment["status"], &attachment["details"]),
            (&json!("PRECREATED"), &json!([]))
        );
        let arn = answer["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned();
        let id: TaskId = arn.rsplit('/').next().expect("an id").parse().expect("an id");
        let report = |status: TaskStatus, interface: Option<NetworkInterface>| {
            let report = TaskReport {
                network_interface: interface,
                ..TaskReport::new(id, status)
            };
            let command = Command::RecordTaskReports {
                container_instance: ContainerInstanceId(2),
                reports: vec![report],
                at: NOW,
            };
            harness.state.apply(&command).expect("recorded");
        };
        let described = async || {
            let input = json!({"tasks": [arn]});
            harness.call::<DescribeTasks>(input).await.expect("described")["tasks"][0].clone()
        };
        report(
            TaskStatus::Running,
            Some(NetworkInterface {
                private_ipv4_address: "10.177.0.2".to_owned(),
                mac_address: "02:00:00:00:00:02".to_owned(),
                subnet_id: "subnet-a".to_owned(),
                private_dns_name: "ip-10-177-0-2.ec2.internal".to_owned(),
            }),
        );
        let task = described().await;
        let attachment = &task["attachments"][0];
        assert_eq!(
            (&attachment["type"], &attachment["status"]),
            (&json!("ElasticNetworkInterface"), &json!("ATTACHED"))
        );
        let details: Vec<(&str, &str)> = attachment["details"]
            .as_array()
            .expect("details")
            .iter()
            .map(|pair| {
                (
                    pair["name"].as_str().expect("a name"),
                    pair["value"].as_str().expect("a value"),
                )
            })
            .collect();
        let eni = details[1].1;
        assert!(eni.starts_with("eni-") && eni.len() == 21, "{eni}");
        assert_eq!(
            details,
            [
                ("subnetId", "subnet-a"),
                ("networkInterfaceId", eni),
                ("macAddress", "02:00:00:00:00:02"),
                ("privateDnsName", "ip-10-177-0-2.ec2.internal"),
                ("privateIPv4Address", "10.177.0.2"),
            ]
        );
        let container = &task["containers"][0];
        assert_eq!(container["networkBindings"], json!([]));
        assert_eq!(
            container["networkInterfaces"],
            json!([{"attachmentId": attachment["id"], "privateIpv4Address": "10.177.0.2"}])
        );
        report(TaskStatus::Stopped, None);
        let task = described().await;
        assert_eq!(task["attachments"][0]["status"], "DELETED");
        assert_eq!(task["attachments"][0]["details"].as_array().map(Vec::len), Some(5));
    }

    #[tokio::test]
    async fn configuration_is_needed_for_addresses_and_refused_without_them_in_the_words_of_ecs() {
        let harness = harness().await;
        let missing = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
        let not_valid = "Network Configuration is not valid for the given networkMode of this task definition.";
        for (definition, given, said) in [
            ("own", Value::Null, missing),
            ("bridge", network(&["subnet-a"]), not_valid),
            ("own", network(&[]), "subnets can not be empty."),
            ("own", network(&["a b"]), "The subnet ID 'a b' is not valid"),
            (
                "own",
                json!({"awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-1"]}}),
                "The security group 'sg-1' does not exist.",
            ),
            (
                "own",
                json!({"awsvpcConfiguration": {"subnets": ["subnet-a"], "assignPublicIp": "ENABLED"}}),
                "Assign public IP is not supported for this launch type.",
            ),
        ] {
            let mut input = json!({"taskDefinition": definition});
            if !given.is_null() {
                input["networkConfiguration"] = given;
            }
            let ran = harness.call::<RunTask>(input.clone()).await.expect_err(said);
            input["containerInstances"] = json!(["0"]);
            let started = harness.call::<StartTask>(input.clone()).await.expect_err(said);
            let members = input.as_object_mut().expect("members");
            members.remove("containerInstances");
            input["serviceName"] = json!("site");
            input["desiredCount"] = json!(1);
            let created = harness.call::<CreateService>(input).await.expect_err(said);
            for error in [ran, started, created] {
                assert_eq!(error.kind.code, "InvalidParameterException");
                assert!(error.message.starts_with(said), "{}", error.message);
            }
        }
    }

    #[tokio::test]
    async fn service_shows_its_configuration_and_another_one_begins_a_deployment() {
        let harness = harness().await;
        let input = json!({
            "serviceName": "site", "taskDefinition": "own", "desiredCount": 1, "networkConfiguration": network(&["subnet-a"])
        });
        let service = harness.call::<CreateService>(input).await.expect("creates")["service"].clone();
        assert_eq!(service["networkConfiguration"], shown(&["subnet-a"]));
        assert_eq!(service["deployments"][0]["networkConfiguration"], shown(&["subnet-a"]));
        let update = async |more: Value| {
            let mut input = more;
            input["service"] = json!("site");
            harness
                .call::<UpdateService>(input)
                .await
                .map(|answer| answer["service"].clone())
        };
        let same = update(json!({"networkConfiguration": network(&["subnet-a"])}))
            .await
            .expect("updates");
        assert_eq!(same["deployments"].as_array().map(Vec::len), Some(1));
        let other = update(json!({"networkConfiguration": network(&["subnet-b"])}))
            .await
            .expect("updates");
        let deployments = other["deployments"].as_array().expect("deployments");
        let networks: Vec<_> = deployments.iter().map(|d| &d["networkConfiguration"]).collect();
        assert_eq!(networks, [&shown(&["subnet-b"]), &shown(&["subnet-a"])]);
        let revisions = json!({"serviceRevisionArns": [other["currentServiceRevisions"][0]["arn"]]});
        let revisions = harness
            .call::<DescribeServiceRevisions>(revisions)
            .await
            .expect("described");
        assert_eq!(
            revisions["serviceRevisions"][0]["networkConfiguration"],
            shown(&["subnet-b"])
        );
        let back = update(json!({"taskDefinition": "bridge"})).await.expect("updates");
        assert_eq!(back["networkConfiguration"], Value::Null);
        let error = update(json!({"networkConfiguration": network(&["subnet-b"])}))
            .await
            .expect_err("refused");
        assert!(
            error.message.starts_with("Network Configuration is not valid"),
            "{}",
            error.message
        );
        let error = update(json!({"taskDefinition": "own"})).await.expect_err("refused");
        assert!(
            error.message.starts_with("Network Configuration must be provided"),
            "{}",
            error.message
        );
    }

    #[tokio::test]
    async fn task_set_has_a_configuration_of_its_own_and_its_service_none() {
        let harness = harness().await;
        let external = json!({"serviceName": "site", "desiredCount": 1, "deploymentController": {"type": "EXTERNAL"}});
        let mut with = external.clone();
        with["networkConfiguration"] = network(&["subnet-a"]);
        let error = harness.call::<CreateService>(with).await.expect_err("refused");
        assert!(
            error.message.starts_with("networkConfiguration is not supported"),
            "{}",
            error.message
        );
        harness.call::<CreateService>(external).await.expect("creates");
        let input = json!({
            "cluster": "default", "service": "site", "taskDefinition": "own", "networkConfiguration": network(&["subnet-a"])
        });
        let set = harness.call::<CreateTaskSet>(input).await.expect("creates");
        assert_eq!(set["taskSet"]["networkConfiguration"], shown(&["subnet-a"]));
        let update = json!({"service": "site", "networkConfiguration": network(&["subnet-b"])});
        let error = harness.call::<UpdateService>(update).await.expect_err("refused");
        assert!(error.message.contains("those of its task sets"), "{}", error.message);
    }
}
