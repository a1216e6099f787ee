//! `DescribeServiceDeployments`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse};

use super::{references, render, service_deployments};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse, AwsError> {
    let arns = input.service_deployment_arns.unwrap_or_default();
    service_deployments::check_count("serviceDeploymentArns", &arns)?;
    let state = api.read().await?;
    service_deployments::check_level(&state)?;
    let (mut found, mut failures) = (vec![], vec![]);
    for arn in arns {
        let (key, id) = service_deployments::deployment_of(&call.scope, &arn)?;
        let service = state.service(&key);
        match service.and_then(|service| Some((service, service.service_deployment(&id)?))) {
            Some((service, deployment)) => found.push(render::service_deployment(&state, service, deployment)),
            None => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeServiceDeploymentsResponse {
        service_deployments: Some(found),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{CreateService, DescribeServiceDeployments, DescribeServices, UpdateService};
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::{definitions, deploy, harness, reach};
    use crate::api::testing::Harness;

    async fn describe(harness: &Harness, arn: &Value) -> Value {
        let input = json!({"serviceDeploymentArns": [arn]});
        let answer = harness
            .call::<DescribeServiceDeployments>(input)
            .await
            .expect("describes");
        answer["serviceDeployments"][0].clone()
    }

    #[tokio::test]
    async fn service_deployment_says_from_what_to_what_and_how_far() {
        let harness = harness().await;
        reach(&harness);
        let service = deploy(&harness, "web:2").await;
        let found = describe(&harness, &service["currentServiceDeployment"]).await;
        assert_eq!(found["status"], "PENDING");
        let revisions = service["currentServiceRevisions"].as_array().expect("two revisions");
        assert_eq!(revisions.len(), 2);
        assert_eq!(found["targetServiceRevision"], revisions[0]);
        assert_eq!(found["targetServiceRevision"]["requestedTaskCount"], 2);
        assert_eq!(found["sourceServiceRevisions"], json!([revisions[1]]));
        let breaker = json!({"status": "DISABLED", "failureCount": 0, "threshold": 3});
        assert_eq!(found["deploymentCircuitBreaker"], breaker);
        assert_eq!(found["deploymentConfiguration"], service["deploymentConfiguration"]);
        for absent in ["startedAt", "finishedAt", "stoppedAt", "rollback"] {
            assert!(found.get(absent).is_none(), "{absent}");
        }
    }

    #[tokio::test]
    async fn service_deployment_that_is_over_stays_as_it_was_and_one_under_way_follows_the_service() {
        let harness = harness().await;
        let update = |count: u32, percent: u32| {
            let breaker = json!({"enable": true, "rollback": true});
            let configuration = json!({"maximumPercent": percent, "deploymentCircuitBreaker": breaker});
            json!({"service": "site", "desiredCount": count, "deploymentConfiguration": configuration})
        };
        let service = harness.call::<UpdateService>(update(8, 150)).await.expect("updates");
        let arn = &service["service"]["currentServiceDeployment"];
        let under_way = describe(&harness, arn).await;
        let breaker = json!({"status": "MONITORING", "failureCount": 0, "threshold": 4});
        assert_eq!(under_way["deploymentCircuitBreaker"], breaker);
        assert_eq!(under_way["deploymentConfiguration"]["maximumPercent"], 150);
        reach(&harness);
        harness.call::<UpdateService>(update(20, 300)).await.expect("updates");
        let over = describe(&harness, arn).await;
        assert_eq!(over["deploymentConfiguration"]["maximumPercent"], 150);
        assert_eq!(over["targetServiceRevision"]["requestedTaskCount"], 8);
        let breaker = json!({"status": "MONITORING_COMPLETE", "failureCount": 0, "threshold": 4});
        assert_eq!(over["deploymentCircuitBreaker"], breaker);
        assert!(over["finishedAt"].is_number() && over["startedAt"].is_number());
    }

    #[tokio::test]
    async fn service_deployments_that_do_not_exist_are_failures_and_other_arns_are_refused() {
        let harness = harness().await;
        let arn = "arn:aws:ecs:us-east-1:123456789012:service-deployment/default/site/5";
        let other = "arn:aws:ecs:us-east-1:123456789012:service-deployment/nowhere/site/5";
        let input = json!({"serviceDeploymentArns": [arn, other]});
        let answer = harness
            .call::<DescribeServiceDeployments>(input)
            .await
            .expect("describes");
        let missing = |arn: &str| json!({"arn": arn, "reason": "MISSING"});
        assert_eq!(answer["failures"], json!([missing(arn), missing(other)]));
        for arns in [
            json!([]),
            json!(vec![arn; 21]),
            json!(["site"]),
            json!([arn.replace("us-east-1", "eu-west-1")]),
            json!([arn.replace("deployment", "revision")]),
        ] {
            let input = json!({"serviceDeploymentArns": arns});
            let error = harness
                .call::<DescribeServiceDeployments>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException", "{}", error.message);
        }
    }

    #[tokio::test]
    async fn service_before_the_upgrade_has_no_service_deployment_to_show() {
        let harness = Harness::before_levels();
        definitions(&harness).await;
        let input = json!({"serviceName": "site", "taskDefinition": "web:1", "desiredCount": 2});
        harness.call::<CreateService>(input).await.expect("creates");
        let answer = harness.call::<DescribeServices>(json!({"services": ["site"]})).await;
        let service = &answer.expect("describes")["services"][0];
        for absent in ["currentServiceDeployment", "currentServiceRevisions"] {
            assert_eq!(service.get(absent), None);
        }
    }
}
