//! In which manner the tasks of a new revision take the place of the others, and how production traffic comes to them.

use serde::{Deserialize, Serialize};

use super::TrafficShare;

/// How much of production traffic is shifted at a time (`linearConfiguration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearShift {
    /// What comes to the new revision in each step.
    pub step: TrafficShare,
    /// Minutes between one step and the next.
    pub step_bake_minutes: u32,
}

impl LinearShift {
    /// The least that a step shifts (ECS).
    pub const LEAST_STEP: TrafficShare = share(30);
}

impl Default for LinearShift {
    /// ECS's.
    fn default() -> Self {
        Self {
            step: share(100),
            step_bake_minutes: 6,
        }
    }
}

/// How much of production traffic is shifted first (`canaryConfiguration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryShift {
    /// What comes to the new revision first.
    pub canary: TrafficShare,
    /// Minutes until the rest does.
    pub canary_bake_minutes: u32,
}

impl CanaryShift {
    /// The least that a canary gets (ECS).
    pub const LEAST_CANARY: TrafficShare = share(1);
}

impl Default for CanaryShift {
    /// ECS's.
    fn default() -> Self {
        Self {
            canary: share(50),
            canary_bake_minutes: 10,
        }
    }
}

const fn share(tenths: u16) -> TrafficShare {
    match TrafficShare::of_tenths(tenths) {
        Some(share) => share,
        None => TrafficShare::ALL,
    }
}

/// The manner of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentStrategy {
    /// Task by task.
    #[default]
    Rolling,
    /// All tasks of the new revision beside those of the old, then all traffic at once.
    BlueGreen,
    /// As `BlueGreen`, but traffic in equal steps.
    Linear(LinearShift),
    /// As `BlueGreen`, but some traffic first.
    Canary(CanaryShift),
}

/// A manner without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StrategyKind {
    /// [`DeploymentStrategy::Rolling`].
    Rolling,
    /// [`DeploymentStrategy::BlueGreen`].
    BlueGreen,
    /// [`DeploymentStrategy::Linear`].
    Linear,
    /// [`DeploymentStrategy::Canary`].
    Canary,
}

impl StrategyKind {
    /// ECS's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "ROLLING",
            Self::BlueGreen => "BLUE_GREEN",
            Self::Linear => "LINEAR",
            Self::Canary => "CANARY",
        }
    }
}

impl DeploymentStrategy {
    /// The manner without its numbers.
    #[must_use]
    pub fn kind(self) -> StrategyKind {
        match self {
            Self::Rolling => StrategyKind::Rolling,
            Self::BlueGreen => StrategyKind::BlueGreen,
            Self::Linear(_) => StrategyKind::Linear,
            Self::Canary(_) => StrategyKind::Canary,
        }
    }

    /// Whether all tasks of the new revision stand beside those of the old before traffic is shifted.
    #[must_use]
    pub fn shifts_traffic(self) -> bool {
        self != Self::Rolling
    }

    /// What the new revision gets of production traffic after it had `before`.
    #[must_use]
    pub fn next_share(self, before: TrafficShare) -> TrafficShare {
        match self {
            Self::Linear(linear) => before.and(linear.step),
            Self::Canary(canary) if before == TrafficShare::NONE => canary.canary,
            Self::Rolling | Self::BlueGreen | Self::Canary(_) => TrafficShare::ALL,
        }
    }

    /// Minutes that it has `share` at least.
    #[must_use]
    pub fn bake_minutes_at(self, share: TrafficShare) -> u32 {
        match self {
            _ if share == TrafficShare::ALL => 0,
            Self::Linear(linear) => linear.step_bake_minutes,
            Self::Canary(canary) => canary.canary_bake_minutes,
            Self::Rolling | Self::BlueGreen => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(strategy: DeploymentStrategy) -> Vec<(u16, u32)> {
        let mut shares = vec![];
        let mut now = TrafficShare::NONE;
        while now < TrafficShare::ALL {
            now = strategy.next_share(now);
            shares.push((now.tenths(), strategy.bake_minutes_at(now)));
        }
        shares
    }

    #[test]
    fn traffic_is_shifted_at_once_in_equal_steps_or_some_of_it_first_and_no_bake_follows_the_last_shift() {
        assert_eq!(shares(DeploymentStrategy::BlueGreen), [(1_000, 0)]);
        let linear = LinearShift {
            step: share(333),
            step_bake_minutes: 2,
        };
        assert_eq!(
            shares(DeploymentStrategy::Linear(linear)),
            [(333, 2), (666, 2), (999, 2), (1_000, 0)]
        );
        assert_eq!(shares(DeploymentStrategy::Linear(LinearShift::default())).len(), 10);
        assert_eq!(
            shares(DeploymentStrategy::Canary(CanaryShift::default())),
            [(50, 10), (1_000, 0)]
        );
    }
}
