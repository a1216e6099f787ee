//! `RegisterContainerInstance`: a host whose agent speaks ECS's own API comes into a cluster. Shell.

use std::collections::BTreeMap;

use berth_aws::AwsError;
use berth_aws::ecs::{
    ContainerInstanceField, RegisterContainerInstanceRequest, RegisterContainerInstanceResponse, Resource,
};
use berth_core::ids::IdSource;
use berth_core::model::{
    AgentId, ClusterKey, ContainerInstance, EcsAgent, HostDescription, Ports, RESERVED_TCP_PORTS, Resources,
    TransportProtocol, attribute_names,
};
use berth_core::state::{ClusterState, Command, Rejection, Taggable};

use super::references::{self, Lookup};
use super::tags::{self, Carrier};
use super::{attributes, ecs_agents, render};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, client, invalid};
use crate::api::members::{Honoured, refuse_others};
use crate::api::ports::RegisteringHost;

/// What is asked of the documents and devices of EC2 is refused: nothing here could check a document's signature, and no host offers such devices
/// by this operation.
const HONOURED: Honoured = Honoured::Members(&[
    ("cluster", Honoured::All),
    ("totalResources", Honoured::All),
    ("versionInfo", Honoured::All),
    ("containerInstanceArn", Honoured::All),
    ("attributes", Honoured::All),
    ("tags", Honoured::All),
]);

/// Ports that a host may keep for itself beside those that every host keeps.
const MAX_OWN_PORTS: usize = 64;

/// Attributes that an agent may say of its host; ECS's own says some forty.
const MAX_ATTRIBUTES: usize = 200;

/// Longest version or hash.
const MAX_VERSION: usize = 255;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: RegisterContainerInstanceRequest,
) -> Result<RegisterContainerInstanceResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let state = api.read().await?;
    ecs_agents::check_level(&state)?;
    let cluster = references::cluster_key(&call.scope, input.cluster.as_deref())?;
    let known = known(&state, &cluster, input.container_instance_arn.as_deref())?;
    let given_tags = tags::from_request(Carrier::ContainerInstance, input.tags.clone())?;
    let (host, ports) = describe(&input, known)?;
    let (agent, host_name) = match known {
        Some(known) => (known.agent.clone(), known.host.host_name.clone()),
        None => api.with_ids(new_identity),
    };
    let registering = RegisteringHost {
        cluster,
        agent,
        previous: known.map(|known| known.id),
        host: HostDescription { host_name, ..host },
    };
    let registered = api.ecs_agents().register(registering).await;
    let id = registered.map_err(|failure| ecs_agents::failure(&failure))?;
    if !ports.is_empty() {
        let container_instance = id;
        api.propose(Command::RecordForeignPorts {
            container_instance,
            ports,
        })
        .await?;
    }
    if !given_tags.is_empty() {
        let resource = Taggable::ContainerInstance(id);
        let tags = given_tags;
        api.propose(Command::TagResource { resource, tags }).await?;
    }
    let state = api.read().await?;
    let instance = state
        .container_instance(id)
        .ok_or_else(|| errors::rejection(&Rejection::ContainerInstanceNotFound(id)))?;
    let include = [ContainerInstanceField::Tags];
    Ok(RegisterContainerInstanceResponse {
        container_instance: Some(render::container_instance::container_instance(
            &state, instance, &include,
        )),
    })
}

/// The container instance that the agent says it has been.
fn known<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    given: Option<&str>,
) -> Result<Option<&'s ContainerInstance>, AwsError> {
    let Some(given) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match references::container_instance(state, cluster, given)? {
        Lookup::Found(instance) if instance.host.ecs_agent.is_some() => Ok(Some(instance)),
        Lookup::Found(instance) => Err(client(format!(
            "Container instance {} is a host of Berth's own agent, which registers it by itself.",
            instance.id
        ))),
        Lookup::Missing(_) => Err(client(format!(
            "The container instance {given} is not known: leave containerInstanceArn out to register a new one."
        ))),
    }
}

/// A new agent's identity, and the name of its host as long as nobody says another: there is no instance of EC2 to name it by.
fn new_identity(ids: &mut IdSource) -> (AgentId, String) {
    let number = ids.next_u64();
    (
        AgentId::from(format!("ecs-agent-{number:016x}")),
        format!("ecs-{number:016x}"),
    )
}

/// What the agent says of its host, but its name; and the ports that the host keeps for itself.
fn describe(
    input: &RegisterContainerInstanceRequest,
    known: Option<&ContainerInstance>,
) -> Result<(HostDescription, Ports), AwsError> {
    let resources = resources(input.total_resources.as_deref().unwrap_or_default())?;
    let version = input.version_info.clone().unwrap_or_default();
    for text in [&version.agent_version, &version.agent_hash, &version.docker_version] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_VERSION) {
            return Err(invalid(format!(
                "versionInfo has a text of more than {MAX_VERSION} bytes."
            )));
        }
    }
    let host = HostDescription {
        host_name: String::new(),
        capacity: resources.capacity,
        attributes: said_of_host(input)?,
        agent_version: version.agent_version.unwrap_or_default(),
        runtime_version: version.docker_version.unwrap_or_default(),
        capacity_provider: known.and_then(|known| known.host.capacity_provider.clone()),
        ecs_agent: Some(EcsAgent {
            hash: version.agent_hash,
        }),
    };
    Ok((host, resources.own_ports))
}

fn said_of_host(input: &RegisterContainerInstanceRequest) -> Result<BTreeMap<String, Option<String>>, AwsError> {
    let given = input.attributes.clone().unwrap_or_default();
    if given.len() > MAX_ATTRIBUTES {
        return Err(invalid(format!(
            "{} attributes were given; a host can have {MAX_ATTRIBUTES} from its agent.",
            given.len()
        )));
    }
    let said: BTreeMap<_, _> = given.into_iter().map(attributes::of_host).collect::<Result<_, _>>()?;
    match said.contains_key(attribute_names::TASK_ENI) {
        true => Err(client(format!(
            "The attribute {} is not supported by Berth yet for hosts that are registered by this operation: tasks there get no network interface.",
            attribute_names::TASK_ENI
        ))),
        false => Ok(said),
    }
}

struct TotalResources {
    capacity: Resources,
    own_ports: Ports,
}

fn resources(given: &[Resource]) -> Result<TotalResources, AwsError> {
    let mut amounts = BTreeMap::new();
    let mut own_ports = Ports::new();
    for resource in given {
        let name = resource.name.as_deref().unwrap_or_default();
        match name {
            "CPU" | "MEMORY" => _ = amounts.insert(name, amount(name, resource)?),
            "PORTS" => own_ports.extend(ports(TransportProtocol::Tcp, resource)?),
            "PORTS_UDP" => own_ports.extend(ports(TransportProtocol::Udp, resource)?),
            other => {
                return Err(client(format!(
                    "The resource {other} of totalResources is not supported by Berth yet; supported: CPU, MEMORY, PORTS, PORTS_UDP."
                )));
            }
        }
    }
    if own_ports.len() > MAX_OWN_PORTS {
        return Err(invalid(format!(
            "A host can keep {MAX_OWN_PORTS} ports for itself beside those that every host keeps; {} were given.",
            own_ports.len()
        )));
    }
    let mut of = |name: &str| {
        let missing = || {
            invalid(format!(
                "totalResources needs {name} as a number above 0 in integerValue."
            ))
        };
        amounts.remove(name).ok_or_else(missing)
    };
    Ok(TotalResources {
        capacity: Resources::new(of("CPU")?, of("MEMORY")?),
        own_ports,
    })
}

fn amount(name: &str, resource: &Resource) -> Result<u32, AwsError> {
    let given = resource.integer_value.and_then(|value| u32::try_from(value).ok());
    given.filter(|value| *value > 0).ok_or_else(|| {
        invalid(format!(
            "The resource {name} of totalResources must be a number above 0 in integerValue."
        ))
    })
}

/// The ports of a resource, but those that every host keeps anyway.
fn ports(protocol: TransportProtocol, resource: &Resource) -> Result<Vec<(TransportProtocol, u16)>, AwsError> {
    let read = |text: &String| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| invalid(format!("{text} of totalResources is not a port.")))
    };
    let given: Result<Vec<u16>, AwsError> = resource.string_set_value.iter().flatten().map(read).collect();
    let is_own = |port: &u16| protocol == TransportProtocol::Udp || !RESERVED_TCP_PORTS.contains(port);
    Ok(given?.into_iter().filter(is_own).map(|port| (protocol, port)).collect())
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeContainerInstances, RegisterContainerInstance};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn resources() -> Value {
        json!([
            {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "9100"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
        ])
    }

    fn request() -> Value {
        json!({
            "cluster": "default",
            "totalResources": resources(),
            "versionInfo": {"agentVersion": "1.86.0", "agentHash": "4be23b2", "dockerVersion": "DockerVersion: 25.0.3"},
            "attributes": [{"name": "ecs.os-type", "value": "linux"}, {"name": "ecs.capability.privileged-container"}],
            "tags": [{"key": "team", "value": "shop"}],
        })
    }

    async fn register(harness: &Harness, input: Value) -> Value {
        let answer = harness.call::<RegisterContainerInstance>(input).await;
        answer.expect("registered")["containerInstance"].clone()
    }

    #[tokio::test]
    async fn host_is_registered_as_its_agent_describes_it_and_brought_up_to_date_by_its_arn() {
        let harness = Harness::new();
        let host = register(&harness, request()).await;
        assert_eq!(
            (&host["status"], &host["agentConnected"]),
            (&json!("ACTIVE"), &json!(true))
        );
        assert_eq!(host["versionInfo"]["agentHash"], "4be23b2");
        assert_eq!(host["tags"], json!([{"key": "team", "value": "shop"}]));
        assert_eq!(host["attributes"].as_array().map(Vec::len), Some(2));
        let ports = &host["remainingResources"][2]["stringSetValue"];
        assert!(
            ports.as_array().is_some_and(|ports| ports.contains(&json!("22"))),
            "{ports}"
        );
        let mut again = request();
        again["containerInstanceArn"] = host["containerInstanceArn"].clone();
        again["totalResources"][0]["integerValue"] = json!(1024);
        let same = register(&harness, again).await;
        assert_eq!(same["containerInstanceArn"], host["containerInstanceArn"]);
        assert_eq!(same["ec2InstanceId"], host["ec2InstanceId"]);
        assert_eq!(same["registeredResources"][0]["integerValue"], 1024);
        let other = register(&harness, request()).await;
        assert_ne!(other["containerInstanceArn"], host["containerInstanceArn"]);
    }

    #[tokio::test]
    async fn what_cannot_be_honoured_is_refused_by_name() {
        let harness = Harness::new();
        let own = harness.add_host(1, "a");
        let with = |member: &str, value: Value| {
            let mut input = request();
            input[member] = value;
            input
        };
        let cpu = |value: Value| json!([{"name": "CPU", "type": "INTEGER", "integerValue": value}]);
        let arn = |id: &str| format!("arn:aws:ecs:us-east-1:123456789012:container-instance/default/{id}");
        for (input, code, said) in [
            (
                with("instanceIdentityDocument", json!("{}")),
                "ClientException",
                "instanceIdentityDocument",
            ),
            (
                with("platformDevices", json!([{"id": "0", "type": "GPU"}])),
                "ClientException",
                "platformDevices",
            ),
            (with("totalResources", json!([])), "InvalidParameterException", "CPU"),
            (
                with("totalResources", cpu(json!(0))),
                "InvalidParameterException",
                "CPU",
            ),
            (
                with("totalResources", cpu(json!(8))),
                "InvalidParameterException",
                "MEMORY",
            ),
            (
                with(
                    "totalResources",
                    json!([{"name": "GPU", "type": "STRINGSET", "stringSetValue": ["0"]}]),
                ),
                "ClientException",
                "GPU",
            ),
            (
                with("cluster", json!("nowhere")),
                "ClusterNotFoundException",
                "not found",
            ),
            (
                with("attributes", json!([{"name": "ecs.capability.task-eni"}])),
                "ClientException",
                "task-eni",
            ),
            (
                with("attributes", json!([{"name": "a b"}])),
                "InvalidParameterException",
                "a b",
            ),
            (
                with("containerInstanceArn", json!(arn("0000000000000000000000000000000f"))),
                "ClientException",
                "not known",
            ),
            (
                with("containerInstanceArn", json!(own.to_string())),
                "ClientException",
                "own agent",
            ),
        ] {
            let error = harness
                .call::<RegisterContainerInstance>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code, "{}", error.message);
            assert!(error.message.contains(said), "{}", error.message);
        }
        let input = json!({"containerInstances": [own.to_string()]});
        let described = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect("described");
        assert_eq!(described["containerInstances"][0]["version"], 1);
    }

    #[tokio::test]
    async fn group_that_has_not_agreed_on_such_agents_takes_none() {
        let harness = Harness::before_levels();
        let error = harness
            .call::<RegisterContainerInstance>(request())
            .await
            .expect_err("refused");
        assert!(error.message.contains("upgraded"), "{}", error.message);
    }
}
