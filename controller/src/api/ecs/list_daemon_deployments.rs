//! `ListDaemonDeployments`: the newest first. Shell.

use std::cmp::Reverse;

use berth_aws::AwsError;
use berth_aws::ecs::{ListDaemonDeploymentsRequest, ListDaemonDeploymentsResponse, errors as ecs};
use berth_core::model::ServiceDeployment;

use super::{daemons, render};
use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: ListDaemonDeploymentsRequest,
) -> Result<ListDaemonDeploymentsResponse, AwsError> {
    let (token, size) = (input.next_token.as_deref(), input.max_results);
    let page = Page::parse("ListDaemonDeployments", token, size, 100)?;
    let state = api.read().await?;
    let daemon = daemons::find(&state, &call.scope, input.daemon_arn.as_deref());
    // DaemonNotFoundException is none of the errors that ListDaemonDeployments has.
    let daemon = daemon.map_err(|error| match error.kind.code == ecs::DAEMON_NOT_FOUND.code {
        true => invalid(error.message),
        false => error,
    })?;
    let all = daemon.service_deployments.iter();
    let matching = all.filter(|deployment| matches(deployment, &input));
    let shown = matching.map(|deployment| {
        let summary = render::daemon_deployment_summary(daemon, deployment);
        (Reverse(deployment.created_at), summary)
    });
    let (daemon_deployments, next_token) = page.take(shown);
    Ok(ListDaemonDeploymentsResponse {
        daemon_deployments: Some(daemon_deployments),
        next_token,
    })
}

fn matches(deployment: &ServiceDeployment, input: &ListDaemonDeploymentsRequest) -> bool {
    let status = render::daemon_deployment_status(deployment.status);
    // An empty list asks for none in particular.
    let wanted = input.status.as_ref().filter(|wanted| !wanted.is_empty());
    wanted.is_none_or(|wanted| wanted.contains(&status))
        && super::service_deployments::is_created_within(deployment, input.created_at.as_ref())
}
