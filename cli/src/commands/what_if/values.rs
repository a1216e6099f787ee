//! Values of the flags of `berth what-if`. Pure.

use anyhow::{Context, Result, bail, ensure};
use berth_aws::berth::{HostToAdd, PlacementStrategy, PlacementStrategyType, ServiceChange};

/// Reads a host that joins: `cpu=UNITS,memory=MIB`, with `name=`, `az=` and `capacity-provider=` if they matter.
///
/// # Errors
/// If something is missing, unknown, or no number.
pub(super) fn new_host(text: &str) -> Result<HostToAdd> {
    let mut host = HostToAdd::default();
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .with_context(|| format!("{part:?} is not KEY=VALUE"))?;
        match key {
            "cpu" => host.cpu = Some(amount(key, value)?),
            "memory" => host.memory = Some(amount(key, value)?),
            "name" => host.name = Some(value.to_owned()),
            "az" => host.availability_zone = Some(value.to_owned()),
            "capacity-provider" => host.capacity_provider = Some(value.to_owned()),
            _ => bail!("a host has cpu, memory, name, az and capacity-provider, and no {key}"),
        }
    }
    ensure!(
        host.cpu.is_some() && host.memory.is_some(),
        "cpu=UNITS (1024 are a vCPU) and memory=MIB are needed, such as cpu=4096,memory=16384"
    );
    Ok(host)
}

fn amount(key: &str, value: &str) -> Result<i32> {
    let amount: Option<i32> = value.parse().ok().filter(|amount| *amount > 0);
    amount.with_context(|| format!("{key} is a whole number from 1 to {}, not {value:?}", i32::MAX))
}

/// Reads a service and its new desired count.
///
/// # Errors
/// If it is not `SERVICE=COUNT`.
pub(super) fn scale(text: &str) -> Result<ServiceChange> {
    let (service, count) = named(text, "SERVICE=COUNT, such as web=12")?;
    let count: Option<i32> = count.parse().ok().filter(|count| *count >= 0);
    Ok(ServiceChange {
        desired_count: Some(
            count.with_context(|| format!("a desired count is a whole number from 0 to {}", i32::MAX))?,
        ),
        ..of(service)
    })
}

/// Reads a service and its new strategies.
///
/// # Errors
/// If it is not `SERVICE=STRATEGY,...`.
pub(super) fn strategy(text: &str) -> Result<ServiceChange> {
    let (service, strategies) = named(text, "SERVICE=TYPE:FIELD, such as web=binpack:memory")?;
    let strategies: Result<Vec<PlacementStrategy>> = strategies.split(',').map(one_strategy).collect();
    Ok(ServiceChange {
        placement_strategy: Some(strategies?),
        ..of(service)
    })
}

fn one_strategy(text: &str) -> Result<PlacementStrategy> {
    let (kind, field) = match text.split_once(':') {
        Some((kind, field)) => (kind, Some(field.to_owned())),
        None => (text, None),
    };
    let kind = match kind {
        "random" => PlacementStrategyType::Random,
        "spread" => PlacementStrategyType::Spread,
        "binpack" => PlacementStrategyType::Binpack,
        _ => bail!("a strategy is random, spread:FIELD or binpack:FIELD, not {text:?}"),
    };
    Ok(PlacementStrategy {
        r#type: Some(kind),
        field,
    })
}

fn named<'t>(text: &'t str, form: &str) -> Result<(&'t str, &'t str)> {
    let parts = text.split_once('=').filter(|(service, _)| !service.is_empty());
    parts.with_context(|| format!("{form} is needed"))
}

fn of(service: &str) -> ServiceChange {
    ServiceChange {
        service: Some(service.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_that_joins_needs_cpu_and_memory() {
        let host = new_host("name=big,cpu=4096,memory=16384,az=us-east-1a").expect("read");
        assert_eq!((host.cpu, host.memory), (Some(4096), Some(16384)));
        assert_eq!(
            (host.name.as_deref(), host.availability_zone.as_deref()),
            (Some("big"), Some("us-east-1a"))
        );
        for bad in ["", "cpu=1", "cpu=0,memory=1", "cpu=1,memory=x", "cpu=1,memory=1,gpu=1"] {
            assert!(new_host(bad).is_err(), "{bad}");
        }
        let large = new_host("cpu=99999999999,memory=1").expect_err("too large").to_string();
        assert_eq!(large, "cpu is a whole number from 1 to 2147483647, not \"99999999999\"");
    }

    #[test]
    fn strategies_are_read_in_their_order_with_fields_that_have_colons() {
        let change = strategy("web=spread:attribute:ecs.availability-zone,binpack:memory,random").expect("read");
        let strategies = change.placement_strategy.expect("some");
        let fields: Vec<Option<&str>> = strategies.iter().map(|strategy| strategy.field.as_deref()).collect();
        assert_eq!(fields, [Some("attribute:ecs.availability-zone"), Some("memory"), None]);
        assert_eq!(scale("web=0").expect("read").desired_count, Some(0));
        for bad in ["web", "=1", "web=x", "web=-1"] {
            assert!(scale(bad).is_err(), "{bad}");
        }
        assert!(strategy("web=pack:cpu").is_err());
    }
}
