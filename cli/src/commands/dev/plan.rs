//! The hosts of a development cluster: names, zones and sizes.
//!
//! Owns how many there are and where. Pure.

use std::num::NonZeroU32;

use berth_core::model::{CapacityProviderName, Resources};

/// Most zones that a region can have here: one letter each.
pub(crate) const MAX_ZONES: u32 = 26;

/// What a simulated host has unless flags say otherwise: 4 vCPU and 16 GiB.
pub(crate) const SIMULATED: Resources = Resources {
    cpu: berth_core::model::CpuUnits(4096),
    memory: berth_core::model::MemoryMib(16384),
};

/// A host to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedHost {
    /// Its name, such as `host-1`.
    pub(crate) name: String,
    /// Its zone, such as `us-east-1a`.
    pub(crate) zone: String,
    /// The capacity provider whose pool it is in, if any.
    pub(crate) capacity_provider: Option<CapacityProviderName>,
    /// What it offers, where that was said of it alone; otherwise as much as the others.
    pub(crate) capacity: Option<Resources>,
}

/// `count` hosts, in the zones of a region by turns. Each of the capacity providers has as many of them as the others, next to each other, so that
/// it has hosts in all zones if there are enough.
pub(crate) fn hosts(
    count: u32,
    zones: NonZeroU32,
    region: &str,
    capacity_providers: &[CapacityProviderName],
) -> Vec<PlannedHost> {
    let of = |number: u32| {
        let place = (u64::from(number) - 1) * capacity_providers.len() as u64 / u64::from(count);
        usize::try_from(place)
            .ok()
            .and_then(|place| capacity_providers.get(place))
    };
    let letters = ('a'..='z').take(zones.get() as usize).cycle();
    (1..=count)
        .zip(letters)
        .map(|(number, letter)| PlannedHost {
            name: format!("host-{number}"),
            zone: format!("{region}{letter}"),
            capacity_provider: of(number).cloned(),
            capacity: None,
        })
        .collect()
}

/// What one host offers: what flags say, else its share of the machine, else the size of a simulated host.
pub(crate) fn capacity(share: Option<Resources>, vcpus: Option<u32>, memory_mib: Option<u32>) -> Resources {
    let base = share.unwrap_or(SIMULATED);
    Resources::new(
        vcpus.map_or(base.cpu.0, |vcpus| vcpus.saturating_mul(1024)),
        memory_mib.unwrap_or(base.memory.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("a count")
    }

    #[test]
    fn hosts_go_into_zones_by_turns() {
        let hosts = hosts(4, zones(3), "eu-west-1", &[]);
        let found: Vec<(&str, &str)> = hosts
            .iter()
            .map(|host| (host.name.as_str(), host.zone.as_str()))
            .collect();
        let wanted = [
            ("host-1", "eu-west-1a"),
            ("host-2", "eu-west-1b"),
            ("host-3", "eu-west-1c"),
            ("host-4", "eu-west-1a"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn hosts_are_divided_among_capacity_providers_and_each_is_in_all_zones() {
        let pools = ["plain".into(), "gpu".into()];
        let of = |count| {
            let hosts = hosts(count, zones(2), "eu-west-1", &pools).into_iter();
            let shown = hosts.map(|host| format!("{}{}", host.capacity_provider.expect("a pool"), &host.zone[9..]));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(of(4), ["plaina", "plainb", "gpua", "gpub"]);
        assert_eq!(of(3), ["plaina", "plainb", "gpua"]);
        assert!(of(0).is_empty());
    }

    #[test]
    fn capacity_without_flags_is_the_share_of_the_machine() {
        assert_eq!(
            capacity(Some(Resources::new(682, 7000)), None, None),
            Resources::new(682, 7000)
        );
        assert_eq!(capacity(None, None, None), Resources::new(4096, 16384));
        assert_eq!(capacity(None, Some(1), Some(1024)), Resources::new(1024, 1024));
    }
}
