//! `DescribeServices`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeServicesRequest, DescribeServicesResponse, ServiceField};

use super::{references, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;

/// Most services of one request (ECS: 10).
const MAX_SERVICES: usize = 10;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeServicesRequest,
) -> Result<DescribeServicesResponse, AwsError> {
    let names = input.services.unwrap_or_default();
    if names.is_empty() {
        return Err(invalid("Services cannot be empty."));
    }
    if names.len() > MAX_SERVICES {
        return Err(invalid(format!("Services must not be more than {MAX_SERVICES}.")));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let with_tags = input.include.unwrap_or_default().contains(&ServiceField::Tags);
    let (mut services, mut failures) = (vec![], vec![]);
    for name in &names {
        let key = references::service_key(&cluster.key, name)?;
        match state.service(&key) {
            Some(service) => services.push(render::service(&state, service, with_tags)),
            None => failures.push(references::missing(key.arn())),
        }
    }
    Ok(DescribeServicesResponse {
        services: Some(services),
        failures: Some(failures),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateService, DeleteService, DescribeServices, ListServices, RegisterTaskDefinition, UpdateService,
    };
    use serde_json::json;

    use crate::api::testing::Harness;

    async fn harness(services: &[&str]) -> Harness {
        let harness = Harness::new();
        harness.add_host(1, "a");
        let input = json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]});
        harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        for name in services {
            let tags = json!([{"key": "k", "value": "v"}]);
            let input = json!({"serviceName": name, "taskDefinition": "web", "desiredCount": 1, "tags": tags});
            harness.call::<CreateService>(input).await.expect("creates");
        }
        harness
    }

    #[tokio::test]
    async fn services_are_described_and_missing_ones_are_failures() {
        let harness = harness(&["a"]).await;
        let input = json!({"services": ["a", "b"], "include": ["TAGS"]});
        let answer = harness.call::<DescribeServices>(input).await.expect("describes");
        assert_eq!(answer["services"][0]["tags"], json!([{"key": "k", "value": "v"}]));
        let arn = "arn:aws:ecs:us-east-1:123456789012:service/default/b";
        assert_eq!(answer["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
    }

    #[tokio::test]
    async fn service_scaled_above_zero_is_not_deleted_without_force() {
        let harness = harness(&["a"]).await;
        let error = harness
            .call::<DeleteService>(json!({"service": "a"}))
            .await
            .expect_err("refused");
        assert_eq!(
            error.message,
            "The service cannot be stopped while it is scaled above 0."
        );
        let input = json!({"service": "a", "desiredCount": 0});
        harness.call::<UpdateService>(input).await.expect("scales");
        let answer = harness
            .call::<DeleteService>(json!({"service": "a"}))
            .await
            .expect("deletes");
        assert_eq!(answer["service"]["status"], "DRAINING");
        let again = harness
            .call::<DeleteService>(json!({"service": "a"}))
            .await
            .expect("is under way");
        assert_eq!(again["service"]["status"], "DRAINING");
        let missing = harness
            .call::<DeleteService>(json!({"service": "b"}))
            .await
            .expect_err("there is none");
        assert_eq!(missing.kind.code, "ServiceNotFoundException");
        let input = json!({"service": "a", "desiredCount": 1});
        let error = harness.call::<UpdateService>(input).await.expect_err("refused");
        assert_eq!(
            (error.kind.code, error.message.as_str()),
            ("ServiceNotActiveException", "Service was not ACTIVE.")
        );
    }

    #[tokio::test]
    async fn services_are_listed_in_pages_of_ten_without_deleted_ones() {
        let names: Vec<String> = (0..12).map(|n| format!("s{n:02}")).collect();
        let harness = harness(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let first = harness.call::<ListServices>(json!({})).await.expect("lists");
        assert_eq!(first["serviceArns"].as_array().map(Vec::len), Some(10));
        let second = harness
            .call::<ListServices>(json!({"nextToken": first["nextToken"]}))
            .await
            .expect("lists");
        assert_eq!(second["serviceArns"].as_array().map(Vec::len), Some(2));
        let input = json!({"service": "s11", "force": true});
        let deleted = harness.call::<DeleteService>(input).await.expect("deletes");
        assert_eq!(deleted["service"]["status"], "DRAINING");
        let second = harness
            .call::<ListServices>(json!({"nextToken": first["nextToken"]}))
            .await
            .expect("lists");
        assert_eq!(second["serviceArns"].as_array().map(Vec::len), Some(1));
        let none = harness
            .call::<ListServices>(json!({"schedulingStrategy": "DAEMON"}))
            .await
            .expect("lists");
        assert_eq!(none["serviceArns"], json!([]));
    }
}
