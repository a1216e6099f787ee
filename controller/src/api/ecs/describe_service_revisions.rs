//! `DescribeServiceRevisions`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse};

use super::{references, render, service_deployments};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse, AwsError> {
    let arns = input.service_revision_arns.unwrap_or_default();
    service_deployments::check_count("serviceRevisionArns", &arns)?;
    let state = api.read().await?;
    service_deployments::check_level(&state)?;
    let (mut found, mut failures) = (vec![], vec![]);
    for arn in arns {
        let (key, id) = service_deployments::revision_of(&call.scope, &arn)?;
        let service = state.service(&key);
        match service.and_then(|service| Some((service, service.service_deployment(&id)?))) {
            Some((service, deployment)) => {
                found.push(render::service_revision(&state, service, &deployment.revision));
            }
            None => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeServiceRevisionsResponse {
        service_revisions: Some(found),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::DescribeServiceRevisions;
    use serde_json::json;

    use crate::api::ecs::service_deployments::testing::{deploy, harness, reach};

    #[tokio::test]
    async fn service_revision_says_what_was_deployed_whatever_came_after() {
        let harness = harness().await;
        reach(&harness);
        let service = deploy(&harness, "web:2").await;
        let revisions = service["currentServiceRevisions"].as_array().expect("two revisions");
        let arns: Vec<_> = revisions.iter().map(|revision| revision["arn"].clone()).collect();
        let input = json!({"serviceRevisionArns": arns});
        let answer = harness
            .call::<DescribeServiceRevisions>(input)
            .await
            .expect("describes");
        assert_eq!(answer["failures"], json!([]));
        for (nth, name) in [(0, "web:2"), (1, "web:1")] {
            let found = &answer["serviceRevisions"][nth];
            assert_eq!(found["serviceRevisionArn"], arns[nth]);
            let definition = format!("arn:aws:ecs:us-east-1:123456789012:task-definition/{name}");
            assert_eq!(found["taskDefinition"], definition);
            assert_eq!(
                found["containerImages"],
                json!([{"containerName": "app", "image": name}])
            );
            assert_eq!(
                (&found["launchType"], &found["serviceArn"]),
                (&json!("EC2"), &service["serviceArn"])
            );
            assert!(found["createdAt"].is_number());
        }
    }

    #[tokio::test]
    async fn service_revisions_that_do_not_exist_are_failures_and_other_arns_are_refused() {
        let harness = harness().await;
        let arn = "arn:aws:ecs:us-east-1:123456789012:service-revision/default/site/5";
        let input = json!({"serviceRevisionArns": [arn]});
        let answer = harness
            .call::<DescribeServiceRevisions>(input)
            .await
            .expect("describes");
        assert_eq!(answer["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
        for arns in [json!([]), json!([arn.replace("revision", "deployment")])] {
            let input = json!({"serviceRevisionArns": arns});
            let error = harness
                .call::<DescribeServiceRevisions>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, "InvalidParameterException");
        }
    }
}
