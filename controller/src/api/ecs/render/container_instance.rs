//! What ECS shows of a container instance. Pure.

use berth_aws::Timestamp;
use berth_aws::ecs::{Attribute, ContainerInstance as Answer, ContainerInstanceField, Resource, VersionInfo};
use berth_core::model::{
    ContainerInstance, Ports, PowerState, RESERVED_TCP_PORTS, Resources, TransportProtocol, attribute_names,
};
use berth_core::state::{Allocation, ClusterState};

use super::count;
use crate::api::ecs::tags;

/// The container instance, with what `include` asks for.
pub(crate) fn container_instance(
    state: &ClusterState,
    instance: &ContainerInstance,
    include: &[ContainerInstanceField],
) -> Answer {
    container_instance_with(
        &state.allocation(instance.id),
        state.shown_status(instance),
        instance,
        include,
    )
}

/// The same, where it is known what its tasks hold and which status it has.
pub(super) fn container_instance_with(
    allocation: &Allocation,
    status: &str,
    instance: &ContainerInstance,
    include: &[ContainerInstanceField],
) -> Answer {
    let registered = instance.host.capacity;
    let tags = include.contains(&ContainerInstanceField::Tags);
    Answer {
        container_instance_arn: Some(instance.arn()),
        capacity_provider_name: instance.host.capacity_provider.as_ref().map(ToString::to_string),
        ec2_instance_id: Some(instance.host.host_name.clone()),
        version: Some(i64::try_from(instance.version).unwrap_or(i64::MAX)),
        version_info: Some(VersionInfo {
            agent_version: Some(instance.host.agent_version.clone()),
            agent_hash: instance.host.ecs_agent.as_ref().and_then(|agent| agent.hash.clone()),
            docker_version: Some(instance.host.runtime_version.clone()),
        }),
        remaining_resources: Some(resources(allocation.free(registered), &allocation.ports())),
        registered_resources: Some(resources(registered, &Ports::new())),
        status: Some(status.to_owned()),
        agent_connected: Some(instance.agent_connected),
        running_tasks_count: count(allocation.running_tasks()),
        pending_tasks_count: count(allocation.pending_tasks()),
        attributes: Some(attributes(instance)),
        registered_at: Some(Timestamp(instance.registered_at.0)),
        attachments: Some(vec![]),
        tags: Some(if tags { tags::render(&instance.tags) } else { vec![] }),
        ..Answer::default()
    }
}

fn attributes(instance: &ContainerInstance) -> Vec<Attribute> {
    let attribute = |(name, value)| Attribute {
        name: Some(name),
        value,
        ..Attribute::default()
    };
    let mut all = instance.all_attributes();
    let power = &instance.power;
    if power.state != PowerState::Awake {
        all.insert(attribute_names::POWER.to_owned(), Some(power.state.as_str().to_owned()));
    }
    if let Some(trouble) = &power.trouble {
        all.insert(attribute_names::POWER_TROUBLE.to_owned(), Some(trouble.clone()));
    }
    all.into_iter().map(attribute).collect()
}

/// CPU, memory, and the ports that are taken: by the host itself and by `ports`.
fn resources(amounts: Resources, ports: &Ports) -> Vec<Resource> {
    let taken_by_tasks = |of: TransportProtocol| {
        let ports = ports.iter().filter(move |(protocol, _)| *protocol == of);
        ports.map(|(_, port)| *port)
    };
    let mut tcp: Vec<u16> = taken_by_tasks(TransportProtocol::Tcp)
        .chain(RESERVED_TCP_PORTS)
        .collect();
    tcp.sort_unstable();
    tcp.dedup();
    vec![
        amount("CPU", amounts.cpu.0),
        amount("MEMORY", amounts.memory.0),
        port_set("PORTS", tcp),
        port_set("PORTS_UDP", taken_by_tasks(TransportProtocol::Udp)),
    ]
}

fn amount(name: &str, value: u32) -> Resource {
    Resource {
        integer_value: count(value),
        ..resource(name, "INTEGER")
    }
}

fn port_set(name: &str, ports: impl IntoIterator<Item = u16>) -> Resource {
    Resource {
        string_set_value: Some(ports.into_iter().map(|port| port.to_string()).collect()),
        ..resource(name, "STRINGSET")
    }
}

/// ECS shows the numbers of every type, and 0 in those that do not count.
fn resource(name: &str, of_type: &str) -> Resource {
    Resource {
        name: Some(name.to_owned()),
        r#type: Some(of_type.to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(0),
        string_set_value: None,
    }
}
