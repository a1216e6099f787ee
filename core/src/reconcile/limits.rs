//! How far a service may stray from its desired count while tasks are replaced. Pure.

use crate::model::{DeploymentConfiguration, Service};

/// Bounds on the tasks of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Healthy tasks that stopping must leave.
    pub(super) lower: usize,
    /// Running and pending tasks that starting must not exceed.
    pub(super) upper: usize,
}

impl Limits {
    /// ECS's rule: `minimumHealthyPercent` rounds up, `maximumPercent` down. Below 100 % the maximum would keep a
    /// service from its own desired count, so it never counts as less. A managed daemon says on how many hosts it is replaced at once.
    pub(super) fn of(service: &Service) -> Self {
        let desired = service.desired_count;
        let limits = Self::new(desired, &service.deployment_configuration);
        match &service.managed_daemon {
            Some(daemon) => {
                let left = desired.saturating_sub(daemon.settings.hosts_at_once(desired));
                Self {
                    lower: usize::try_from(left).unwrap_or(usize::MAX),
                    ..limits
                }
            }
            None => limits,
        }
    }

    fn new(desired: u32, configuration: &DeploymentConfiguration) -> Self {
        let share = |percent: u32| u64::from(desired) * u64::from(percent);
        let whole = |tasks: u64| usize::try_from(tasks).unwrap_or(usize::MAX);
        let lower = share(configuration.minimum_healthy_percent).div_ceil(100);
        let upper = share(configuration.maximum_percent) / 100;
        Self {
            lower: whole(lower),
            upper: whole(upper.max(u64::from(desired))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SchedulingStrategy;

    #[test]
    fn limits_of_uneven_shares_round_the_minimum_up_and_the_maximum_down() {
        let of = |desired, minimum_healthy_percent, maximum_percent| {
            let configuration = DeploymentConfiguration {
                maximum_percent,
                minimum_healthy_percent,
                ..DeploymentConfiguration::default_of(SchedulingStrategy::Replica)
            };
            let limits = Limits::new(desired, &configuration);
            (limits.lower, limits.upper)
        };
        assert_eq!(of(4, 100, 200), (4, 8));
        assert_eq!(of(3, 50, 150), (2, 4));
        assert_eq!(of(1, 50, 100), (1, 1));
        assert_eq!(of(5, 0, 100), (0, 5));
        assert_eq!(of(4, 0, 50), (0, 4));
    }
}
