//! What a deployment configuration says of the stages that deployments go through: strategy, traffic, bake time and hooks, in requests and in
//! answers. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{
    CanaryConfiguration, DeploymentConfiguration as AwsConfiguration, DeploymentLifecycleHook,
    DeploymentLifecycleHookAction as AwsAction, DeploymentLifecycleHookStage as AwsStage,
    DeploymentLifecycleHookTargetType as TargetType, DeploymentLifecycleHookTimeoutConfiguration,
    DeploymentStrategy as AwsStrategy, LinearConfiguration,
};
use berth_core::model::{
    CanaryShift, DeploymentConfiguration, DeploymentConfigurationChanges, DeploymentStrategy, HookAction,
    LifecycleHook, LifecycleStage, LinearShift, StrategyKind, TrafficShare,
};
use berth_core::state::{ClusterState, Feature};

use super::render::count;
use crate::api::errors::{self, client, invalid};

/// The longest wait of a deployment (ECS: a day).
const MAX_BAKE_MINUTES: i32 = 1_440;

/// What the request changes of the stages; whether the outcome makes sense is checked where it is merged.
///
/// # Errors
/// `InvalidParameterException` for numbers out of range, `ClientException` for hooks that call a function, and for all of it while not all
/// controllers know it.
pub(super) fn of_request(
    state: &ClusterState,
    given: &AwsConfiguration,
) -> Result<DeploymentConfigurationChanges, AwsError> {
    let changes = DeploymentConfigurationChanges {
        strategy: given.strategy.as_ref().map(kind),
        linear: given.linear_configuration.as_ref().map(linear).transpose()?,
        canary: given.canary_configuration.as_ref().map(canary).transpose()?,
        bake_minutes: given
            .bake_time_in_minutes
            .map(|minutes| bake_minutes("bakeTimeInMinutes", minutes))
            .transpose()?,
        lifecycle_hooks: given.lifecycle_hooks.as_deref().map(hooks).transpose()?,
        bake_is_given: given.bake_time_in_minutes.is_some() && state.uses(Feature::Alarms),
        ..Default::default()
    };
    if state.uses(Feature::DeploymentStrategies) {
        return Ok(changes);
    }
    let asks_for_stages = changes.strategy.is_some_and(|kind| kind != StrategyKind::Rolling)
        || changes.bake_minutes.is_some_and(|minutes| minutes > 0)
        || changes.lifecycle_hooks.is_some_and(|hooks| !hooks.is_empty());
    errors::check_upgraded(
        !asks_for_stages && changes.linear.is_none() && changes.canary.is_none(),
        client,
        "Other deployment strategies than ROLLING, bake times and lifecycle hooks are not supported",
    )?;
    // They ask for what happens anyway, and older controllers could not read them.
    Ok(DeploymentConfigurationChanges::default())
}

fn kind(given: &AwsStrategy) -> StrategyKind {
    match given {
        AwsStrategy::Rolling => StrategyKind::Rolling,
        AwsStrategy::BlueGreen => StrategyKind::BlueGreen,
        AwsStrategy::Linear => StrategyKind::Linear,
        AwsStrategy::Canary => StrategyKind::Canary,
    }
}

fn linear(given: &LinearConfiguration) -> Result<LinearShift, AwsError> {
    let known = LinearShift::default();
    let (step, minutes) = (given.step_percent, given.step_bake_time_in_minutes);
    Ok(LinearShift {
        step: step.map_or(Ok(known.step), |percent| {
            share("stepPercent", percent, LinearShift::LEAST_STEP)
        })?,
        step_bake_minutes: minutes.map_or(Ok(known.step_bake_minutes), |minutes| {
            bake_minutes("stepBakeTimeInMinutes", minutes)
        })?,
    })
}

fn canary(given: &CanaryConfiguration) -> Result<CanaryShift, AwsError> {
    let known = CanaryShift::default();
    let (canary, minutes) = (given.canary_percent, given.canary_bake_time_in_minutes);
    Ok(CanaryShift {
        canary: canary.map_or(Ok(known.canary), |percent| {
            share("canaryPercent", percent, CanaryShift::LEAST_CANARY)
        })?,
        canary_bake_minutes: minutes.map_or(Ok(known.canary_bake_minutes), |minutes| {
            bake_minutes("canaryBakeTimeInMinutes", minutes)
        })?,
    })
}

/// A percentage that is a multiple of 0.1 (ECS).
fn share(member: &str, percent: f64, least: TrafficShare) -> Result<TrafficShare, AwsError> {
    let all = (least.tenths()..=TrafficShare::ALL.tenths()).filter_map(TrafficShare::of_tenths);
    // What a decimal number is as a double is what its tenths divided by ten are.
    let found = all
        .into_iter()
        .find(|share| (self::percent(*share) - percent).abs() < 1e-9);
    found.ok_or_else(|| {
        invalid(format!(
            "{member} must be a multiple of 0.1 from {:.1} to 100.0, not {percent}.",
            self::percent(least)
        ))
    })
}

fn bake_minutes(member: &str, given: i32) -> Result<u32, AwsError> {
    match u32::try_from(given) {
        Ok(minutes) if given <= MAX_BAKE_MINUTES => Ok(minutes),
        _ => Err(invalid(format!(
            "{member} must be between 0 and {MAX_BAKE_MINUTES}, not {given}."
        ))),
    }
}

fn hooks(given: &[DeploymentLifecycleHook]) -> Result<Vec<LifecycleHook>, AwsError> {
    given
        .iter()
        .enumerate()
        .map(|(index, given)| hook(index, given))
        .collect()
}

fn hook(index: usize, given: &DeploymentLifecycleHook) -> Result<LifecycleHook, AwsError> {
    let path = format!("deploymentConfiguration.lifecycleHooks[{index}]");
    if given.target_type != Some(TargetType::Pause) {
        return Err(client(format!(
            "The value AWS_LAMBDA of {path}.targetType is not supported by Berth yet; supported: PAUSE. It is the default: hooks that pause \
             have to name theirs."
        )));
    }
    for (member, is_given) in [
        ("hookTargetArn", given.hook_target_arn.is_some()),
        ("roleArn", given.role_arn.is_some()),
        ("hookDetails", given.hook_details.is_some()),
    ] {
        if is_given {
            return Err(invalid(format!("{path}.{member} is not applicable to PAUSE hooks.")));
        }
    }
    let mut stages: Vec<LifecycleStage> = given.lifecycle_stages.iter().flatten().map(stage).collect();
    if stages.is_empty() {
        return Err(invalid(format!("{path}.lifecycleStages cannot be empty.")));
    }
    stages.sort();
    stages.dedup();
    let timeout = given.timeout_configuration.clone().unwrap_or_default();
    let minutes = timeout.timeout_in_minutes.map(i32::unsigned_abs);
    Ok(LifecycleHook {
        stages,
        timeout_minutes: minutes.unwrap_or(LifecycleHook::DEFAULT_TIMEOUT_MINUTES),
        at_timeout: timeout.action.as_ref().map_or(HookAction::Rollback, action),
    })
}

fn stage(given: &AwsStage) -> LifecycleStage {
    match given {
        AwsStage::ReconcileService => LifecycleStage::ReconcileService,
        AwsStage::PreScaleUp => LifecycleStage::PreScaleUp,
        AwsStage::PostScaleUp => LifecycleStage::PostScaleUp,
        AwsStage::TestTrafficShift => LifecycleStage::TestTrafficShift,
        AwsStage::PostTestTrafficShift => LifecycleStage::PostTestTrafficShift,
        AwsStage::PreProductionTrafficShift => LifecycleStage::PreProductionTrafficShift,
        AwsStage::ProductionTrafficShift => LifecycleStage::ProductionTrafficShift,
        AwsStage::PostProductionTrafficShift => LifecycleStage::PostProductionTrafficShift,
    }
}

/// What is to become of a deployment that has paused.
pub(super) fn action(given: &AwsAction) -> HookAction {
    match given {
        AwsAction::Continue => HookAction::Continue,
        AwsAction::Rollback => HookAction::Rollback,
    }
}

/// The same in answers.
pub(super) fn render_action(action: HookAction) -> AwsAction {
    match action {
        HookAction::Continue => AwsAction::Continue,
        HookAction::Rollback => AwsAction::Rollback,
    }
}

/// A share of traffic in percent.
pub(super) fn percent(share: TrafficShare) -> f64 {
    f64::from(share.tenths()) / 10.0
}

/// The stages in an answer; what has nothing to do with them is left out.
pub(super) fn render(configuration: &DeploymentConfiguration) -> AwsConfiguration {
    let hooks = &configuration.lifecycle_hooks;
    let mut rendered = AwsConfiguration {
        bake_time_in_minutes: count(configuration.bake_minutes),
        lifecycle_hooks: (!hooks.is_empty()).then(|| hooks.iter().map(render_hook).collect()),
        ..Default::default()
    };
    rendered.strategy = Some(match configuration.strategy {
        DeploymentStrategy::Rolling => AwsStrategy::Rolling,
        DeploymentStrategy::BlueGreen => AwsStrategy::BlueGreen,
        DeploymentStrategy::Linear(linear) => {
            rendered.linear_configuration = Some(LinearConfiguration {
                step_percent: Some(percent(linear.step)),
                step_bake_time_in_minutes: count(linear.step_bake_minutes),
            });
            AwsStrategy::Linear
        }
        DeploymentStrategy::Canary(canary) => {
            rendered.canary_configuration = Some(CanaryConfiguration {
                canary_percent: Some(percent(canary.canary)),
                canary_bake_time_in_minutes: count(canary.canary_bake_minutes),
            });
            AwsStrategy::Canary
        }
    });
    rendered
}

fn render_hook(hook: &LifecycleHook) -> DeploymentLifecycleHook {
    DeploymentLifecycleHook {
        target_type: Some(TargetType::Pause),
        lifecycle_stages: Some(
            hook.stages
                .iter()
                .filter_map(|stage| render_hook_stage(*stage))
                .collect(),
        ),
        timeout_configuration: Some(DeploymentLifecycleHookTimeoutConfiguration {
            timeout_in_minutes: count(hook.timeout_minutes),
            action: Some(render_action(hook.at_timeout)),
        }),
        ..Default::default()
    }
}

/// A stage of a hook; none where hooks cannot be.
fn render_hook_stage(stage: LifecycleStage) -> Option<AwsStage> {
    Some(match stage {
        LifecycleStage::ReconcileService => AwsStage::ReconcileService,
        LifecycleStage::PreScaleUp => AwsStage::PreScaleUp,
        LifecycleStage::PostScaleUp => AwsStage::PostScaleUp,
        LifecycleStage::PostTestTrafficShift => AwsStage::PostTestTrafficShift,
        LifecycleStage::PreProductionTrafficShift => AwsStage::PreProductionTrafficShift,
        LifecycleStage::PostProductionTrafficShift => AwsStage::PostProductionTrafficShift,
        LifecycleStage::TestTrafficShift => AwsStage::TestTrafficShift,
        LifecycleStage::ProductionTrafficShift => AwsStage::ProductionTrafficShift,
        LifecycleStage::ScaleUp | LifecycleStage::BakeTime | LifecycleStage::CleanUp => return None,
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateService, UpdateService};
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::definitions;
    use crate::api::testing::Harness;

    async fn create(harness: &Harness, name: &str, configuration: &Value) -> Result<Value, String> {
        let input = json!({
            "serviceName": name, "taskDefinition": "web:1", "desiredCount": 2, "deploymentConfiguration": configuration
        });
        let answer = harness.call::<CreateService>(input).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.kind.code, error.message))?;
        Ok(answer["service"]["deploymentConfiguration"].clone())
    }

    #[tokio::test]
    async fn strategies_bake_times_and_hooks_come_back_with_the_defaults_of_ecs() {
        let harness = Harness::new();
        definitions(&harness).await;
        for (name, given, more) in [
            (
                "blue",
                json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}),
                json!({}),
            ),
            (
                "linear",
                json!({"strategy": "LINEAR"}),
                json!({"bakeTimeInMinutes": 0, "linearConfiguration": {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}}),
            ),
            (
                "canary",
                json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.3}}),
                json!({"bakeTimeInMinutes": 0, "canaryConfiguration": {"canaryPercent": 0.3, "canaryBakeTimeInMinutes": 10}}),
            ),
            (
                "paused",
                json!({"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP", "PRE_SCALE_UP"]}]}),
                json!({
                    "strategy": "ROLLING", "bakeTimeInMinutes": 0,
                    "lifecycleHooks": [{
                        "targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP", "POST_SCALE_UP"],
                        "timeoutConfiguration": {"timeoutInMinutes": 1440, "action": "ROLLBACK"}
                    }]
                }),
            ),
        ] {
            let mut expected = json!({
                "maximumPercent": 200, "minimumHealthyPercent": 100,
                "deploymentCircuitBreaker": {"enable": false, "rollback": false}
            });
            for (member, value) in given.as_object().into_iter().chain(more.as_object()).flatten() {
                expected[member] = value.clone();
            }
            assert_eq!(create(&harness, name, &given).await, Ok(expected));
        }
        let update = json!({"service": "canary", "deploymentConfiguration": {"strategy": "ROLLING"}});
        let answer = harness.call::<UpdateService>(update).await.expect("updates");
        let configuration = &answer["service"]["deploymentConfiguration"];
        assert_eq!(
            (&configuration["strategy"], configuration.get("canaryConfiguration")),
            (&json!("ROLLING"), None)
        );
    }

    #[tokio::test]
    async fn stages_that_cannot_be_are_refused_by_their_names() {
        let harness = Harness::new();
        definitions(&harness).await;
        let hook = |more: Value| {
            let mut hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]});
            for (member, value) in more.as_object().expect("members") {
                hook[member] = value.clone();
            }
            json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})
        };
        for (given, refusal) in [
            (
                json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}}),
                "InvalidParameterException: canaryPercent must be a multiple of 0.1 from 0.1 to 100.0, not 0.05.",
            ),
            (
                json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}}),
                "InvalidParameterException: stepPercent must be a multiple of 0.1 from 3.0 to 100.0, not 2.9.",
            ),
            (
                json!({"strategy": "LINEAR", "linearConfiguration": {"stepBakeTimeInMinutes": 1441}}),
                "InvalidParameterException: stepBakeTimeInMinutes must be between 0 and 1440, not 1441.",
            ),
            (
                json!({"bakeTimeInMinutes": -1}),
                "InvalidParameterException: bakeTimeInMinutes must be between 0 and 1440, not -1.",
            ),
            (
                json!({"canaryConfiguration": {"canaryPercent": 10.0}}),
                "InvalidParameterException: canaryConfiguration is only valid when the deployment strategy is CANARY, and it is ROLLING.",
            ),
            (
                hook(json!({"targetType": "AWS_LAMBDA"})),
                "ClientException: The value AWS_LAMBDA of deploymentConfiguration.lifecycleHooks[0].targetType is not supported",
            ),
            (
                hook(json!({"roleArn": "arn:aws:iam::123456789012:role/r"})),
                "InvalidParameterException: deploymentConfiguration.lifecycleHooks[0].roleArn is not applicable to PAUSE hooks.",
            ),
            (
                hook(json!({"lifecycleStages": []})),
                "InvalidParameterException: deploymentConfiguration.lifecycleHooks[0].lifecycleStages cannot be empty.",
            ),
            (
                hook(json!({"lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"]})),
                "InvalidParameterException: PAUSE hooks cannot be configured at the lifecycle stage PRODUCTION_TRAFFIC_SHIFT.",
            ),
            (
                json!({"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}]}),
                "InvalidParameterException: The lifecycle stage POST_TEST_TRAFFIC_SHIFT",
            ),
        ] {
            let error = create(&harness, "site", &given).await.expect_err("refused");
            assert!(error.starts_with(refusal), "{error}");
        }
        assert_eq!(harness.state.state().all_services().count(), 0);
    }

    #[tokio::test]
    async fn stages_of_a_service_that_is_deployed_from_outside_are_refused() {
        let harness = Harness::new();
        definitions(&harness).await;
        let input = json!({
            "serviceName": "site", "deploymentController": {"type": "EXTERNAL"}, "desiredCount": 1,
            "deploymentConfiguration": {"strategy": "BLUE_GREEN"}
        });
        let error = harness.call::<CreateService>(input).await.expect_err("refused");
        assert!(
            error.message.contains("EXTERNAL deployment controller"),
            "{}",
            error.message
        );
    }

    #[tokio::test]
    async fn stages_are_refused_while_there_may_be_controllers_that_do_not_know_them() {
        let harness = Harness::before_levels();
        definitions(&harness).await;
        let error = create(&harness, "site", &json!({"strategy": "BLUE_GREEN"})).await;
        let error = error.expect_err("refused");
        assert!(error.contains("upgraded"), "{error}");
        let rolling = json!({"strategy": "ROLLING", "bakeTimeInMinutes": 0, "lifecycleHooks": []});
        create(&harness, "site", &rolling).await.expect("creates");
    }
}
