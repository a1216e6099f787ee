//! Placement constraints and strategies as users write them; what they mean is in [`crate::placement`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A rule that binds: a host that breaks it is not considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PlacementConstraint {
    /// Each task of the group on a host of its own.
    DistinctInstance,
    /// Hosts for which an expression of the cluster query language holds.
    MemberOf {
        /// The expression, already checked to parse.
        expression: String,
    },
    /// Hosts that can do what the task's definition needs: it is never asked for, and follows from the rest. With
    /// [`Feature::TaskNetworkInterfaces`](crate::state::Feature) alone.
    Attribute {
        /// The attribute by which a host says so.
        name: String,
        /// The values that will do; any where there are none. Letters, digits, hyphens, underscores and dots alone.
        values: Vec<String>,
    },
}

impl PlacementConstraint {
    /// The expression of the cluster query language that has to hold; nothing where the constraint is no property of hosts.
    #[must_use]
    pub fn expression(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::DistinctInstance => None,
            Self::MemberOf { expression } => Some(Cow::Borrowed(expression)),
            Self::Attribute { name, values } if values.is_empty() => Some(format!("attribute:{name} exists").into()),
            Self::Attribute { name, values } => Some(format!("attribute:{name} in [{}]", values.join(", ")).into()),
        }
    }
}

/// A preference among hosts that fit, applied in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PlacementStrategy {
    /// Any host.
    Random,
    /// As even as possible over the values of a field.
    Spread {
        /// `instanceId`, `host`, or `attribute:NAME`.
        field: String,
    },
    /// On the host with the least left of a resource.
    Binpack {
        /// Which resource.
        resource: BinpackResource,
    },
    /// One that ECS does not have.
    Extension {
        /// Which one.
        extension: PlacementExtension,
    },
}

/// What `binpack` packs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BinpackResource {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}

/// Strategies that ECS does not have. All of them fill hosts, so that requests name them as fields of `binpack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PlacementExtension {
    /// On the host with the least left of all resources together.
    BestFit,
    /// On the host whose free resources are the least like what the task needs.
    DotProduct,
    /// Where the least of the GPUs becomes of no use to typical tasks.
    Fragmentation,
    /// On GPUs in use before idle ones, and on hosts in use before idle ones.
    GpuPacking,
    /// Beside tasks that need as many GPUs.
    GpuClustering,
    /// Where typical tasks lose the least, and then where the least is left.
    Tightest,
}

impl PlacementExtension {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BestFit,
        Self::DotProduct,
        Self::Fragmentation,
        Self::GpuPacking,
        Self::GpuClustering,
        Self::Tightest,
    ];

    /// The field of `binpack` by which requests and answers name it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::BestFit => "berth:best-fit",
            Self::DotProduct => "berth:dot-product",
            Self::Fragmentation => "berth:fragmentation",
            Self::GpuPacking => "berth:gpu-packing",
            Self::GpuClustering => "berth:gpu-clustering",
            Self::Tightest => "berth:tightest",
        }
    }

    /// The one with this field.
    #[must_use]
    pub fn from_field(field: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.field() == field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_that_is_needed_is_an_expression_that_parses_and_holds_for_hosts_that_say_so() {
        use crate::model::{ContainerInstanceId, Resources};
        use crate::placement::{Host, query_language::Expression};

        let holds = |values: &[&str], attribute: Option<&str>| {
            let constraint = PlacementConstraint::Attribute {
                name: "ecs.subnet-id".to_owned(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            };
            let expression: Expression = constraint.expression().expect("one").parse().expect("parses");
            let mut host = Host::idle(ContainerInstanceId(1), "h", Resources::new(1, 1));
            let said = attribute.map(|value| ("ecs.subnet-id".to_owned(), Some(value.to_owned())));
            host.attributes.extend(said);
            expression.holds_for(&host.facts())
        };
        assert!(holds(&[], Some("subnet-a")) && !holds(&[], None));
        assert!(holds(&["subnet-b", "subnet-a"], Some("subnet-a")));
        assert!(!holds(&["subnet-b"], Some("subnet-a")) && !holds(&["subnet-b"], None));
    }

    #[test]
    fn extension_is_found_by_the_field_that_names_it() {
        for extension in PlacementExtension::ALL {
            assert_eq!(PlacementExtension::from_field(extension.field()), Some(extension));
        }
        assert_eq!(PlacementExtension::from_field("berth:worst-fit"), None);
    }
}
