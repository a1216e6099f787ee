//! Waits until services are stable: one deployment, which is completed, and all tasks that are wanted run.
//!
//! Owns when a service is stable, what is said on the way, and when it is no use to wait any longer. Shell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use anyhow::Result;
use berth_aws::Timestamp;
use berth_aws::ecs::{Deployment, DeploymentRolloutState, DeploymentStrategy, Service, StabilityStatus, Task, TaskSet};
use tokio::time::Instant;

use super::ended;
use super::until_stable::{Ended, Progress, until_stable};
use crate::age::now;
use crate::cluster::{Cluster, last_part, primary};
use crate::{counted, output, paused, protected, shortfall};

/// How often services and daemons are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// All are stable.
    Stable,
    /// The time is over, and tasks of a service have found no host.
    CannotBePlaced,
    /// The time is over, or a deployment has failed.
    Failed,
}

/// How long is waited, for all that a command waits for together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    whole: Duration,
    until: Instant,
}

impl Patience {
    /// From now on, for so long.
    pub(crate) fn of(whole: Duration) -> Self {
        let until = Instant::now() + whole;
        Self { whole, until }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Seconds from its beginning to its end, for sentences; what was asked for is whole, and something of it has passed before.
    pub(super) fn secs(&self) -> u64 {
        self.whole.as_secs() + u64::from(self.whole.subsec_nanos() > 0)
    }

    /// Lets time pass until the next look, or until it is over.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(PAUSE.min(self.until.saturating_duration_since(Instant::now()))).await;
    }
}

/// A service that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// Its cluster.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) service: String,
    /// The revision that it is to run, as `family:revision`, if that matters.
    pub(crate) revision: Option<String>,
    /// The service deployment, by its ARN, that was over before what is waited for began, so that it does not matter how.
    pub(crate) over_before: Option<String>,
}

/// Waits for the services, and says in lines how they come along.
///
/// # Errors
/// If the cluster cannot be asked, or has no such service.
pub(crate) async fn wait(cluster: &Cluster, awaited: &[Awaited], patience: Patience) -> Result<Settled> {
    let names = awaited.iter().map(|one| format!("service {}", one.service));
    let names: Vec<String> = names.collect();
    let mut began = BTreeMap::<usize, Service>::new();
    let ended = until_stable(&names, patience, async |index| {
        look(cluster, &awaited[index], began.entry(index)).await
    });
    match ended.await? {
        Ended::Stable => Ok(Settled::Stable),
        Ended::InVain => Ok(Settled::Failed),
        Ended::Late(unsettled) => give_up(cluster, awaited, &unsettled, patience).await,
    }
}

/// How far a service is, that looked so when it was first looked at.
async fn look(cluster: &Cluster, awaited: &Awaited, first: Entry<'_, usize, Service>) -> Result<Progress> {
    let of = cluster.beside(&awaited.cluster);
    let Some(service) = of.service(&awaited.service).await? else {
        return Err(of.no_service(&awaited.service));
    };
    let is_first_look = matches!(first, Entry::Vacant(_));
    let first = first.or_insert_with(|| service.clone());
    let found = progress(&service, awaited.revision.as_deref());
    // What becomes of a deployment is asked for when there may be news of it.
    let is_under_way = matches!(found, Progress::Underway(_));
    let may_be_over = is_first_look || !is_under_way || ended::has_turned(first, &service);
    let found = match ended::deployed_instead(first, &service) {
        Some(why) => Progress::Over(why),
        None if may_be_over => ended::as_deployed(&of, awaited, &service, found).await?,
        None => found,
    };
    Ok(match found {
        Progress::Over(why) => Progress::Over(with_last_failure(&of, &service, why).await?),
        found => found,
    })
}

/// Says which services are not stable, and why, as far as they say it.
async fn give_up(cluster: &Cluster, awaited: &[Awaited], unsettled: &[usize], patience: Patience) -> Result<Settled> {
    let mut outcome = Settled::Failed;
    output::complain(&format!("not stable within {} s:", patience.secs()));
    for index in unsettled {
        let of = cluster.beside(&awaited[*index].cluster);
        let Some(service) = of.service(&awaited[*index].service).await? else {
            continue;
        };
        let name = &awaited[*index].service;
        let tasks = of.tasks(&of.all_task_arns(Some(name)).await?).await?;
        let now = now();
        let deployment = paused::deployment(&of, &service).await?;
        let hooks = deployment.as_ref().map(paused::hooks).unwrap_or_default();
        if let Some(why) = paused::sentence(name, of.name(), &hooks) {
            output::complain(&format!("  {why}"));
            continue;
        }
        let why = shortfall::sentence(&service, &tasks, now);
        let why = match why {
            Some(why) => why,
            None => unfinished(&of, &service, &tasks, now).await?,
        };
        if shortfall::lacks_hosts(&service, &tasks) {
            outcome = Settled::CannotBePlaced;
            output::complain(&format!(
                "  {why}; `berth why-not {name} --cluster {}` says what would help",
                of.name()
            ));
        } else {
            output::complain(&format!("  {why}"));
        }
    }
    Ok(outcome)
}

/// The sentence, and how the task of the service ended that failed last, if one did.
async fn with_last_failure(cluster: &Cluster, service: &Service, sentence: String) -> Result<String> {
    let name = service.service_name.as_deref();
    let tasks = cluster.tasks(&cluster.all_task_arns(name).await?).await?;
    let last = shortfall::last_failure(service, &tasks, now());
    Ok(match last {
        Some(last) => format!("{} Its {last}.", sentence.trim_end()),
        None => sentence,
    })
}

/// Why a service that has the tasks it wants is not stable, as far as anything shows it.
async fn unfinished(cluster: &Cluster, service: &Service, tasks: &[Task], now: Timestamp) -> Result<String> {
    let name = service.service_name.as_deref().unwrap_or_default();
    let held = protected::sentences(cluster, tasks).await?;
    let reasons = held.into_iter().chain(shortfall::last_failure(service, tasks, now));
    let reasons: Vec<String> = reasons.collect();
    Ok(match reasons.as_slice() {
        [] => format!("service {name}: a deployment is not finished"),
        reasons => format!("service {name}: a deployment is not finished: {}", reasons.join("; ")),
    })
}

/// Whether the deployment is under way though all tasks run: it bakes, or waits at a hook.
fn goes_through_stages(service: &Service, primary: &Deployment) -> bool {
    let configuration = service.deployment_configuration.as_ref();
    let has_stages = configuration.is_some_and(|configuration| {
        configuration
            .strategy
            .as_ref()
            .is_some_and(|strategy| *strategy != DeploymentStrategy::Rolling)
            || configuration.bake_time_in_minutes.unwrap_or(0) > 0
            || configuration
                .lifecycle_hooks
                .as_ref()
                .is_some_and(|hooks| !hooks.is_empty())
            // They have it bake, if nobody said for how long.
            || configuration.alarms.as_ref().is_some_and(|alarms| alarms.enable == Some(true))
    });
    has_stages && primary.rollout_state == Some(DeploymentRolloutState::InProgress)
}

fn stable(service: &Service) -> Progress {
    let running = service.running_count.unwrap_or(0);
    Progress::Stable(format!("stable, {}", counted::tasks_run(running.into())))
}

/// How far the service is on its way to this revision, or to whichever it is to run.
fn progress(service: &Service, revision: Option<&str>) -> Progress {
    let deployments = service.deployments.as_deref().unwrap_or_default();
    let (desired, running) = (service.desired_count.unwrap_or(0), service.running_count.unwrap_or(0));
    if service.status.as_deref() == Some("DRAINING") {
        return Progress::Over("is being deleted".to_owned());
    }
    if let Some(sets) = &service.task_sets {
        let steady = |set: &&TaskSet| set.stability_status == Some(StabilityStatus::SteadyState);
        return match sets.iter().filter(steady).count() {
            steady if steady == sets.len() => stable(service),
            steady => Progress::Underway(format!("{steady} of {} task sets are steady", sets.len())),
        };
    }
    let Some(primary) = primary(service) else {
        return Progress::Underway("has no deployment yet".to_owned());
    };
    let definition = primary.task_definition.as_deref().map(last_part).unwrap_or_default();
    if primary.rollout_state == Some(DeploymentRolloutState::Failed) {
        let why = primary.rollout_state_reason.as_deref().unwrap_or_default();
        return Progress::Over(format!("the deployment of {definition} failed: {why}"));
    }
    if revision.is_some_and(|revision| revision != definition) {
        return Progress::Over(format!(
            "has been given {definition} instead of {}",
            revision.unwrap_or_default()
        ));
    }
    // Tasks that have just begun to run may fail still, and nothing can return to what is not completed.
    let is_completed = primary.rollout_state != Some(DeploymentRolloutState::InProgress);
    if deployments.len() == 1 && running == desired && is_completed {
        return stable(service);
    }
    let of_primary = primary.running_count.unwrap_or(0);
    let earlier = running - of_primary;
    Progress::Underway(match earlier {
        0 if of_primary == desired && goes_through_stages(service, primary) => {
            format!("all tasks of {definition} run, and its deployment is not over: it bakes, or waits at a hook")
        }
        0 if of_primary == desired && desired > 0 => {
            format!("all tasks of {definition} run, and its deployment is not over")
        }
        0 => format!("{of_primary} of {desired} tasks of {definition} run"),
        earlier => format!("{of_primary} of {desired} tasks of {definition} run, {earlier} earlier ones still"),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::SchedulingStrategy;

    use super::*;

    fn deployment(status: &str, revision: u32, running: i32) -> Deployment {
        Deployment {
            status: Some(status.to_owned()),
            task_definition: Some(format!(
                "arn:aws:ecs:us-east-1:123456789012:task-definition/web:{revision}"
            )),
            running_count: Some(running),
            rollout_state: Some(DeploymentRolloutState::InProgress),
            ..Default::default()
        }
    }

    fn service(running: i32, deployments: Vec<Deployment>) -> Service {
        Service {
            desired_count: Some(3),
            running_count: Some(running),
            deployments: Some(deployments),
            ..Default::default()
        }
    }

    fn completed(revision: u32, running: i32) -> Deployment {
        Deployment {
            rollout_state: Some(DeploymentRolloutState::Completed),
            ..deployment("PRIMARY", revision, running)
        }
    }

    #[tokio::test]
    async fn patience_is_over_for_all_that_share_it() {
        let began = Instant::now();
        let patience = Patience::of(Duration::from_millis(50));
        assert!(!patience.is_over());
        let another = patience;
        patience.pause().await;
        assert!(patience.is_over() && another.is_over());
        another.pause().await;
        assert!(
            began.elapsed() < PAUSE,
            "the second wait begins with what the first left"
        );
    }

    #[test]
    fn service_is_stable_once_its_one_deployment_has_all_tasks_and_is_completed() {
        assert_eq!(
            progress(&service(3, vec![completed(2, 3)]), Some("web:2")),
            Progress::Stable("stable, 3 tasks run".to_owned())
        );
        assert_eq!(
            progress(&service(3, vec![deployment("PRIMARY", 2, 3)]), Some("web:2")),
            Progress::Underway("all tasks of web:2 run, and its deployment is not over".to_owned())
        );
        assert_eq!(
            progress(&service(2, vec![completed(2, 2)]), Some("web:2")),
            Progress::Underway("2 of 3 tasks of web:2 run".to_owned())
        );
        assert_eq!(
            progress(
                &service(4, vec![deployment("PRIMARY", 2, 1), deployment("ACTIVE", 1, 3)]),
                None
            ),
            Progress::Underway("1 of 3 tasks of web:2 run, 3 earlier ones still".to_owned())
        );
        assert_eq!(
            progress(&service(2, vec![deployment("PRIMARY", 2, 2)]), None),
            Progress::Underway("2 of 3 tasks of web:2 run".to_owned())
        );
    }

    #[test]
    fn daemon_service_is_stable_once_its_deployment_is_completed() {
        let of = |state| Service {
            desired_count: Some(0),
            scheduling_strategy: Some(SchedulingStrategy::Daemon),
            ..service(
                0,
                vec![Deployment {
                    rollout_state: Some(state),
                    ..deployment("PRIMARY", 1, 0)
                }],
            )
        };
        let underway = Progress::Underway("0 of 0 tasks of web:1 run".to_owned());
        assert_eq!(progress(&of(DeploymentRolloutState::InProgress), None), underway);
        let stable = Progress::Stable("stable, 0 tasks run".to_owned());
        assert_eq!(progress(&of(DeploymentRolloutState::Completed), None), stable);
    }

    #[test]
    fn service_that_was_rolled_back_is_not_what_was_waited_for() {
        assert_eq!(
            progress(&service(3, vec![deployment("PRIMARY", 1, 3)]), Some("web:2")),
            Progress::Over("has been given web:1 instead of web:2".to_owned())
        );
    }

    #[test]
    fn deployment_that_failed_is_not_waited_for() {
        let failed = Deployment {
            rollout_state: Some(DeploymentRolloutState::Failed),
            rollout_state_reason: Some("tasks failed to start.".to_owned()),
            ..deployment("PRIMARY", 2, 0)
        };
        assert_eq!(
            progress(&service(0, vec![failed]), None),
            Progress::Over("the deployment of web:2 failed: tasks failed to start.".to_owned())
        );
    }
}
