//! Waits until the deployments of managed daemons are over. Shell, but for what is said of one, which is pure.

use std::collections::BTreeMap;

use anyhow::Result;
use berth_aws::ecs::{DaemonDeployment, DaemonDeploymentStatus, DaemonDetail, DaemonStatus};

use super::settling::{Patience, Settled};
use super::until_stable::{Ended, Progress, until_stable};
use crate::cluster::{Cluster, last_part};
use crate::output;

/// A daemon that is waited for: its cluster and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwaitedDaemon {
    /// Its cluster.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) name: String,
}

/// Waits for the daemons, and says in lines how they come along.
///
/// # Errors
/// If the cluster cannot be asked, or has no such daemon.
pub(crate) async fn wait(cluster: &Cluster, awaited: &[AwaitedDaemon], patience: Patience) -> Result<Settled> {
    let names = awaited.iter().map(|one| format!("daemon {}", one.name));
    let names: Vec<String> = names.collect();
    let mut began = BTreeMap::<usize, Option<String>>::new();
    let ended = until_stable(&names, patience, async |index| {
        let (of, name) = (cluster.beside(&awaited[index].cluster), &awaited[index].name);
        let daemon = of.daemon(name).await?.ok_or_else(|| of.no_daemon(name))?;
        let first = began.entry(index).or_insert_with(|| daemon.deployment_arn.clone());
        let deployment = match daemon.deployment_arn.as_deref() {
            Some(arn) => of.daemon_deployment(arn).await?,
            None => None,
        };
        let is_another = *first != daemon.deployment_arn;
        Ok(progress(&daemon, deployment.as_ref(), is_another))
    });
    let unsettled = match ended.await? {
        Ended::Stable => return Ok(Settled::Stable),
        Ended::InVain => return Ok(Settled::Failed),
        Ended::Late(unsettled) => unsettled,
    };
    let names: Vec<&str> = unsettled.iter().map(|index| awaited[*index].name.as_str()).collect();
    output::complain(&format!(
        "not stable within {} s: daemons {}; `berth why-not daemon:{}` says what its hosts say",
        patience.secs(),
        names.join(", "),
        names.first().copied().unwrap_or_default()
    ));
    Ok(Settled::Failed)
}

fn progress(daemon: &DaemonDetail, deployment: Option<&DaemonDeployment>, is_another: bool) -> Progress {
    use DaemonDeploymentStatus as S;
    if daemon.status == Some(DaemonStatus::DeleteInProgress) {
        return Progress::Over("is being deleted".to_owned());
    }
    let Some(deployment) = deployment else {
        return Progress::Underway("has no deployment yet".to_owned());
    };
    if is_another {
        return Progress::Over("has been given another deployment meanwhile".to_owned());
    }
    let target = deployment.target_daemon_revision.as_ref();
    let running = target
        .and_then(|target| target.total_running_instance_count)
        .unwrap_or(0);
    let reason = deployment.status_reason.as_deref().unwrap_or_default();
    match deployment.status {
        Some(S::Successful) => Progress::Stable(format!("stable, runs on {running} hosts")),
        Some(S::Pending | S::InProgress) | None => {
            let without = target
                .and_then(|target| target.total_without_daemon_instance_count)
                .unwrap_or(0);
            Progress::Underway(format!("runs on {running} hosts, {without} wait for it"))
        }
        Some(status) => {
            let id = deployment
                .daemon_deployment_arn
                .as_deref()
                .map(last_part)
                .unwrap_or_default();
            Progress::Over(
                format!("its deployment {id} is {}: {reason}", status.as_str())
                    .trim_end()
                    .to_owned(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::DaemonDeploymentRevisionDetail;

    use super::*;

    fn deployment(status: DaemonDeploymentStatus) -> DaemonDeployment {
        DaemonDeployment {
            daemon_deployment_arn: Some("arn:aws:ecs:us-east-1:123456789012:daemon-deployment/shop/logs/7".to_owned()),
            status: Some(status),
            status_reason: Some("tasks failed to start.".to_owned()),
            target_daemon_revision: Some(DaemonDeploymentRevisionDetail {
                total_running_instance_count: Some(2),
                total_without_daemon_instance_count: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn daemon_is_stable_once_its_deployment_is_successful_and_not_waited_for_once_it_cannot_be() {
        let daemon = DaemonDetail::default();
        let of = |status| progress(&daemon, Some(&deployment(status)), false);
        assert_eq!(
            of(DaemonDeploymentStatus::Successful),
            Progress::Stable("stable, runs on 2 hosts".to_owned())
        );
        assert_eq!(
            of(DaemonDeploymentStatus::InProgress),
            Progress::Underway("runs on 2 hosts, 1 wait for it".to_owned())
        );
        assert_eq!(
            of(DaemonDeploymentStatus::RollbackInProgress),
            Progress::Over("its deployment 7 is ROLLBACK_IN_PROGRESS: tasks failed to start.".to_owned())
        );
        let deleted = DaemonDetail {
            status: Some(DaemonStatus::DeleteInProgress),
            ..Default::default()
        };
        let successful = deployment(DaemonDeploymentStatus::Successful);
        assert_eq!(
            progress(&deleted, Some(&successful), false),
            Progress::Over("is being deleted".to_owned())
        );
        assert!(matches!(progress(&daemon, Some(&successful), true), Progress::Over(_)));
    }
}
