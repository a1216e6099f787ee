//! `ListServiceDeployments`: the newest first. Shell.

use std::cmp::Reverse;

use berth_aws::AwsError;
use berth_aws::ecs::{ListServiceDeploymentsRequest, ListServiceDeploymentsResponse};
use berth_core::model::ServiceDeployment;

use super::{render, service_deployments};
use crate::api::context::{Api, Call};
use crate::api::pagination::Page;

/// Service deployments of a page where the request does not say (ECS: 20).
const DEFAULT_PAGE: i32 = 20;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse, AwsError> {
    let page = Page::parse(
        "ListServiceDeployments",
        input.next_token.as_deref(),
        input.max_results,
        DEFAULT_PAGE,
    )?;
    let state = api.read().await?;
    service_deployments::check_level(&state)?;
    let (cluster, service) = (input.cluster.as_deref(), input.service.as_deref());
    let service = service_deployments::service(&state, &call.scope, cluster, service)?;
    let all = service.service_deployments.iter();
    let matching = all.filter(|deployment| matches(deployment, &input));
    let shown = matching.map(|deployment| {
        let brief = render::service_deployment_brief(service, deployment);
        (Reverse(deployment.created_at), brief)
    });
    let (service_deployments, next_token) = page.take(shown);
    Ok(ListServiceDeploymentsResponse {
        service_deployments: Some(service_deployments),
        next_token,
    })
}

fn matches(deployment: &ServiceDeployment, input: &ListServiceDeploymentsRequest) -> bool {
    let status = render::service_deployment_status(deployment.status);
    // An empty list asks for none in particular.
    let wanted = input.status.as_ref().filter(|wanted| !wanted.is_empty());
    wanted.is_none_or(|wanted| wanted.contains(&status))
        && service_deployments::is_created_within(deployment, input.created_at.as_ref())
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::ListServiceDeployments;
    use serde_json::{Value, json};

    use crate::api::ecs::service_deployments::testing::{definitions, deploy, harness, reach};
    use crate::api::testing::{Harness, NOW};

    async fn list(harness: &Harness, mut input: Value) -> Value {
        input["service"] = json!("site");
        harness.call::<ListServiceDeployments>(input).await.expect("lists")
    }

    fn arns(answer: &Value) -> Vec<String> {
        let all = answer["serviceDeployments"].as_array().expect("a list");
        let arn = |brief: &Value| brief["serviceDeploymentArn"].as_str().expect("an ARN").to_owned();
        all.iter().map(arn).collect()
    }

    #[tokio::test]
    async fn service_deployments_are_listed_the_newest_first_in_pages() {
        let harness = harness().await;
        reach(&harness);
        let mut expected = arns(&list(&harness, json!({})).await);
        for _ in 0..4 {
            let service = deploy(&harness, "web:2").await;
            expected.insert(
                0,
                service["currentServiceDeployment"].as_str().expect("an ARN").to_owned(),
            );
        }
        let mut found = vec![];
        let mut input = json!({"maxResults": 2});
        loop {
            let page = list(&harness, input.clone()).await;
            found.extend(arns(&page));
            match page.get("nextToken") {
                Some(token) => input["nextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(found, expected);
        let first = &list(&harness, json!({})).await["serviceDeployments"][4];
        assert_eq!(
            (&first["status"], &first["statusReason"]),
            (&json!("SUCCESSFUL"), &json!("ECS deployment completed."))
        );
        let revision = first["targetServiceRevisionArn"].as_str().expect("an ARN");
        assert_eq!(revision.replace("service-revision", "service-deployment"), expected[4]);
    }

    #[tokio::test]
    async fn service_deployments_are_filtered_by_status_and_by_when_they_were_made() {
        let harness = harness().await;
        reach(&harness);
        for _ in 0..2 {
            deploy(&harness, "web:2").await;
        }
        for (status, count) in [
            (json!(["SUCCESSFUL"]), 1),
            (json!(["PENDING", "STOPPED"]), 2),
            (json!(["ROLLBACK_FAILED"]), 0),
            (json!([]), 3),
        ] {
            let answer = list(&harness, json!({"status": status})).await;
            assert_eq!(arns(&answer).len(), count, "{status}");
        }
        #[expect(clippy::cast_precision_loss, reason = "a moment in milliseconds fits")]
        let now = NOW.0 as f64 / 1_000.0;
        for (created_at, count) in [
            (json!({"after": now - 1.0}), 3),
            (json!({"after": now + 1.0}), 0),
            (json!({"before": now + 1.0}), 3),
            (json!({"after": now, "before": now + 1.0}), 2),
        ] {
            let answer = list(&harness, json!({"createdAt": created_at})).await;
            assert_eq!(arns(&answer).len(), count, "{created_at}");
        }
    }

    #[tokio::test]
    async fn service_deployments_of_nobody_or_before_the_upgrade_are_refused() {
        let harness = harness().await;
        for (input, code) in [
            (json!({"service": "other"}), "ServiceNotFoundException"),
            (
                json!({"service": "site", "cluster": "other"}),
                "ClusterNotFoundException",
            ),
            (
                json!({"service": "site", "nextToken": "x"}),
                "InvalidParameterException",
            ),
        ] {
            let error = harness
                .call::<ListServiceDeployments>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code);
        }
        let elsewhere = harness.call_in::<ListServiceDeployments>("eu-west-1", json!({"service": "site"}));
        assert_eq!(
            elsewhere.await.expect_err("refused").kind.code,
            "ClusterNotFoundException"
        );
        let before = Harness::before_levels();
        definitions(&before).await;
        let error = before.call::<ListServiceDeployments>(json!({"service": "site"})).await;
        let error = error.expect_err("refused");
        assert!(error.message.contains("upgraded"), "{}", error.message);
    }
}
