//! Service deployments and service revisions in requests: what their ARNs mean, and from when on there are any. Pure.

use std::sync::Arc;

use berth_aws::AwsError;
use berth_aws::ecs::CreatedAt;
use berth_core::model::{ArnResource, DeploymentId, Scope, Service, ServiceDeployment, ServiceKey};
use berth_core::state::{ClusterState, Feature};

use super::references;
use crate::api::errors::{self, client, invalid};

/// Most service deployments or service revisions that one request can name (ECS: 20).
const MAX_NAMED: usize = 20;

/// Refuses what concerns service deployments while there may be controllers that do not know them.
///
/// # Errors
/// `ClientException`.
pub(super) fn check_level(state: &ClusterState) -> Result<(), AwsError> {
    errors::check_upgraded(
        state.uses(Feature::ServiceDeployments),
        client,
        "Service deployments are not supported",
    )
}

/// Refuses lists that are empty or too long.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_count(member: &str, given: &[String]) -> Result<(), AwsError> {
    match given.len() {
        0 => Err(invalid(format!("{member} cannot be empty."))),
        1..=MAX_NAMED => Ok(()),
        _ => Err(invalid(format!("{member} must not be more than {MAX_NAMED}."))),
    }
}

/// Whether a deployment was created in the time that a list is asked for.
pub(super) fn is_created_within(deployment: &ServiceDeployment, asked: Option<&CreatedAt>) -> bool {
    let at = deployment.created_at.0;
    let (after, before) = (asked.and_then(|c| c.after), asked.and_then(|c| c.before));
    after.is_none_or(|after| at > after.0) && before.is_none_or(|before| at < before.0)
}

/// Which service and which number the ARN of a service deployment names.
///
/// # Errors
/// `InvalidParameterException` for anything else, and for another account or region.
pub(super) fn deployment_of(scope: &Scope, arn: &str) -> Result<(ServiceKey, DeploymentId), AwsError> {
    match references::arn_in(scope, arn)? {
        Some(ArnResource::ServiceDeployment { cluster, service, id }) => {
            Ok((scope.cluster(&cluster).service(&service), DeploymentId::of_number(&id)))
        }
        _ => Err(invalid(format!(
            "Invalid identifier: {arn} is not a service deployment."
        ))),
    }
}

/// Which service and which number the ARN of a service revision names.
///
/// # Errors
/// As [`deployment_of`].
pub(super) fn revision_of(scope: &Scope, arn: &str) -> Result<(ServiceKey, DeploymentId), AwsError> {
    match references::arn_in(scope, arn)? {
        Some(ArnResource::ServiceRevision { cluster, service, id }) => {
            Ok((scope.cluster(&cluster).service(&service), DeploymentId::of_number(&id)))
        }
        _ => Err(invalid(format!("Invalid identifier: {arn} is not a service revision."))),
    }
}

/// The service that a request names by name or ARN, in the cluster that it names.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another cluster, `ClusterNotFoundException` and
/// `ServiceNotFoundException`.
pub(super) fn service<'s>(
    state: &'s ClusterState,
    scope: &Scope,
    cluster: Option<&str>,
    service: Option<&str>,
) -> Result<&'s Arc<Service>, AwsError> {
    let cluster = references::active_cluster(state, scope, cluster)?;
    references::service(state, &cluster.key, service.unwrap_or_default())
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of service deployments begin with.

    use berth_aws::ecs::operations::{CreateService, RegisterTaskDefinition, UpdateService};
    use berth_core::model::{DeploymentStatus, RolloutState, ServiceDeploymentStatus};
    use berth_core::state::{Command, DeploymentProgress, ServiceDeploymentProgress, ServiceProgress};
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, NOW};

    /// Two revisions of `web`.
    pub(in crate::api::ecs) async fn definitions(harness: &Harness) {
        harness.add_host(1, "a");
        for image in ["web:1", "web:2"] {
            let container = json!({"name": "app", "image": image, "memory": 64});
            let input = json!({"family": "web", "containerDefinitions": [container]});
            harness.call::<RegisterTaskDefinition>(input).await.expect("registers");
        }
    }

    /// A service `site` of `web:1`, of which nothing has begun.
    pub(in crate::api::ecs) async fn harness() -> Harness {
        let harness = Harness::new();
        definitions(&harness).await;
        let input = json!({"serviceName": "site", "taskDefinition": "web:1", "desiredCount": 2});
        harness.call::<CreateService>(input).await.expect("creates");
        harness
    }

    /// Deploys a revision of `web`; returns the service.
    pub(in crate::api::ecs) async fn deploy(harness: &Harness, revision: &str) -> Value {
        let input = json!({"service": "site", "taskDefinition": revision, "forceNewDeployment": true});
        let answer = harness.call::<UpdateService>(input).await.expect("updates");
        answer["service"].clone()
    }

    /// What is deployed of `site` has been reached.
    pub(in crate::api::ecs) fn reach(harness: &Harness) {
        let key = harness.cluster("default").service("site");
        let state = harness.state.state();
        let newest = state
            .service(&key)
            .and_then(|s| s.primary())
            .expect("a deployment")
            .id
            .clone();
        let progress = ServiceProgress {
            deployments: vec![DeploymentProgress {
                id: newest.clone(),
                status: DeploymentStatus::Primary,
                rollout_state: RolloutState::Completed,
                rollout_state_reason: "ECS deployment completed.".to_owned(),
                resets_failed_tasks: false,
            }],
            service_deployment: Some(ServiceDeploymentProgress {
                id: newest,
                status: ServiceDeploymentStatus::Successful,
                reason: Some("ECS deployment completed.".to_owned()),
                by_circuit_breaker: false,
            }),
            steady: Some(true),
            ..ServiceProgress::nothing_new(key, NOW)
        };
        let command = Command::RecordServiceProgress(Box::new(progress));
        harness.state.apply(&command).expect("recorded");
    }
}
