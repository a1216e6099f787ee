//! What a host has and what it is: capacity and attributes.
//!
//! Owns how much the machine keeps for itself. Shell: reads `/proc/meminfo`; the rest is pure.

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;

use berth_core::model::{Attributes, HostDescription, Resources, attribute_names};
use http::Uri;

use crate::config::AgentConfig;

/// Memory that tasks never get: for the system, the container runtime and the agent. On small machines an eighth of
/// all, never more than this.
const MAX_RESERVE_MIB: u32 = 512;

/// What this machine offers to tasks: 1024 CPU units per processor, and its memory less what it needs itself.
///
/// # Errors
/// If `/proc/meminfo` cannot be read, or does not say how much memory there is.
pub fn detect_capacity() -> io::Result<Resources> {
    let processors = u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX);
    let total_mib = total_memory_mib(&std::fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no line MemTotal in kB"))?;
    let reserve = (total_mib / 8).min(MAX_RESERVE_MIB);
    Ok(Resources::new(processors.saturating_mul(1024), total_mib - reserve))
}

/// The share of each of `hosts` that divide a machine among them, rounded down.
#[must_use]
pub fn share(machine: Resources, hosts: NonZeroU32) -> Resources {
    Resources::new(machine.cpu.0 / hosts, machine.memory.0 / hosts)
}

fn total_memory_mib(meminfo: &str) -> Option<u32> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1024).ok()
}

/// What the agent says of its host when it registers, whose runtime offers this.
pub(crate) fn describe(config: &AgentConfig, offered: Attributes) -> HostDescription {
    let mut attributes = offered;
    attributes.insert(attribute_names::OS_TYPE.to_owned(), Some("linux".to_owned()));
    attributes.insert(
        attribute_names::CPU_ARCHITECTURE.to_owned(),
        Some(cpu_architecture().to_owned()),
    );
    if let Some(zone) = &config.availability_zone {
        attributes.insert(attribute_names::AVAILABILITY_ZONE.to_owned(), Some(zone.clone()));
    }
    if config.sleep_command.is_some() {
        attributes.insert(attribute_names::SLEEP.to_owned(), None);
        let addresses = mac_addresses();
        if !addresses.is_empty() {
            attributes.insert(attribute_names::MAC_ADDRESSES.to_owned(), Some(addresses.join(" ")));
        }
    }
    attributes.extend(config.attributes.clone());
    HostDescription {
        host_name: config.host_name.clone(),
        capacity: config.capacity,
        attributes,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_version: config.runtime_version.clone(),
        capacity_provider: config.capacity_provider.clone(),
        ecs_agent: None,
    }
}

/// Whether a URI has an address of this machine. Of names, which are not looked up, only `localhost` and the machine's own are known.
#[must_use]
pub fn is_on_this_machine(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || has_address(address.to_canonical()),
        Err(_) => host == "localhost" || nix::unistd::gethostname().is_ok_and(|own| own.eq_ignore_ascii_case(host)),
    }
}

/// Whether a network interface of this machine has an address.
fn has_address(wanted: IpAddr) -> bool {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    addresses.any(|address| address == wanted)
}

/// Addresses of the machine's network interfaces, virtual ones left out, by the names of the interfaces: what somebody who wakes it has to know. None
/// where the system does not say.
fn mac_addresses() -> Vec<String> {
    let found = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut interfaces: Vec<_> = found.map(|interface| interface.path()).collect();
    interfaces.sort_unstable();
    let physical = interfaces.iter().filter(|path| path.join("device").exists());
    let addresses = physical.filter_map(|path| std::fs::read_to_string(path.join("address")).ok());
    let addresses = addresses.map(|address| address.trim().to_owned());
    addresses
        .filter(|address| address.len() == MAC_ADDRESS_LENGTH)
        .collect()
}

/// Characters of an Ethernet address: what wakes a host by its network has one.
const MAC_ADDRESS_LENGTH: usize = 17;

/// ECS's name of this machine's architecture; Rust's where ECS has none.
fn cpu_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_core::model::Scope;

    #[test]
    fn capacity_detected_is_less_than_all_memory_and_whole_processors() {
        let capacity = detect_capacity().unwrap();
        let total = total_memory_mib(&std::fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        assert!(capacity.memory.0 > 0 && capacity.memory.0 < total);
        assert_eq!(capacity.cpu.0 % 1024, 0);
    }

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        for uri in [
            "http://127.0.0.1:7481",
            "https://localhost:1",
            "https://[::1]:7482",
            "https://[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_on_this_machine(uri), "{uri}");
        }
        let own = nix::unistd::gethostname().unwrap();
        assert!(is_on_this_machine(&format!("https://{}:7482", own.to_string_lossy())));
        // Of documentation (RFC 5737, RFC 3849), so that no machine has them.
        for uri in [
            "https://192.0.2.1:7482",
            "https://[2001:db8::1]:7482",
            "https://controller.example:7482",
            "nonsense",
        ] {
            assert!(!is_on_this_machine(uri), "{uri}");
        }
    }

    #[test]
    fn addresses_of_interfaces_are_found_that_are_not_of_loopback() {
        let interfaces = nix::ifaddrs::getifaddrs().unwrap();
        let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
        for address in addresses {
            assert!(is_on_this_machine(&format!("https://{address}:7482")), "{address}");
        }
    }

    #[test]
    fn share_of_three_hosts_never_exceeds_the_machine() {
        let share = share(Resources::new(2048, 1000), NonZeroU32::new(3).unwrap());
        assert_eq!(share, Resources::new(682, 333));
    }

    #[test]
    fn meminfo_without_a_total_is_refused() {
        assert_eq!(
            total_memory_mib("MemTotal:       2048000 kB\nMemFree: 1 kB"),
            Some(2000)
        );
        assert_eq!(total_memory_mib("MemFree: 1 kB"), None);
    }

    #[test]
    fn description_has_the_attributes_found_out_and_those_given() {
        let config = AgentConfig {
            data_dir: None,
            controllers: Vec::new(),
            membership: None,
            cluster: Scope::new("123456789012", "us-east-1").cluster("default"),
            host_name: "h1".to_owned(),
            availability_zone: Some("us-east-1a".to_owned()),
            capacity_provider: None,
            attributes: Attributes::from([("rack".to_owned(), Some("7".to_owned())), ("ssd".to_owned(), None)]),
            capacity: Resources::new(1024, 512),
            sleep_command: None,
            runtime_version: "simulated".to_owned(),
        };
        let attributes = describe(&config, Attributes::new()).attributes;
        assert_eq!(attributes["ecs.availability-zone"].as_deref(), Some("us-east-1a"));
        assert_eq!(attributes["ecs.os-type"].as_deref(), Some("linux"));
        assert_eq!(attributes["rack"].as_deref(), Some("7"));
        assert_eq!(attributes["ssd"], None);
        assert!(attributes.contains_key("ecs.cpu-architecture"));
        assert!(!attributes.contains_key("berth.sleep"));
        let sleeps = AgentConfig {
            sleep_command: Some("systemctl suspend".to_owned()),
            ..config
        };
        assert!(
            describe(&sleeps, Attributes::new())
                .attributes
                .contains_key("berth.sleep")
        );
    }
}
