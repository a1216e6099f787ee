//! `StopServiceDeployment`: the service returns to the last revision that it has reached, or stays as it is. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{StopServiceDeploymentRequest, StopServiceDeploymentResponse, StopServiceDeploymentStopType};
use berth_core::state::{Command, StopType};

use super::service_deployments;
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, AwsError> {
    let state = api.read().await?;
    service_deployments::check_level(&state)?;
    let arn = input.service_deployment_arn.unwrap_or_default();
    let (service, service_deployment) = service_deployments::deployment_of(&call.scope, &arn)?;
    let stop_type = match input.stop_type {
        None | Some(StopServiceDeploymentStopType::Rollback) => StopType::Rollback,
        Some(StopServiceDeploymentStopType::Abort) => StopType::Abort,
    };
    let command = Command::StopServiceDeployment {
        service,
        service_deployment,
        stop_type,
        at: call.now,
    };
    api.propose(command).await?;
    Ok(StopServiceDeploymentResponse {
        service_deployment_arn: Some(arn),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DescribeServiceDeployments, StopServiceDeployment};
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::{deploy, harness, reach};
    use crate::api::testing::Harness;

    async fn status(harness: &Harness, arn: &Value) -> Value {
        let input = json!({"serviceDeploymentArns": [arn]});
        let answer = harness
            .call::<DescribeServiceDeployments>(input)
            .await
            .expect("describes");
        answer["serviceDeployments"][0]["status"].clone()
    }

    #[tokio::test]
    async fn service_deployment_under_way_is_told_to_return_unless_it_is_to_stay() {
        for (stop_type, requested) in [
            (json!("ROLLBACK"), "ROLLBACK_REQUESTED"),
            (Value::Null, "ROLLBACK_REQUESTED"),
            (json!("ABORT"), "STOP_REQUESTED"),
        ] {
            let harness = harness().await;
            reach(&harness);
            let arn = deploy(&harness, "web:2").await["currentServiceDeployment"].clone();
            let mut input = json!({"serviceDeploymentArn": arn});
            if !stop_type.is_null() {
                input["stopType"] = stop_type;
            }
            for _ in 0..2 {
                let answer = harness
                    .call::<StopServiceDeployment>(input.clone())
                    .await
                    .expect("stops");
                assert_eq!(answer["serviceDeploymentArn"], arn);
                assert_eq!(status(&harness, &arn).await, requested);
            }
        }
    }

    #[tokio::test]
    async fn service_deployment_that_cannot_be_stopped_is_refused_and_stays() {
        let harness = harness().await;
        let missing = "arn:aws:ecs:us-east-1:123456789012:service-deployment/default/site/5";
        for (arn, code) in [
            (missing, "ServiceDeploymentNotFoundException"),
            ("site", "InvalidParameterException"),
        ] {
            let input = json!({"serviceDeploymentArn": arn});
            let error = harness.call::<StopServiceDeployment>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, code);
        }
        let first = deploy(&harness, "web:2").await["currentServiceDeployment"].clone();
        let stop = || harness.call::<StopServiceDeployment>(json!({"serviceDeploymentArn": first}));
        let error = stop().await.expect_err("there is nothing to return to");
        assert_eq!(error.kind.code, "ConflictException");
        assert_eq!(status(&harness, &first).await, "PENDING");
        reach(&harness);
        let error = stop().await.expect_err("it is over");
        assert_eq!(error.kind.code, "ConflictException");
        assert_eq!(status(&harness, &first).await, "SUCCESSFUL");
    }
}
