//! Placement constraints and strategies as users write them; what they mean is in [`crate::placement`].

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
}

/// What `binpack` packs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BinpackResource {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}
