//! `ContinueServiceDeployment`: lets a service deployment go on that has paused, or has it rolled back. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{ContinueServiceDeploymentRequest, ContinueServiceDeploymentResponse};
use berth_core::model::HookAction;
use berth_core::state::{Command, Rejection};

use super::{deployment_stages, service_deployments};
use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::ports::ProposeFailure;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ContinueServiceDeploymentRequest,
) -> Result<ContinueServiceDeploymentResponse, AwsError> {
    let state = api.read().await?;
    service_deployments::check_level(&state)?;
    let arn = input.service_deployment_arn.unwrap_or_default();
    let (service, service_deployment) = service_deployments::deployment_of(&call.scope, &arn)?;
    let action = input.action.as_ref();
    let command = Command::ContinueServiceDeployment {
        service,
        service_deployment,
        hook: input.hook_id.unwrap_or_default(),
        action: action.map_or(HookAction::Continue, deployment_stages::action),
        at: call.now,
    };
    match api.try_propose(command).await {
        Ok(_) => Ok(ContinueServiceDeploymentResponse {
            service_deployment_arn: Some(arn),
        }),
        // ConflictException is none of the errors that ContinueServiceDeployment has.
        Err(ProposeFailure::Rejected(why @ Rejection::NoRevisionToReturnTo(_))) => {
            Err(errors::client(errors::rejection(&why).message))
        }
        Err(failure) => Err(errors::failure(&failure)),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{ContinueServiceDeployment, DescribeServiceDeployments, UpdateService};
    use berth_core::ids::IdSource;
    use berth_core::reconcile::{Agenda, reconcile};
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::{deploy, harness, reach};
    use crate::api::testing::{Harness, NOW};

    /// Has the leader look at everything, until nothing is left to do now.
    fn work(harness: &Harness) {
        let mut ids = IdSource::from_seed(7);
        loop {
            let state = harness.state.state();
            let commands = reconcile(&state, &mut Agenda::everything(&state), NOW, &mut ids);
            if commands.is_empty() {
                return;
            }
            for command in commands {
                harness.state.apply(&command).expect("applies");
            }
        }
    }

    async fn described(harness: &Harness, arn: &Value) -> Value {
        let input = json!({"serviceDeploymentArns": [arn]});
        let answer = harness.call::<DescribeServiceDeployments>(input).await;
        answer.expect("describes")["serviceDeployments"][0].clone()
    }

    /// A deployment of a service without tasks, which has paused with all production traffic still at the first revision.
    async fn paused(harness: &Harness) -> Value {
        let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]});
        let input = json!({
            "service": "site", "desiredCount": 0,
            "deploymentConfiguration": {"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}
        });
        harness.call::<UpdateService>(input).await.expect("updates");
        let arn = deploy(harness, "web:2").await["currentServiceDeployment"].clone();
        work(harness);
        arn
    }

    #[tokio::test]
    async fn paused_deployment_shows_its_hook_and_goes_on_or_back_as_it_is_told() {
        for (action, status, traffic) in [
            (json!("CONTINUE"), "SUCCESSFUL", 100.0),
            (Value::Null, "SUCCESSFUL", 100.0),
            (json!("ROLLBACK"), "ROLLBACK_SUCCESSFUL", 0.0),
        ] {
            let harness = harness().await;
            reach(&harness);
            let arn = paused(&harness).await;
            let before = described(&harness, &arn).await;
            assert_eq!(
                (&before["status"], &before["lifecycleStage"]),
                (&json!("IN_PROGRESS"), &json!("POST_TEST_TRAFFIC_SHIFT"))
            );
            let target = &before["targetServiceRevision"];
            assert_eq!(
                (
                    &target["requestedProductionTrafficWeight"],
                    &target["requestedTestTrafficWeight"]
                ),
                (&json!(0.0), &json!(100.0))
            );
            let hook = &before["lifecycleHookDetails"][0];
            assert_eq!(
                (&hook["targetType"], &hook["status"], &hook["timeoutAction"]),
                (&json!("PAUSE"), &json!("AWAITING_ACTION"), &json!("ROLLBACK"))
            );
            let mut input = json!({"serviceDeploymentArn": arn, "hookId": hook["hookId"]});
            if !action.is_null() {
                input["action"] = action;
            }
            let answer = harness.call::<ContinueServiceDeployment>(input.clone()).await;
            assert_eq!(answer.expect("goes on")["serviceDeploymentArn"], arn);
            let error = harness.call::<ContinueServiceDeployment>(input).await;
            let error = error.expect_err("it was told already");
            assert_eq!(error.kind.code, "InvalidParameterException");
            work(&harness);
            let after = described(&harness, &arn).await;
            assert_eq!(
                (&after["status"], &after["lifecycleStage"]),
                (&json!(status), &json!("CLEAN_UP"))
            );
            assert_eq!(
                after["targetServiceRevision"]["requestedProductionTrafficWeight"],
                json!(traffic)
            );
        }
    }

    #[tokio::test]
    async fn what_does_not_wait_is_refused_and_so_is_a_way_back_that_is_not_there() {
        let harness = harness().await;
        let arn = paused(&harness).await;
        let hook = described(&harness, &arn).await["lifecycleHookDetails"][0]["hookId"].clone();
        for (arn, hook, action, code) in [
            (json!("site"), json!("h"), "CONTINUE", "InvalidParameterException"),
            (
                arn.clone(),
                json!("ecs-pause-x"),
                "CONTINUE",
                "InvalidParameterException",
            ),
            (arn.clone(), hook.clone(), "ROLLBACK", "ClientException"),
            (
                json!("arn:aws:ecs:us-east-1:123456789012:service-deployment/default/site/5"),
                hook,
                "CONTINUE",
                "ServiceDeploymentNotFoundException",
            ),
        ] {
            let input = json!({"serviceDeploymentArn": arn, "hookId": hook, "action": action});
            let error = harness
                .call::<ContinueServiceDeployment>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code, "{}", error.message);
        }
        let after = described(&harness, &arn).await;
        assert_eq!(after["lifecycleHookDetails"][0]["status"], "AWAITING_ACTION");
    }
}
