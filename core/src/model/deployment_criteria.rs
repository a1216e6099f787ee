//! By what a deployment fails or succeeds before all of its tasks have: how many failures the circuit breaker takes, and how many tasks are
//! enough. Pure data.

use serde::{Deserialize, Serialize};

/// Bounds of [`FailureThreshold::BoundedPercent`] (ECS).
const LEAST_BOUNDED: u32 = 3;
const MOST_BOUNDED: u32 = 200;

/// With how many failures the circuit breaker gives a deployment up: ECS's `thresholdConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureThreshold {
    /// With as many.
    Count(u32),
    /// A share of the desired count in percent, no fewer than 3 and no more than 200.
    BoundedPercent(u32),
    /// A share of the desired count in percent.
    UnboundedPercent(u32),
}

impl Default for FailureThreshold {
    /// ECS's default.
    fn default() -> Self {
        Self::BoundedPercent(50)
    }
}

impl FailureThreshold {
    /// What it comes to for a service that wants `desired_count` tasks. One failure is the least that can be counted.
    #[must_use]
    pub fn of(self, desired_count: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::BoundedPercent(percent) => share(desired_count, percent).clamp(LEAST_BOUNDED, MOST_BOUNDED),
            Self::UnboundedPercent(percent) => share(desired_count, percent),
        }
        .max(1)
    }
}

/// A share of tasks in percent, rounded up.
fn share(count: u32, percent: u32) -> u32 {
    let share = (u64::from(count) * u64::from(percent)).div_ceil(100);
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// When the tasks of the revisions before stop: ECS's `sourceServiceRevisionCleanup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SourceCleanup {
    /// Before the deployment is successful.
    Blocking,
    /// After it.
    Deferred,
}

/// How many tasks of a new revision are enough for a rolling update to be successful: ECS's `earlySuccessCriteria`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlySuccess {
    /// Whether any less than all of them are.
    pub enable: bool,
    /// The share of the desired count in percent that has to serve; there where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_percent: Option<u32>,
    /// When the tasks of other revisions stop; there where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cleanup: Option<SourceCleanup>,
}

impl EarlySuccess {
    /// How many tasks of a service that wants `desired_count` have to serve, one at least (ECS), and what becomes of the others; nothing
    /// where it is off.
    #[must_use]
    pub fn enough(self, desired_count: u32) -> Option<(u32, SourceCleanup)> {
        let percent = self.healthy_percent.filter(|_| self.enable)?;
        let least = u32::from(desired_count > 0);
        Some((share(desired_count, percent).max(least), self.source_cleanup?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_a_count_or_a_share_within_bounds_or_without() {
        let half = [1, 6, 7, 399, 2_000].map(|desired| FailureThreshold::default().of(desired));
        assert_eq!(half, [3, 3, 4, 200, 200]);
        let unbounded = [0, 1, 3, 2_000].map(|desired| FailureThreshold::UnboundedPercent(50).of(desired));
        assert_eq!(unbounded, [1, 1, 2, 1_000]);
        let twice = FailureThreshold::UnboundedPercent(200).of(10);
        assert_eq!((twice, FailureThreshold::BoundedPercent(1_000).of(3)), (20, 30));
        let count = [0, 1, 5_000].map(|desired| FailureThreshold::Count(7).of(desired));
        assert_eq!(count, [7, 7, 7]);
    }

    #[test]
    fn enough_tasks_are_a_share_rounded_up_and_one_at_least() {
        let enough = |healthy_percent, desired| {
            let criteria = EarlySuccess {
                enable: true,
                healthy_percent: Some(healthy_percent),
                source_cleanup: Some(SourceCleanup::Deferred),
            };
            criteria.enough(desired).map(|(tasks, _)| tasks)
        };
        // The examples of ECS's documentation, and the ends.
        let examples = [(50, 2), (50, 3), (80, 10), (90, 100), (100, 10), (0, 10), (50, 0)];
        let found = examples.map(|(percent, desired)| enough(percent, desired));
        assert_eq!(found, [1, 2, 8, 90, 10, 1, 0].map(Some));
        let off = EarlySuccess {
            enable: false,
            healthy_percent: Some(50),
            source_cleanup: Some(SourceCleanup::Blocking),
        };
        assert_eq!(off.enough(10), None);
    }
}
