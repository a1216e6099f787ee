//! How deployments of a service proceed: the values, what a request may change of them, and which make no sense
//! together.

use serde::{Deserialize, Serialize};

use super::SchedulingStrategy;

/// The circuit breaker's threshold: half of the desired count, within these bounds (ECS).
const FAILURE_THRESHOLD_PERCENT: u32 = 50;
const MIN_FAILURE_THRESHOLD: u32 = 3;
const MAX_FAILURE_THRESHOLD: u32 = 200;

/// Stops a deployment whose tasks keep failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Whether it is on.
    pub enable: bool,
    /// Whether a failed deployment returns to the last completed one.
    pub rollback: bool,
    /// `resetOnHealthyTask` as given: whether failures count from zero again, and not at all, while a task of the deployment is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_on_healthy_task: Option<bool>,
}

impl CircuitBreaker {
    /// Whether a healthy task resets the count of failures (ECS's default).
    #[must_use]
    pub fn resets_on_healthy_task(self) -> bool {
        self.reset_on_healthy_task.unwrap_or(true)
    }

    /// With how many failures a deployment of a service that wants `desired_count` tasks is given up.
    #[must_use]
    pub fn threshold(desired_count: u32) -> u32 {
        let half = u64::from(desired_count) * u64::from(FAILURE_THRESHOLD_PERCENT);
        let half = u32::try_from(half.div_ceil(100)).unwrap_or(u32::MAX);
        half.clamp(MIN_FAILURE_THRESHOLD, MAX_FAILURE_THRESHOLD)
    }
}

/// How a deployment proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfiguration {
    /// At most this share of the desired count may exist, in percent, rounded down.
    pub maximum_percent: u32,
    /// At least this share of the desired count must run, in percent, rounded up.
    pub minimum_healthy_percent: u32,
    /// Circuit breaker.
    pub circuit_breaker: CircuitBreaker,
}

/// Changes to a deployment configuration; `None` leaves as is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfigurationChanges {
    /// New maximum.
    pub maximum_percent: Option<u32>,
    /// New minimum.
    pub minimum_healthy_percent: Option<u32>,
    /// New circuit breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// Why no deployment could proceed by a configuration (ECS's rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnworkableConfiguration {
    /// A daemon service never has more than one task on a host.
    #[error("a daemon service has a maximumPercent of 100")]
    DaemonMaximum,
    /// A daemon service stops a task before it starts its replacement.
    #[error("a daemon service has a minimumHealthyPercent below 100")]
    DaemonMinimum,
    /// Neither may a new task start nor an old one stop.
    #[error("maximumPercent and minimumHealthyPercent are both 100")]
    BothFull,
    /// The desired count itself would be too many.
    #[error("maximumPercent is below 100")]
    MaximumBelowDesired,
    /// More must run than may exist.
    #[error("minimumHealthyPercent is above maximumPercent")]
    MinimumAboveMaximum,
}

impl DeploymentConfiguration {
    /// What a service starts with that says nothing else (ECS's defaults).
    #[must_use]
    pub fn default_of(strategy: SchedulingStrategy) -> Self {
        let (maximum_percent, minimum_healthy_percent) = match strategy {
            SchedulingStrategy::Replica => (200, 100),
            SchedulingStrategy::Daemon => (100, 0),
        };
        Self {
            maximum_percent,
            minimum_healthy_percent,
            circuit_breaker: CircuitBreaker::default(),
        }
    }

    /// This configuration with `changes`.
    #[must_use]
    pub fn with(self, changes: DeploymentConfigurationChanges) -> Self {
        Self {
            maximum_percent: changes.maximum_percent.unwrap_or(self.maximum_percent),
            minimum_healthy_percent: changes.minimum_healthy_percent.unwrap_or(self.minimum_healthy_percent),
            circuit_breaker: changes.circuit_breaker.unwrap_or(self.circuit_breaker),
        }
    }

    /// Whether deployments of a service with this strategy can proceed.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check(self, strategy: SchedulingStrategy) -> Result<(), UnworkableConfiguration> {
        let (most, least) = (self.maximum_percent, self.minimum_healthy_percent);
        match strategy {
            SchedulingStrategy::Daemon if most != 100 => Err(UnworkableConfiguration::DaemonMaximum),
            SchedulingStrategy::Daemon if least >= 100 => Err(UnworkableConfiguration::DaemonMinimum),
            SchedulingStrategy::Replica if most == 100 && least == 100 => Err(UnworkableConfiguration::BothFull),
            SchedulingStrategy::Replica if most < 100 => Err(UnworkableConfiguration::MaximumBelowDesired),
            _ if least > most => Err(UnworkableConfiguration::MinimumAboveMaximum),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_threshold_is_half_of_the_desired_count_between_3_and_200() {
        let thresholds = [1, 6, 7, 399, 2_000].map(CircuitBreaker::threshold);
        assert_eq!(thresholds, [3, 3, 4, 200, 200]);
    }

    #[test]
    fn configuration_by_which_no_deployment_could_proceed_is_found_out() {
        use SchedulingStrategy::{Daemon, Replica};
        let check = |strategy, minimum_healthy_percent, maximum_percent| {
            let configuration = DeploymentConfiguration {
                maximum_percent,
                minimum_healthy_percent,
                circuit_breaker: CircuitBreaker::default(),
            };
            configuration.check(strategy).err()
        };
        assert_eq!(check(Replica, 100, 200), None);
        assert_eq!(check(Replica, 0, 100), None);
        assert_eq!(check(Replica, 100, 100), Some(UnworkableConfiguration::BothFull));
        assert_eq!(
            check(Replica, 0, 99),
            Some(UnworkableConfiguration::MaximumBelowDesired)
        );
        assert_eq!(
            check(Replica, 201, 200),
            Some(UnworkableConfiguration::MinimumAboveMaximum)
        );
        assert_eq!(check(Daemon, 99, 100), None);
        assert_eq!(check(Daemon, 100, 100), Some(UnworkableConfiguration::DaemonMinimum));
        assert_eq!(check(Daemon, 0, 200), Some(UnworkableConfiguration::DaemonMaximum));
    }
}
