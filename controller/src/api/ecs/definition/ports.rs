//! Port mappings. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{PortMapping as AwsPortMapping, TransportProtocol as AwsProtocol};
use berth_core::model::{NetworkMode, PortMapping, TransportProtocol};

use crate::api::errors::client;

/// Most port mappings of a container (ECS: 100).
const MAX_MAPPINGS: usize = 100;

/// The port mappings of a container.
///
/// # Errors
/// `ClientException` for ports that do not exist or that the network mode does not allow.
pub(super) fn from_request(
    mode: NetworkMode,
    container: &str,
    given: Vec<AwsPortMapping>,
) -> Result<Vec<PortMapping>, AwsError> {
    if given.len() > MAX_MAPPINGS {
        return Err(client(format!(
            "Invalid setting for container '{container}'. There can be at most {MAX_MAPPINGS} port mappings."
        )));
    }
    if mode == NetworkMode::None && !given.is_empty() {
        return Err(client(format!(
            "Invalid setting for container '{container}'. Port mappings cannot be used when networkMode=none."
        )));
    }
    given.into_iter().map(|mapping| one(mode, container, mapping)).collect()
}

fn one(mode: NetworkMode, container: &str, given: AwsPortMapping) -> Result<PortMapping, AwsError> {
    let port = |member: &str, number: i32, least: u16| {
        u16::try_from(number).ok().filter(|port| *port >= least).ok_or_else(|| {
            client(format!(
                "Invalid setting for container '{container}'. '{member}' must be between {least} and 65535, not {number}."
            ))
        })
    };
    let container_port = given.container_port.ok_or_else(|| {
        client(format!(
            "Invalid setting for container '{container}'. A port mapping must have a 'containerPort'."
        ))
    })?;
    let container_port = port("containerPort", container_port, 1)?;
    let host_port = given
        .host_port
        .map(|number| port("hostPort", number, 0))
        .transpose()?
        .filter(|port| *port != 0);
    let is_the_same = host_port.is_none_or(|port| port == container_port);
    match mode {
        NetworkMode::Host if !is_the_same => {
            return Err(client(
                "When networkMode=host, the host ports and container ports in port mappings must match.",
            ));
        }
        NetworkMode::Awsvpc if !is_the_same => {
            return Err(client(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ));
        }
        _ => {}
    }
    Ok(PortMapping {
        container_port,
        host_port,
        protocol: match given.protocol {
            Some(AwsProtocol::Udp) => TransportProtocol::Udp,
            Some(AwsProtocol::Tcp) | None => TransportProtocol::Tcp,
        },
        name: given.name.filter(|name| !name.is_empty()),
    })
}
