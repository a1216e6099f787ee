//! How deployments of a service proceed: the values, what a request may change of them, and which make no sense
//! together.

use serde::{Deserialize, Serialize};

use super::{
    CanaryShift, DeploymentAlarms, DeploymentStrategy, EarlySuccess, FailureThreshold, LifecycleHook, LifecycleStage,
    LinearShift, MAX_ALARM_NAMES, SchedulingStrategy, StrategyKind,
};

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
    /// `thresholdConfiguration` as given. With [`Feature::DeploymentCriteria`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<FailureThreshold>,
}

impl CircuitBreaker {
    /// Whether a healthy task resets the count of failures (ECS's default).
    #[must_use]
    pub fn resets_on_healthy_task(self) -> bool {
        self.reset_on_healthy_task.unwrap_or(true)
    }

    /// With how many failures a deployment of a service that wants `desired_count` tasks is given up.
    #[must_use]
    pub fn threshold_for(self, desired_count: u32) -> u32 {
        self.threshold.unwrap_or_default().of(desired_count)
    }
}

/// Hooks that pause deployments of a service (ECS: 10).
pub const MAX_HOOKS: usize = 10;

/// How a deployment proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfiguration {
    /// At most this share of the desired count may exist, in percent, rounded down.
    pub maximum_percent: u32,
    /// At least this share of the desired count must run, in percent, rounded up.
    pub minimum_healthy_percent: u32,
    /// Circuit breaker.
    pub circuit_breaker: CircuitBreaker,
    /// In which manner tasks and traffic come to a new revision. With [`Feature::DeploymentStrategies`](crate::state::Feature) alone, as are the
    /// next two.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: DeploymentStrategy,
    /// Minutes that a deployment goes on after a new revision has its tasks and all traffic.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bake_minutes: u32,
    /// Where deployments pause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycle_hooks: Vec<LifecycleHook>,
    /// With how many tasks a rolling update is successful, as given. With [`Feature::DeploymentCriteria`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_success: Option<EarlySuccess>,
    /// The alarms by which a deployment fails, as given. With [`Feature::Alarms`](crate::state::Feature) alone, as is the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<DeploymentAlarms>,
    /// Whether somebody said how long the bake time is, be it that there is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bake_is_given: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Changes to a deployment configuration; `None` leaves as is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfigurationChanges {
    /// New maximum.
    pub maximum_percent: Option<u32>,
    /// New minimum.
    pub minimum_healthy_percent: Option<u32>,
    /// New circuit breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// New manner. With [`Feature::DeploymentStrategies`](crate::state::Feature) alone, as are all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategyKind>,
    /// New numbers of the manner `Linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearShift>,
    /// New numbers of the manner `Canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShift>,
    /// New bake time, in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_minutes: Option<u32>,
    /// New hooks, instead of those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_hooks: Option<Vec<LifecycleHook>>,
    /// New number of tasks that are enough. With [`Feature::DeploymentCriteria`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_success: Option<EarlySuccess>,
    /// New alarms, instead of those before. With [`Feature::Alarms`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<DeploymentAlarms>,
    /// Whether `bake_minutes` is what somebody said, of which alarms make no other. With [`Feature::Alarms`](crate::state::Feature) alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bake_is_given: bool,
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
    /// A daemon service has no room for a second task on each host.
    #[error("a daemon service has no deployments of the strategy {}", .0.as_str())]
    DaemonStrategy(StrategyKind),
    /// The numbers are of another manner than the service has.
    #[error("linearConfiguration belongs to the strategy LINEAR, and the strategy is {}", .0.as_str())]
    LinearOfAnotherStrategy(StrategyKind),
    /// The numbers are of another manner than the service has.
    #[error("canaryConfiguration belongs to the strategy CANARY, and the strategy is {}", .0.as_str())]
    CanaryOfAnotherStrategy(StrategyKind),
    /// Deployments cannot pause there.
    #[error("deployments cannot pause at {0}")]
    CannotPause(LifecycleStage),
    /// Deployments do not come there.
    #[error("deployments of the strategy ROLLING do not come to {0}")]
    NoSuchStage(LifecycleStage),
    /// Something outside the cluster decides what the service runs, and when.
    #[error("task sets go through no stages")]
    StagesOfTaskSets,
    /// More hooks than a service may have.
    #[error("a service has at most {MAX_HOOKS} hooks that pause its deployments")]
    TooManyHooks,
    /// It does not say how many tasks are enough, or what becomes of the others.
    #[error("earlySuccessCriteria that are on need healthyPercent and sourceServiceRevisionCleanup")]
    IncompleteEarlySuccess,
    /// Only rolling updates are successful early.
    #[error("earlySuccessCriteria belong to the strategy ROLLING, and the strategy is {}", .0.as_str())]
    EarlySuccessOfAnotherStrategy(StrategyKind),
    /// Fewer tasks would be enough than must run.
    #[error("healthyPercent of earlySuccessCriteria is below minimumHealthyPercent")]
    EarlySuccessBelowMinimum,
    /// There is nothing to mind.
    #[error("alarms that are on need alarmNames")]
    NoAlarms,
    /// More alarms than a service may name.
    #[error("a service names at most {MAX_ALARM_NAMES} alarms")]
    TooManyAlarms,
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
            strategy: DeploymentStrategy::Rolling,
            bake_minutes: 0,
            lifecycle_hooks: vec![],
            early_success: None,
            alarms: None,
            bake_is_given: false,
        }
    }

    /// This configuration with `changes`.
    ///
    /// # Errors
    /// If they have numbers of another strategy than it has then.
    pub fn with(&self, changes: DeploymentConfigurationChanges) -> Result<Self, UnworkableConfiguration> {
        let strategy = self.strategy_with(&changes)?;
        Ok(Self {
            maximum_percent: changes.maximum_percent.unwrap_or(self.maximum_percent),
            minimum_healthy_percent: changes.minimum_healthy_percent.unwrap_or(self.minimum_healthy_percent),
            circuit_breaker: changes.circuit_breaker.unwrap_or(self.circuit_breaker),
            strategy,
            bake_minutes: changes.bake_minutes.unwrap_or(self.bake_minutes),
            lifecycle_hooks: changes.lifecycle_hooks.unwrap_or_else(|| self.lifecycle_hooks.clone()),
            early_success: changes.early_success.or(self.early_success),
            alarms: changes.alarms.or_else(|| self.alarms.clone()),
            bake_is_given: changes.bake_is_given || self.bake_is_given,
        })
    }

    fn strategy_with(
        &self,
        changes: &DeploymentConfigurationChanges,
    ) -> Result<DeploymentStrategy, UnworkableConfiguration> {
        let kind = changes.strategy.unwrap_or(self.strategy.kind());
        if changes.linear.is_some() && kind != StrategyKind::Linear {
            return Err(UnworkableConfiguration::LinearOfAnotherStrategy(kind));
        }
        if changes.canary.is_some() && kind != StrategyKind::Canary {
            return Err(UnworkableConfiguration::CanaryOfAnotherStrategy(kind));
        }
        Ok(match (kind, self.strategy) {
            (StrategyKind::Rolling, _) => DeploymentStrategy::Rolling,
            (StrategyKind::BlueGreen, _) => DeploymentStrategy::BlueGreen,
            (StrategyKind::Linear, DeploymentStrategy::Linear(known)) => {
                DeploymentStrategy::Linear(changes.linear.unwrap_or(known))
            }
            (StrategyKind::Linear, _) => DeploymentStrategy::Linear(changes.linear.unwrap_or_default()),
            (StrategyKind::Canary, DeploymentStrategy::Canary(known)) => {
                DeploymentStrategy::Canary(changes.canary.unwrap_or(known))
            }
            (StrategyKind::Canary, _) => DeploymentStrategy::Canary(changes.canary.unwrap_or_default()),
        })
    }

    /// Whether deployments go through stages that they are shown in.
    #[must_use]
    pub fn has_stages(&self) -> bool {
        self.strategy.shifts_traffic() || self.bake_minutes > 0 || !self.lifecycle_hooks.is_empty()
    }

    /// Whether it says of deployments what task sets have nothing to do with.
    #[must_use]
    pub fn is_for_deployments_alone(&self) -> bool {
        self.has_stages()
            || self.early_success.is_some_and(|early| early.enable)
            || self.alarms.as_ref().is_some_and(|alarms| alarms.enable)
    }

    /// Whether somebody said how long the bake time is.
    #[must_use]
    pub fn says_bake_time(&self) -> bool {
        self.bake_is_given || self.bake_minutes > 0
    }

    /// What a deployment that began with `begun` proceeds by once its service has this configuration: the stages that it goes
    /// through stay, what it succeeds by, and its alarms.
    #[must_use]
    pub fn on_the_way_of(&self, begun: &Self) -> Self {
        Self {
            maximum_percent: self.maximum_percent,
            minimum_healthy_percent: self.minimum_healthy_percent,
            circuit_breaker: self.circuit_breaker,
            ..begun.clone()
        }
    }

    /// Whether deployments of a service with this strategy can proceed.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check(&self, strategy: SchedulingStrategy) -> Result<(), UnworkableConfiguration> {
        self.check_stages(strategy)?;
        self.check_early_success()?;
        self.check_alarms()?;
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

    fn check_alarms(&self) -> Result<(), UnworkableConfiguration> {
        match &self.alarms {
            Some(alarms) if alarms.enable && alarms.names.is_empty() => Err(UnworkableConfiguration::NoAlarms),
            Some(alarms) if alarms.names.len() > MAX_ALARM_NAMES => Err(UnworkableConfiguration::TooManyAlarms),
            _ => Ok(()),
        }
    }

    fn check_early_success(&self) -> Result<(), UnworkableConfiguration> {
        let Some(early) = self.early_success.filter(|early| early.enable) else {
            return Ok(());
        };
        if self.strategy.kind() != StrategyKind::Rolling {
            return Err(UnworkableConfiguration::EarlySuccessOfAnotherStrategy(
                self.strategy.kind(),
            ));
        }
        match early.healthy_percent {
            Some(percent) if early.source_cleanup.is_some() => match percent < self.minimum_healthy_percent {
                true => Err(UnworkableConfiguration::EarlySuccessBelowMinimum),
                false => Ok(()),
            },
            _ => Err(UnworkableConfiguration::IncompleteEarlySuccess),
        }
    }

    fn check_stages(&self, strategy: SchedulingStrategy) -> Result<(), UnworkableConfiguration> {
        let shifts_traffic = self.strategy.shifts_traffic();
        if shifts_traffic && strategy == SchedulingStrategy::Daemon {
            return Err(UnworkableConfiguration::DaemonStrategy(self.strategy.kind()));
        }
        if self.lifecycle_hooks.len() > MAX_HOOKS {
            return Err(UnworkableConfiguration::TooManyHooks);
        }
        for stage in self.lifecycle_hooks.iter().flat_map(|hook| &hook.stages) {
            if !stage.can_pause() {
                return Err(UnworkableConfiguration::CannotPause(*stage));
            }
            let is_of_all = matches!(stage, LifecycleStage::PreScaleUp | LifecycleStage::PostScaleUp);
            if !shifts_traffic && !is_of_all {
                return Err(UnworkableConfiguration::NoSuchStage(*stage));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceCleanup;
    use super::*;

    #[test]
    fn early_success_that_is_on_has_to_be_whole_rolling_and_no_less_than_must_run() {
        let check = |strategy, healthy_percent, source_cleanup| {
            let configuration = DeploymentConfiguration {
                strategy,
                minimum_healthy_percent: 50,
                early_success: Some(EarlySuccess {
                    enable: true,
                    healthy_percent,
                    source_cleanup,
                }),
                ..DeploymentConfiguration::default_of(SchedulingStrategy::Replica)
            };
            configuration.check(SchedulingStrategy::Replica).err()
        };
        let (rolling, blocking) = (DeploymentStrategy::Rolling, Some(SourceCleanup::Blocking));
        assert_eq!(check(rolling, Some(50), blocking), None);
        let below = Some(UnworkableConfiguration::EarlySuccessBelowMinimum);
        assert_eq!(check(rolling, Some(49), blocking), below);
        let incomplete = Some(UnworkableConfiguration::IncompleteEarlySuccess);
        assert_eq!(check(rolling, None, blocking), incomplete);
        assert_eq!(check(rolling, Some(50), None), incomplete);
        let of_another = UnworkableConfiguration::EarlySuccessOfAnotherStrategy(StrategyKind::BlueGreen);
        assert_eq!(
            check(DeploymentStrategy::BlueGreen, Some(50), blocking),
            Some(of_another)
        );
        let off = DeploymentConfiguration {
            strategy: DeploymentStrategy::BlueGreen,
            early_success: Some(EarlySuccess {
                enable: false,
                healthy_percent: None,
                source_cleanup: None,
            }),
            ..DeploymentConfiguration::default_of(SchedulingStrategy::Replica)
        };
        assert_eq!(off.check(SchedulingStrategy::Replica), Ok(()));
    }

    #[test]
    fn configuration_by_which_no_deployment_could_proceed_is_found_out() {
        use SchedulingStrategy::{Daemon, Replica};
        let check = |strategy, minimum_healthy_percent, maximum_percent| {
            let configuration = DeploymentConfiguration {
                maximum_percent,
                minimum_healthy_percent,
                ..DeploymentConfiguration::default_of(strategy)
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

    #[test]
    fn numbers_of_a_strategy_are_kept_merged_and_refused_where_they_are_of_another() {
        let rolling = DeploymentConfiguration::default_of(SchedulingStrategy::Replica);
        let change = |configuration: &DeploymentConfiguration, strategy, canary| {
            let changes = DeploymentConfigurationChanges {
                strategy,
                canary,
                ..Default::default()
            };
            configuration.with(changes)
        };
        let canary = CanaryShift {
            canary_bake_minutes: 1,
            ..CanaryShift::default()
        };
        let refused = change(&rolling, None, Some(canary));
        assert_eq!(
            refused,
            Err(UnworkableConfiguration::CanaryOfAnotherStrategy(StrategyKind::Rolling))
        );
        let given = change(&rolling, Some(StrategyKind::Canary), Some(canary)).expect("can be");
        assert_eq!(given.strategy, DeploymentStrategy::Canary(canary));
        let again = change(&given, Some(StrategyKind::Canary), None).expect("can be");
        assert_eq!(again.strategy, given.strategy, "not named, so as it was");
        let back = change(&given, Some(StrategyKind::Rolling), None).expect("can be");
        assert_eq!(back, rolling);
    }

    #[test]
    fn hooks_and_strategies_that_no_deployment_could_follow_are_found_out() {
        use SchedulingStrategy::{Daemon, Replica};
        let check = |scheduling, strategy, stages: &[LifecycleStage]| {
            let configuration = DeploymentConfiguration {
                strategy,
                lifecycle_hooks: vec![LifecycleHook {
                    stages: stages.to_vec(),
                    timeout_minutes: LifecycleHook::DEFAULT_TIMEOUT_MINUTES,
                    at_timeout: super::super::HookAction::Rollback,
                }],
                ..DeploymentConfiguration::default_of(scheduling)
            };
            configuration.check(scheduling).err()
        };
        let (rolling, blue_green) = (DeploymentStrategy::Rolling, DeploymentStrategy::BlueGreen);
        let (early, late) = (LifecycleStage::PreScaleUp, LifecycleStage::PostTestTrafficShift);
        assert_eq!(check(Replica, blue_green, &[early, late]), None);
        assert_eq!(check(Daemon, rolling, &[early]), None);
        assert_eq!(
            check(Replica, rolling, &[early, late]),
            Some(UnworkableConfiguration::NoSuchStage(late))
        );
        assert_eq!(
            check(Daemon, blue_green, &[]),
            Some(UnworkableConfiguration::DaemonStrategy(StrategyKind::BlueGreen))
        );
        assert_eq!(
            check(Replica, blue_green, &[LifecycleStage::TestTrafficShift]),
            Some(UnworkableConfiguration::CannotPause(LifecycleStage::TestTrafficShift))
        );
    }
}
