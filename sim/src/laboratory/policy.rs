//! Strategies by the names that users of the laboratory give them. Pure.

use std::fmt;
use std::str::FromStr;

use berth_core::model::{BinpackResource, PlacementExtension, PlacementStrategy};
use berth_core::placement::{MAX_STRATEGIES, SpreadField, service_default};
use thiserror::Error;

/// Strategies in order, with the name that says them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    strategies: Vec<PlacementStrategy>,
}

/// Why a name is none of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No strategy is called so.
    #[error(
        "there is no strategy '{name}': use random, default, spread=instanceId, spread=host, spread=attribute:NAME (such as \
         attribute:ecs.availability-zone), binpack=cpu, binpack=memory, {extensions}, or several with + between them",
        extensions = PlacementExtension::ALL.map(short).join(", ")
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// There are more than a request may have.
    #[error("'{name}' names {count} strategies; there can be at most {MAX_STRATEGIES}")]
    TooMany {
        /// The whole.
        name: String,
        /// How many it names.
        count: usize,
    },
}

/// What `berth:` fields are called here.
fn short(extension: PlacementExtension) -> &'static str {
    extension.field().trim_start_matches("berth:")
}

impl Policy {
    /// The policy that is one strategy beyond ECS's.
    #[must_use]
    pub fn of(extension: PlacementExtension) -> Self {
        Self {
            name: short(extension).to_owned(),
            strategies: vec![PlacementStrategy::Extension { extension }],
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The strategies.
    #[must_use]
    pub fn strategies(&self) -> &[PlacementStrategy] {
        &self.strategies
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(name: &str) -> Result<Self, PolicyError> {
        let mut strategies = vec![];
        for part in name.split('+') {
            strategies.extend(strategy(part).ok_or_else(|| PolicyError::Unknown { name: part.to_owned() })?);
        }
        if strategies.len() > MAX_STRATEGIES {
            let (name, count) = (name.to_owned(), strategies.len());
            return Err(PolicyError::TooMany { name, count });
        }
        let name = name.to_owned();
        Ok(Self { name, strategies })
    }
}

fn strategy(name: &str) -> Option<Vec<PlacementStrategy>> {
    let one = match name.split_once('=') {
        None if name == "default" => return Some(service_default()),
        None if name == "random" => PlacementStrategy::Random,
        None => {
            let called = |extension: &PlacementExtension| short(*extension) == name || extension.field() == name;
            let extension = PlacementExtension::ALL.into_iter().find(called)?;
            PlacementStrategy::Extension { extension }
        }
        Some(("binpack", "cpu")) => PlacementStrategy::Binpack {
            resource: BinpackResource::Cpu,
        },
        Some(("binpack", "memory")) => PlacementStrategy::Binpack {
            resource: BinpackResource::Memory,
        },
        Some(("binpack", field)) => {
            let extension = PlacementExtension::ALL.into_iter().find(|one| one.field() == field)?;
            PlacementStrategy::Extension { extension }
        }
        Some(("spread", field)) if SpreadField::parse(field).is_some() => PlacementStrategy::Spread {
            field: field.to_owned(),
        },
        Some(_) => return None,
    };
    Some(vec![one])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_is_read_from_the_names_of_its_strategies() {
        let count = |name: &str| name.parse::<Policy>().map(|policy| policy.strategies.len());
        assert_eq!(count("random"), Ok(1));
        assert_eq!(count("spread=attribute:ecs.availability-zone+tightest"), Ok(2));
        assert_eq!(
            "berth:best-fit".parse::<Policy>().expect("one").strategies,
            Policy::of(PlacementExtension::BestFit).strategies
        );
        assert_eq!(
            "binpack=berth:tightest".parse::<Policy>().expect("one").strategies,
            Policy::of(PlacementExtension::Tightest).strategies,
            "as recordings have it"
        );
        let unknown = "worst-fit".parse::<Policy>().expect_err("none").to_string();
        assert!(
            unknown.contains("'worst-fit'") && unknown.contains("gpu-clustering, tightest"),
            "{unknown}"
        );
        assert!(count("default+default+default").is_err());
        assert!(count("spread=zone").is_err());
    }
}
