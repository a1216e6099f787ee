//! `DescribeDaemonDeployments`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeDaemonDeploymentsRequest, DescribeDaemonDeploymentsResponse};

use super::{daemons, references, render, service_deployments};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeDaemonDeploymentsRequest,
) -> Result<DescribeDaemonDeploymentsResponse, AwsError> {
    let arns = input.daemon_deployment_arns.unwrap_or_default();
    service_deployments::check_count("daemonDeploymentArns", &arns)?;
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let (mut found, mut failures) = (vec![], vec![]);
    for arn in arns {
        let (key, id) = daemons::deployment_of(&call.scope, &arn)?;
        let daemon = state.service(&key);
        match daemon.and_then(|daemon| Some((daemon, daemon.service_deployment(&id)?))) {
            Some((daemon, deployment)) => found.push(render::daemon_deployment(&state, daemon, deployment)),
            None => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeDaemonDeploymentsResponse {
        daemon_deployments: Some(found),
        failures: Some(failures),
    })
}
