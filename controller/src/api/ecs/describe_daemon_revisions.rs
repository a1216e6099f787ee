//! `DescribeDaemonRevisions`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DescribeDaemonRevisionsRequest, DescribeDaemonRevisionsResponse};

use super::{daemons, references, render, service_deployments};
use crate::api::context::{Api, Call};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeDaemonRevisionsRequest,
) -> Result<DescribeDaemonRevisionsResponse, AwsError> {
    let arns = input.daemon_revision_arns.unwrap_or_default();
    service_deployments::check_count("daemonRevisionArns", &arns)?;
    let state = api.read().await?;
    daemons::check_level(&state)?;
    let (mut found, mut failures) = (vec![], vec![]);
    for arn in arns {
        let (key, id) = daemons::revision_of(&call.scope, &arn)?;
        let daemon = state.service(&key);
        match daemon.and_then(|daemon| Some((daemon, daemon.service_deployment(&id)?))) {
            Some((daemon, deployment)) => found.push(render::daemon_revision(&state, daemon, &deployment.revision)),
            None => failures.push(references::missing(arn)),
        }
    }
    Ok(DescribeDaemonRevisionsResponse {
        daemon_revisions: Some(found),
        failures: Some(failures),
    })
}
