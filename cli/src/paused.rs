//! Deployments that wait at hooks for somebody: which hooks, and until when. Shell.

use anyhow::Result;
use berth_aws::Timestamp;
use berth_aws::ecs::operations::DescribeServiceDeployments;
use berth_aws::ecs::{
    DeploymentLifecycleHookDetail, DeploymentLifecycleHookStatus, DescribeServiceDeploymentsRequest, Service,
    ServiceDeployment,
};

use crate::cluster::Cluster;

/// A hook that a deployment waits at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// ARN of the service deployment.
    pub(crate) service_deployment: String,
    /// Id of the hook.
    pub(crate) hook: String,
    /// The stage that the deployment is in.
    pub(crate) stage: String,
    /// What becomes of the deployment if nobody says anything, in words.
    otherwise: String,
}

/// What is deployed of a service, where the cluster knows service deployments.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn deployment(cluster: &Cluster, service: &Service) -> Result<Option<ServiceDeployment>> {
    let Some(current) = &service.current_service_deployment else {
        return Ok(None);
    };
    let request = DescribeServiceDeploymentsRequest {
        service_deployment_arns: Some(vec![current.clone()]),
    };
    let described = cluster.call::<DescribeServiceDeployments>(&request).await?;
    Ok(described.service_deployments.into_iter().flatten().next())
}

/// The hooks that what is deployed waits at.
pub(crate) fn hooks(deployment: &ServiceDeployment) -> Vec<Waiting> {
    let awaits =
        |hook: &&DeploymentLifecycleHookDetail| hook.status == Some(DeploymentLifecycleHookStatus::AwaitingAction);
    let all = deployment.lifecycle_hook_details.iter().flatten();
    let waiting = |hook: &DeploymentLifecycleHookDetail| Waiting {
        service_deployment: deployment.service_deployment_arn.clone().unwrap_or_default(),
        hook: hook.hook_id.clone().unwrap_or_default(),
        stage: deployment
            .lifecycle_stage
            .as_ref()
            .map_or("?", |stage| stage.as_str())
            .to_owned(),
        otherwise: match (&hook.timeout_action, hook.expires_at) {
            (Some(action), Some(at)) => format!("{} at {}", action.as_str(), moment(at)),
            _ => "never".to_owned(),
        },
    };
    all.filter(awaits).map(waiting).collect()
}

/// That a service waits, and how to have it go on; nothing where it does not.
pub(crate) fn sentence(name: &str, cluster: &str, hooks: &[Waiting]) -> Option<String> {
    let first = hooks.first()?;
    let all: Vec<String> = hooks
        .iter()
        .map(|waiting| format!("{} (else {})", waiting.hook, waiting.otherwise))
        .collect();
    Some(format!(
        "service {name}: its deployment has paused at {}, and waits at {}; `berth continue {name} --cluster {cluster}` has it go on, with \
         --rollback back",
        first.stage,
        all.join(" and ")
    ))
}

/// A time to the second.
fn moment(at: Timestamp) -> String {
    Timestamp(at.0 - at.0.rem_euclid(1_000)).iso8601().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::{DeploymentLifecycleHookAction, ServiceDeploymentLifecycleStage};

    use super::*;

    #[test]
    fn hooks_that_wait_are_named_with_what_becomes_of_them_and_others_are_not() {
        let hook = |id: &str, status| DeploymentLifecycleHookDetail {
            hook_id: Some(id.to_owned()),
            status: Some(status),
            expires_at: Some(Timestamp(1_800_000_000_500)),
            timeout_action: Some(DeploymentLifecycleHookAction::Rollback),
            ..Default::default()
        };
        let deployment = ServiceDeployment {
            lifecycle_stage: Some(ServiceDeploymentLifecycleStage::PreScaleUp),
            lifecycle_hook_details: Some(vec![
                hook("h1", DeploymentLifecycleHookStatus::Succeeded),
                hook("h2", DeploymentLifecycleHookStatus::AwaitingAction),
            ]),
            ..Default::default()
        };
        let said = sentence("web", "shop", &hooks(&deployment)).expect("waits");
        assert_eq!(
            said,
            "service web: its deployment has paused at PRE_SCALE_UP, and waits at h2 (else ROLLBACK at 2027-01-15T08:00:00Z); \
             `berth continue web --cluster shop` has it go on, with --rollback back"
        );
        assert_eq!(sentence("web", "shop", &hooks(&ServiceDeployment::default())), None);
    }
}
