//! Values of the flags of `berth what-if`. Pure.

use anyhow::{Context, Result, bail, ensure};
use berth_aws::berth::{HostAttribute, HostToAdd, PlacementStrategy, PlacementStrategyType, ServiceChange};
use berth_core::model::attribute_names;

/// What begins a part that says an attribute.
const ATTRIBUTE: &str = "attribute:";

/// Reads a host that joins: `cpu=UNITS,memory=MIB`, with `name=`, `az=`, `capacity-provider=`, `fargate`, `fargate-spot` and
/// `attribute:NAME=VALUE` if they matter.
///
/// # Errors
/// If something is missing, unknown, or no number.
pub(super) fn new_host(text: &str) -> Result<HostToAdd> {
    let mut host = HostToAdd::default();
    let mut attributes: Vec<HostAttribute> = vec![];
    for part in text.split(',') {
        if let Some(said) = said(part) {
            // Both of ECS's own capacity providers say the same of sidecars.
            attributes.extend(
                said.into_iter()
                    .filter(|one| !attributes.contains(one))
                    .collect::<Vec<_>>(),
            );
            continue;
        }
        let (key, value) = part
            .split_once('=')
            .with_context(|| format!("{part:?} is not KEY=VALUE"))?;
        match key {
            "cpu" => host.cpu = Some(amount(key, value)?),
            "memory" => host.memory = Some(amount(key, value)?),
            "name" => host.name = Some(value.to_owned()),
            "az" => host.availability_zone = Some(value.to_owned()),
            "capacity-provider" => host.capacity_provider = Some(value.to_owned()),
            _ => bail!(
                "a host has cpu, memory, name, az, capacity-provider, fargate, fargate-spot and {ATTRIBUTE}NAME, and no {key}"
            ),
        }
    }
    host.attributes = (!attributes.is_empty()).then_some(attributes);
    ensure!(
        host.cpu.is_some() && host.memory.is_some(),
        "cpu=UNITS (1024 are a vCPU) and memory=MIB are needed, such as cpu=4096,memory=16384"
    );
    Ok(host)
}

/// The attributes that a part says of a host, if it says any: what agents say that are started with the flag of that name, or one by its name.
fn said(part: &str) -> Option<Vec<HostAttribute>> {
    let attribute = |name: &str, value: Option<&str>| HostAttribute {
        name: Some(name.to_owned()),
        value: value.map(str::to_owned),
    };
    if let Some(named) = part.strip_prefix(ATTRIBUTE) {
        let (name, value) = named
            .split_once('=')
            .map_or((named, None), |(name, value)| (name, Some(value)));
        return Some(vec![attribute(name, value)]);
    }
    let offered = match part {
        "fargate" => attribute_names::FARGATE,
        "fargate-spot" => attribute_names::FARGATE_SPOT,
        _ => return None,
    };
    Some(vec![
        attribute(offered, Some("runc")),
        attribute(attribute_names::FARGATE_SIDECARS, None),
    ])
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
        assert_eq!(host.attributes, None);
        for bad in [
            "",
            "cpu=1",
            "cpu=1,memory=1,fargates",
            "cpu=0,memory=1",
            "cpu=1,memory=x",
            "cpu=1,memory=1,gpu=1",
        ] {
            assert!(new_host(bad).is_err(), "{bad}");
        }
        let large = new_host("cpu=99999999999,memory=1").expect_err("too large").to_string();
        assert_eq!(large, "cpu is a whole number from 1 to 2147483647, not \"99999999999\"");
    }

    #[test]
    fn host_that_joins_offers_itself_to_fargate_and_says_what_else_it_has() {
        let said = |text: &str| -> Vec<(String, Option<String>)> {
            let host = new_host(&format!("cpu=1024,memory=1024,{text}")).expect("read");
            let attributes = host.attributes.expect("some").into_iter();
            attributes
                .map(|one| (one.name.unwrap_or_default(), one.value))
                .collect()
        };
        let sidecars = ("berth.fargate-sidecars".to_owned(), None);
        let offered = |name: &str| (name.to_owned(), Some("runc".to_owned()));
        assert_eq!(
            said("fargate,fargate-spot"),
            [offered("berth.fargate"), sidecars, offered("berth.fargate-spot")]
        );
        assert_eq!(
            said("attribute:rack=a=1,attribute:ssd"),
            [("rack".to_owned(), Some("a=1".to_owned())), ("ssd".to_owned(), None)]
        );
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
