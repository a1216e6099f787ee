//! What became of deployments of services: whether the newest one is reached, goes back, or was stopped, and why. Shell.

use anyhow::Result;
use berth_aws::ecs::operations::DescribeServiceRevisions;
use berth_aws::ecs::{DescribeServiceRevisionsRequest, Service, ServiceDeployment, ServiceDeploymentStatus};

use super::settling::Awaited;
use super::until_stable::Progress;
use crate::cluster::{Cluster, last_part, primary};
use crate::paused;

/// The deployment to which a service is on its way: another one once it is rolled back.
fn primary_of(service: &Service) -> Option<&str> {
    primary(service)?.id.as_deref()
}

/// Whether a service is on its way to something else than at first.
pub(super) fn has_turned(first: &Service, now: &Service) -> bool {
    primary_of(first) != primary_of(now)
}

/// That somebody deploys something else than what was waited for, if so.
pub(super) fn deployed_instead(first: &Service, now: &Service) -> Option<String> {
    let (before, current) = (&first.current_service_deployment, &now.current_service_deployment);
    let is_other = match before {
        Some(_) => before != current,
        // Before there were service deployments, each rollback was another deployment too.
        None => current.is_none() && primary_of(first).is_some() && has_turned(first, now),
    };
    let has = now.task_definition.as_deref().map(last_part).unwrap_or_default();
    is_other.then(|| format!("has been given another deployment meanwhile, of {has}"))
}

/// How far a service is that looks like `found`, now that what became of its newest service deployment is known.
///
/// # Errors
/// If the cluster cannot be asked.
pub(super) async fn as_deployed(
    cluster: &Cluster,
    awaited: &Awaited,
    service: &Service,
    found: Progress,
) -> Result<Progress> {
    let is_old = awaited.over_before.is_some() && awaited.over_before == service.current_service_deployment;
    // That it is deleted says more than what became of its deployment with it.
    if is_old || service.status.as_deref() == Some("DRAINING") {
        return Ok(found);
    }
    let newest = paused::deployment(cluster, service).await?;
    let Some((newest, status)) = newest.and_then(|newest| Some((newest.clone(), newest.status?))) else {
        return Ok(found);
    };
    if !turned_back(status) {
        let is_over = status == ServiceDeploymentStatus::Successful || !matches!(found, Progress::Stable(_));
        return Ok(match is_over {
            true => found,
            false => Progress::Underway("all tasks run, and its deployment is not over".to_owned()),
        });
    }
    let target = newest
        .target_service_revision
        .as_ref()
        .and_then(|target| target.arn.clone());
    let request = DescribeServiceRevisionsRequest {
        service_revision_arns: target.map(|arn| vec![arn]),
    };
    let described = cluster.call::<DescribeServiceRevisions>(&request).await?;
    let target = described.service_revisions.into_iter().flatten().next();
    let definition = target.and_then(|revision| revision.task_definition);
    Ok(Progress::Over(ending(
        &newest,
        status,
        definition.as_deref().map_or("?", last_part),
        service.task_definition.as_deref().map_or("?", last_part),
    )))
}

/// Whether a deployment does not come to its revision any more.
fn turned_back(status: ServiceDeploymentStatus) -> bool {
    use ServiceDeploymentStatus as S;
    !matches!(status, S::Pending | S::InProgress | S::Successful)
}

/// How a deployment of `target` ended, or ends, of a service that runs `has`.
fn ending(newest: &ServiceDeployment, status: ServiceDeploymentStatus, target: &str, has: &str) -> String {
    use ServiceDeploymentStatus as S;
    let reason = newest.status_reason.as_deref().unwrap_or_default();
    let because = newest.rollback.as_ref().and_then(|rollback| rollback.reason.as_deref());
    match status {
        S::RollbackSuccessful => format!("was rolled back from {target} to {has}: {reason}"),
        S::RollbackRequested | S::RollbackInProgress => format!("is rolled back from {target}: {reason}"),
        S::RollbackFailed => {
            let because = because.map(|because| format!(" It was to be rolled back since: {because}"));
            format!(
                "the deployment of {target} failed and could not be rolled back: {reason}{}",
                because.unwrap_or_default()
            )
        }
        _ => format!("the deployment of {target} was stopped: {reason}"),
    }
}

/// The newest service deployment of a service, if there is one and it is over.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn over_before(cluster: &Cluster, service: &str) -> Result<Option<String>> {
    let Some(service) = cluster.service(service).await? else {
        return Ok(None);
    };
    let newest = paused::deployment(cluster, &service).await?;
    let is_over = newest.is_some_and(|newest| newest.finished_at.is_some());
    Ok(service.current_service_deployment.filter(|_| is_over))
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::{Deployment, Rollback};

    use super::*;

    #[test]
    fn deployment_that_turned_back_or_was_stopped_is_told_with_its_cause() {
        use ServiceDeploymentStatus as S;
        let newest = ServiceDeployment {
            status_reason: Some("tasks failed to start.".to_owned()),
            rollback: Some(Rollback {
                reason: Some("an alarm.".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        for (status, said) in [
            (
                S::RollbackSuccessful,
                "was rolled back from web:2 to web:1: tasks failed to start.",
            ),
            (
                S::RollbackInProgress,
                "is rolled back from web:2: tasks failed to start.",
            ),
            (
                S::RollbackFailed,
                "the deployment of web:2 failed and could not be rolled back: tasks failed to start. It was to be rolled back since: an alarm.",
            ),
            (
                S::Stopped,
                "the deployment of web:2 was stopped: tasks failed to start.",
            ),
        ] {
            assert!(turned_back(status), "{status:?}");
            assert_eq!(ending(&newest, status, "web:2", "web:1"), said);
        }
        assert!(![S::Pending, S::InProgress, S::Successful].into_iter().any(turned_back));
    }

    #[test]
    fn another_deployment_is_not_what_was_waited_for_and_a_rollback_is_the_same_one() {
        let of = |arn: &str, id: &str| Service {
            current_service_deployment: (!arn.is_empty()).then(|| arn.to_owned()),
            task_definition: Some("arn:aws:ecs:us-east-1:123456789012:task-definition/web:3".to_owned()),
            deployments: Some(vec![Deployment {
                status: Some("PRIMARY".to_owned()),
                id: Some(id.to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let other = Some("has been given another deployment meanwhile, of web:3".to_owned());
        assert_eq!(deployed_instead(&of("sd/2", "d2"), &of("sd/3", "d3")), other);
        assert_eq!(deployed_instead(&of("sd/2", "d2"), &of("sd/2", "d1")), None);
        assert_eq!(deployed_instead(&of("", "d2"), &of("", "d3")), other);
    }
}
