//! `ports`: what a container listens on, and where hosts pass it on. Pure.

use super::super::document::Node;
use super::members;

/// Ports of one range; ECS takes 100 mappings of a container.
const MAX_RANGE: u32 = 100;

/// A port mapping of ECS; a host port of 0 is any that is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) container_port: u32,
    pub(super) host_port: u32,
    pub(super) protocol: String,
}

/// The mappings that one element of `ports` stands for.
///
/// # Errors
/// What is wrong with it, or means nothing to ECS.
pub(super) fn mappings(node: &Node) -> Result<Vec<Mapping>, String> {
    match node.scalar() {
        Some(text) => short(text),
        None => long(node),
    }
}

/// `[HOST:]CONTAINER[/PROTOCOL]`, where both may be ranges.
fn short(text: &str) -> Result<Vec<Mapping>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let parts: Vec<&str> = ports.split(':').collect();
    let (host, container) = match parts.as_slice() {
        [container] => (None, *container),
        [host, container] => (Some(*host), *container),
        _ => {
            return Err(format!(
                "{text:?} names an address of the host, which ECS has no member for; ports are passed on at all addresses"
            ));
        }
    };
    ranges(host, container, protocol)
}

fn long(node: &Node) -> Result<Vec<Mapping>, String> {
    let mut protocol = "tcp";
    for (key, value) in members(node) {
        match (key.text.as_str(), value.scalar()) {
            ("target" | "published", _) => {}
            ("protocol", Some(given)) => protocol = given,
            ("mode", Some("host")) => {}
            ("mode", _) => {
                return Err("mode: only host is what hosts of Berth do; there is no ingress network".to_owned());
            }
            (other, _) => return Err(format!("{other} means nothing to ECS")),
        }
    }
    let target = node
        .get("target")
        .and_then(Node::scalar)
        .ok_or("should be a port, or have a target")?;
    ranges(node.get("published").and_then(Node::scalar), target, protocol)
}

fn ranges(host: Option<&str>, container: &str, protocol: &str) -> Result<Vec<Mapping>, String> {
    let container = range(container)?;
    let host = host.map(range).transpose()?;
    if let Some(host) = &host
        && host.len() != container.len()
    {
        return Err("the ranges of ports of host and container have different lengths".to_owned());
    }
    let host = host.unwrap_or_else(|| vec![0; container.len()]);
    let mapping = |(container_port, host_port)| Mapping {
        container_port,
        host_port,
        protocol: protocol.to_owned(),
    };
    Ok(container.into_iter().zip(host).map(mapping).collect())
}

fn range(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || format!("{text:?} is no port");
    let port = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    match last.checked_sub(first) {
        Some(more) if more < MAX_RANGE => Ok((first..=last).collect()),
        Some(_) => Err(format!("{text:?} has more than {MAX_RANGE} ports")),
        None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::document;
    use super::*;

    fn read(text: &str) -> Result<Vec<(u32, u32, String)>, String> {
        let node = document::read(text).expect("readable").remove(0);
        let mappings = mappings(&node)?.into_iter();
        Ok(mappings
            .map(|mapping| (mapping.container_port, mapping.host_port, mapping.protocol))
            .collect())
    }

    #[test]
    fn ports_are_read_in_both_forms() {
        let tcp = |container, host| (container, host, "tcp".to_owned());
        assert_eq!(read("\"8080:80\""), Ok(vec![tcp(80, 8080)]));
        assert_eq!(read("80"), Ok(vec![tcp(80, 0)]));
        assert_eq!(read("53:53/udp"), Ok(vec![(53, 53, "udp".to_owned())]));
        assert_eq!(read("9000-9001:80-81"), Ok(vec![tcp(80, 9000), tcp(81, 9001)]));
        assert_eq!(
            read("{target: 80, published: \"8080\", mode: host}"),
            Ok(vec![tcp(80, 8080)])
        );
    }

    #[test]
    fn ports_that_mean_nothing_to_ecs_are_refused() {
        for (text, reason) in [
            ("127.0.0.1:8080:80", "an address of the host"),
            ("{target: 80, mode: ingress}", "no ingress network"),
            ("{target: 80, app_protocol: http}", "app_protocol means nothing"),
            ("1-3:1-2", "different lengths"),
            ("web", "is no port"),
            ("1-1000", "more than 100 ports"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }
}
