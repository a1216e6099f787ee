//! What a deployment configuration says of what deployments fail and succeed by: the circuit breaker's threshold, tasks that are enough, and
//! alarms, in requests and in answers. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{
    DeploymentAlarms as AwsAlarms, DeploymentCircuitBreaker, DeploymentEarlySuccessCriteria, ServiceRevisionCleanup,
    ThresholdConfiguration, ThresholdType,
};
use berth_core::model::{AlarmName, DeploymentAlarms, EarlySuccess, FailureThreshold, SourceCleanup};
use berth_core::state::{ClusterState, Feature};

use super::render::count;
use crate::api::errors::{self, invalid};

/// With how many failures the circuit breaker is to give up, if the request says so.
///
/// # Errors
/// `InvalidParameterException` for a number below 1, and while not all controllers know it.
pub(super) fn threshold(
    state: &ClusterState,
    breaker: Option<&DeploymentCircuitBreaker>,
) -> Result<Option<FailureThreshold>, AwsError> {
    let Some(given) = breaker.and_then(|breaker| breaker.threshold_configuration.as_ref()) else {
        return Ok(None);
    };
    check_level(state, Feature::DeploymentCriteria, "thresholdConfiguration")?;
    let value = given.value.unwrap_or_default();
    let value = u32::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| {
        invalid(format!(
            "deploymentCircuitBreaker.thresholdConfiguration.value must be greater than 0, not {value}."
        ))
    })?;
    Ok(given.r#type.as_ref().map(|kind| match kind {
        ThresholdType::Count => FailureThreshold::Count(value),
        ThresholdType::BoundedPercent => FailureThreshold::BoundedPercent(value),
        ThresholdType::UnboundedPercent => FailureThreshold::UnboundedPercent(value),
    }))
}

/// The same in answers.
pub(super) fn render_threshold(threshold: FailureThreshold) -> ThresholdConfiguration {
    let (kind, value) = match threshold {
        FailureThreshold::Count(value) => (ThresholdType::Count, value),
        FailureThreshold::BoundedPercent(value) => (ThresholdType::BoundedPercent, value),
        FailureThreshold::UnboundedPercent(value) => (ThresholdType::UnboundedPercent, value),
    };
    ThresholdConfiguration {
        r#type: Some(kind),
        value: count(value),
    }
}

/// How many tasks are enough, if the request says so.
///
/// # Errors
/// `InvalidParameterException` while not all controllers know it.
pub(super) fn early_success(
    state: &ClusterState,
    given: Option<&DeploymentEarlySuccessCriteria>,
) -> Result<Option<EarlySuccess>, AwsError> {
    let Some(given) = given else { return Ok(None) };
    check_level(state, Feature::DeploymentCriteria, "earlySuccessCriteria")?;
    let cleanup = |given: &ServiceRevisionCleanup| match given {
        ServiceRevisionCleanup::Blocking => SourceCleanup::Blocking,
        ServiceRevisionCleanup::Deferred => SourceCleanup::Deferred,
    };
    Ok(Some(EarlySuccess {
        enable: given.enable.unwrap_or(false),
        healthy_percent: given.healthy_percent.map(i32::unsigned_abs),
        source_cleanup: given.source_service_revision_cleanup.as_ref().map(cleanup),
    }))
}

/// The same in answers.
pub(super) fn render_early_success(early: EarlySuccess) -> DeploymentEarlySuccessCriteria {
    DeploymentEarlySuccessCriteria {
        enable: Some(early.enable),
        healthy_percent: early.healthy_percent.and_then(count),
        source_service_revision_cleanup: early.source_cleanup.map(|cleanup| match cleanup {
            SourceCleanup::Blocking => ServiceRevisionCleanup::Blocking,
            SourceCleanup::Deferred => ServiceRevisionCleanup::Deferred,
        }),
    }
}

/// Which alarms are to be minded, if the request says so, each once.
///
/// # Errors
/// `InvalidParameterException` while not all controllers know alarms.
pub(super) fn alarms(state: &ClusterState, given: Option<&AwsAlarms>) -> Result<Option<DeploymentAlarms>, AwsError> {
    let Some(given) = given else { return Ok(None) };
    check_level(state, Feature::Alarms, "alarms")?;
    let mut names: Vec<AlarmName> = vec![];
    for name in given.alarm_names.iter().flatten() {
        if !names.iter().any(|known| known.as_str() == name) {
            names.push(name.as_str().into());
        }
    }
    Ok(Some(DeploymentAlarms {
        names,
        enable: given.enable.unwrap_or(false),
        rollback: given.rollback.unwrap_or(false),
    }))
}

/// The same in answers.
pub(super) fn render_alarms(alarms: &DeploymentAlarms) -> AwsAlarms {
    AwsAlarms {
        alarm_names: Some(alarms.names.iter().map(ToString::to_string).collect()),
        enable: Some(alarms.enable),
        rollback: Some(alarms.rollback),
    }
}

fn check_level(state: &ClusterState, feature: Feature, member: &str) -> Result<(), AwsError> {
    errors::check_upgraded(state.uses(feature), invalid, &format!("{member} is not supported"))
}

#[cfg(test)]
mod tests {
    use berth_aws::cloudwatch::operations::{PutMetricAlarm, SetAlarmState};
    use berth_aws::ecs::operations::{CreateService, DescribeServiceDeployments, UpdateService};
    use berth_core::model::{FailureThreshold, SourceCleanup};
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::{definitions, deploy, reach};
    use crate::api::testing::Harness;

    async fn create(harness: &Harness, name: &str, configuration: &Value) -> Result<Value, String> {
        let input = json!({
            "serviceName": name, "taskDefinition": "web:1", "desiredCount": 10, "deploymentConfiguration": configuration
        });
        let answer = harness.call::<CreateService>(input).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.kind.code, error.message))?;
        Ok(answer["service"].clone())
    }

    async fn alarm(harness: &Harness, name: &str) {
        let input = json!({"AlarmName": name, "Period": 60, "EvaluationPeriods": 3});
        harness.call::<PutMetricAlarm>(input).await.expect("made");
    }

    async fn set(harness: &Harness, name: &str, state: &str) {
        let input = json!({"AlarmName": name, "StateValue": state, "StateReason": "because"});
        harness.call::<SetAlarmState>(input).await.expect("set");
    }

    async fn described(harness: &Harness, arn: &Value) -> Value {
        let input = json!({"serviceDeploymentArns": [arn]});
        let answer = harness.call::<DescribeServiceDeployments>(input).await;
        answer.expect("describes")["serviceDeployments"][0].clone()
    }

    #[tokio::test]
    async fn thresholds_come_back_and_count_for_what_is_under_way() {
        let harness = Harness::new();
        definitions(&harness).await;
        for (name, kind, value, expected) in [
            ("count", "COUNT", 7, 7),
            ("bounded", "BOUNDED_PERCENT", 10, 3),
            ("unbounded", "UNBOUNDED_PERCENT", 10, 1),
        ] {
            let threshold = json!({"type": kind, "value": value});
            let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": threshold});
            let configuration = json!({"deploymentCircuitBreaker": breaker});
            let service = create(&harness, name, &configuration).await.expect("created");
            assert_eq!(service["deploymentConfiguration"]["deploymentCircuitBreaker"], breaker);
            let found = described(&harness, &service["currentServiceDeployment"]).await;
            assert_eq!(found["deploymentCircuitBreaker"]["threshold"], expected, "{name}");
            assert_eq!(found["deploymentConfiguration"], service["deploymentConfiguration"]);
        }
        let update = json!({
            "service": "count", "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}}
        });
        let answer = harness.call::<UpdateService>(update).await.expect("updates");
        let configuration = &answer["service"]["deploymentConfiguration"]["deploymentCircuitBreaker"];
        assert_eq!(
            configuration.get("thresholdConfiguration"),
            None,
            "as ECS replaces it whole"
        );
        let state = harness.state.state();
        let kept = state
            .service(&harness.cluster("default").service("bounded"))
            .expect("made");
        let kept = kept.deployment_configuration.circuit_breaker.threshold;
        assert_eq!(kept, Some(FailureThreshold::BoundedPercent(10)));
    }

    #[tokio::test]
    async fn early_success_comes_back_on_and_off() {
        let harness = Harness::new();
        definitions(&harness).await;
        let on = json!({"enable": true, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"});
        let service = create(&harness, "on", &json!({"earlySuccessCriteria": on}))
            .await
            .expect("created");
        assert_eq!(service["deploymentConfiguration"]["earlySuccessCriteria"], on);
        let state = harness.state.state();
        let kept = state.service(&harness.cluster("default").service("on")).expect("made");
        let enough = kept
            .deployment_configuration
            .early_success
            .and_then(|early| early.enough(10));
        assert_eq!(enough, Some((10, SourceCleanup::Deferred)));
        let off = json!({"earlySuccessCriteria": {"enable": false}});
        let service = create(&harness, "off", &off).await.expect("created");
        assert_eq!(
            service["deploymentConfiguration"]["earlySuccessCriteria"],
            off["earlySuccessCriteria"]
        );
    }

    #[tokio::test]
    async fn criteria_that_cannot_be_are_refused_by_their_names() {
        let harness = Harness::new();
        definitions(&harness).await;
        let early = |strategy: &str, more: Value| {
            let mut criteria =
                json!({"enable": true, "healthyPercent": 100, "sourceServiceRevisionCleanup": "BLOCKING"});
            for (member, value) in more.as_object().expect("members") {
                criteria[member] = value.clone();
            }
            json!({"strategy": strategy, "earlySuccessCriteria": criteria})
        };
        let threshold = |value: i32| {
            let threshold = json!({"type": "COUNT", "value": value});
            json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true, "thresholdConfiguration": threshold}})
        };
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        for (given, part) in [
            (
                threshold(0),
                "thresholdConfiguration.value must be greater than 0, not 0.",
            ),
            (
                threshold(-1),
                "thresholdConfiguration.value must be greater than 0, not -1.",
            ),
            (
                early("ROLLING", json!({"healthyPercent": 99})),
                "greater than or equal to minimumHealthyPercent",
            ),
            (early("ROLLING", json!({"healthyPercent": 101})), "100"),
            (
                early("ROLLING", json!({"healthyPercent": null})),
                "must have healthyPercent",
            ),
            (
                early("BLUE_GREEN", json!({})),
                "only valid when the deployment strategy is ROLLING",
            ),
            (
                json!({"alarms": {"alarmNames": [], "enable": true, "rollback": true}}),
                "must have alarmNames",
            ),
            (
                json!({"alarms": {"alarmNames": ["nowhere"], "enable": true, "rollback": true}}),
                "The alarm nowhere of deploymentConfiguration.alarms.alarmNames does not exist.",
            ),
            (
                json!({"alarms": {"alarmNames": many, "enable": false, "rollback": true}}),
                "at most 100 alarmNames",
            ),
        ] {
            let refusal = create(&harness, "site", &given).await.expect_err(part);
            assert!(refusal.starts_with("InvalidParameterException: "), "{refusal}");
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[tokio::test]
    async fn alarms_are_monitored_until_one_goes_off_or_the_deployment_is_over() {
        let harness = Harness::new();
        definitions(&harness).await;
        alarm(&harness, "errors").await;
        alarm(&harness, "latency").await;
        let alarms = json!({"alarmNames": ["errors", "latency"], "enable": true, "rollback": true});
        let service = create(&harness, "site", &json!({"alarms": alarms}))
            .await
            .expect("created");
        assert_eq!(service["deploymentConfiguration"]["alarms"], alarms);
        assert_eq!(service["deploymentConfiguration"]["bakeTimeInMinutes"], 0);
        let first = &service["currentServiceDeployment"];
        let found = described(&harness, first).await;
        let names = json!(["errors", "latency"]);
        assert_eq!(found["alarms"], json!({"status": "MONITORING", "alarmNames": names}));
        // ECS computes it from what the alarms are meant to watch.
        assert_eq!(found["deploymentConfiguration"]["bakeTimeInMinutes"], 3);
        reach(&harness);
        set(&harness, "errors", "ALARM").await;
        let found = described(&harness, first).await;
        assert_eq!(
            found["alarms"],
            json!({"status": "MONITORING_COMPLETE", "alarmNames": names})
        );
        set(&harness, "errors", "OK").await;
        let second = deploy(&harness, "web:2").await["currentServiceDeployment"].clone();
        set(&harness, "latency", "ALARM").await;
        let found = described(&harness, &second).await;
        let triggered = json!({"status": "TRIGGERED", "alarmNames": names, "triggeredAlarmNames": ["latency"]});
        assert_eq!(found["alarms"], triggered);
        let third = deploy(&harness, "web:1").await["currentServiceDeployment"].clone();
        let found = described(&harness, &third).await;
        assert_eq!(
            found["alarms"],
            json!({"status": "DISABLED", "alarmNames": names}),
            "one is off already"
        );
        assert_eq!(found["deploymentConfiguration"]["bakeTimeInMinutes"], 0);
    }

    #[tokio::test]
    async fn criteria_before_the_upgrade_are_refused() {
        let harness = Harness::before_levels();
        definitions(&harness).await;
        for given in [
            json!({"alarms": {"alarmNames": ["a"], "enable": true, "rollback": true}}),
            json!({"earlySuccessCriteria": {"enable": false}}),
            json!({"deploymentCircuitBreaker": {
                "enable": true, "rollback": true, "thresholdConfiguration": {"type": "COUNT", "value": 1}
            }}),
        ] {
            let refusal = create(&harness, "site", &given).await.expect_err("refused");
            assert!(
                refusal.contains("not every controller of the cluster has been upgraded"),
                "{refusal}"
            );
        }
    }
}
