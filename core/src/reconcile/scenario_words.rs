//! What the words of a step of a scenario mean that say how deployments proceed, and how things are.

use std::collections::BTreeMap;

use crate::model::*;

/// How deployments go through stages, as the words of a step say.
pub(super) fn configure(configuration: &mut DeploymentConfiguration, options: &BTreeMap<&str, &str>) {
    *configuration = configuration
        .with(changes(configuration.clone(), options))
        .expect("go together");
}

pub(super) fn changes(
    before: DeploymentConfiguration,
    options: &BTreeMap<&str, &str>,
) -> DeploymentConfigurationChanges {
    let number = |key: &str| options.get(key).map(|v| v.parse::<u32>().expect("a number"));
    let share = |key: &str| {
        let tenths = u16::try_from(number(key)? * 10).expect("a percentage");
        TrafficShare::of_tenths(tenths)
    };
    let strategy = options.get("strategy").map(|strategy| match *strategy {
        "rolling" => StrategyKind::Rolling,
        "blue-green" => StrategyKind::BlueGreen,
        "linear" => StrategyKind::Linear,
        "canary" => StrategyKind::Canary,
        other => panic!("unknown strategy {other}"),
    });
    let hook = options.get("pause").map(|stages| LifecycleHook {
        stages: stages.split(',').map(stage).collect(),
        timeout_minutes: number("timeout").unwrap_or(LifecycleHook::DEFAULT_TIMEOUT_MINUTES),
        at_timeout: match options.get("then") {
            Some(&"continue") => HookAction::Continue,
            _ => HookAction::Rollback,
        },
    });
    let hooks = [before.lifecycle_hooks, hook.into_iter().collect()].concat();
    DeploymentConfigurationChanges {
        minimum_healthy_percent: number("min"),
        maximum_percent: number("max"),
        strategy,
        linear: share("step").map(|step| LinearShift {
            step,
            step_bake_minutes: number("step-bake").unwrap_or_default(),
        }),
        canary: share("canary").map(|canary| CanaryShift {
            canary,
            canary_bake_minutes: number("canary-bake").unwrap_or_default(),
        }),
        bake_minutes: number("bake"),
        lifecycle_hooks: Some(hooks),
        early_success: options.get("early").map(|early| early_success(early)),
        alarms: options.get("alarms").map(|alarms| deployment_alarms(alarms)),
        bake_is_given: options.contains_key("bake"),
        ..DeploymentConfigurationChanges::default()
    }
}

/// `bounded:25`: what the circuit breaker takes.
pub(super) fn failure_threshold(words: &str) -> FailureThreshold {
    let (kind, value) = words.split_once(':').expect("a kind and a number");
    let value = value.parse().expect("a number");
    match kind {
        "count" => FailureThreshold::Count(value),
        "bounded" => FailureThreshold::BoundedPercent(value),
        "unbounded" => FailureThreshold::UnboundedPercent(value),
        other => panic!("unknown threshold {other}"),
    }
}

/// `50:blocking`: how many percent are enough, and what becomes of the others.
fn early_success(words: &str) -> EarlySuccess {
    let (percent, cleanup) = words.split_once(':').expect("a number and a cleanup");
    EarlySuccess {
        enable: true,
        healthy_percent: Some(percent.parse().expect("a number")),
        source_cleanup: Some(match cleanup {
            "blocking" => SourceCleanup::Blocking,
            "deferred" => SourceCleanup::Deferred,
            other => panic!("unknown cleanup {other}"),
        }),
    }
}

/// `errors,latency:rollback`: which alarms, and whether they roll back, only stop, or are off.
fn deployment_alarms(words: &str) -> DeploymentAlarms {
    let (names, what) = words.split_once(':').expect("names and what becomes of deployments");
    DeploymentAlarms {
        names: names.split(',').map(Into::into).collect(),
        enable: what != "off",
        rollback: what == "rollback",
    }
}

fn stage(name: &str) -> LifecycleStage {
    use LifecycleStage as S;
    let all = [
        S::ReconcileService,
        S::PreScaleUp,
        S::PostScaleUp,
        S::PostTestTrafficShift,
        S::PreProductionTrafficShift,
        S::PostProductionTrafficShift,
    ];
    all.into_iter().find(|stage| stage.as_str() == name).expect("a stage")
}

pub(super) fn health_status(text: &str) -> HealthStatus {
    let all = [HealthStatus::Healthy, HealthStatus::Unknown, HealthStatus::Unhealthy];
    let found = all
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(text));
    found.expect("a health status")
}

pub(super) fn alarm_state(text: &str) -> AlarmState {
    let all = [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData];
    let found = all.into_iter().find(|state| state.as_str() == text);
    found.expect("a state of an alarm")
}

/// Weights of capacity providers, such as `plain:1,gpu:3`.
pub(super) fn strategy_of(weights: &str) -> CapacityProviderStrategy {
    let item = |part: &str| {
        let (name, weight) = part.split_once(':').expect("a name and a weight");
        CapacityProviderStrategyItem {
            capacity_provider: name.into(),
            weight: weight.parse().expect("a weight"),
            base: 0,
        }
    };
    weights.split(',').map(item).collect()
}
