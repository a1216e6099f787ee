//! Protection of tasks in answers: how long a task is protected, and why it cannot be. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{Failure, ProtectedTask};
use berth_core::model::{ClusterKey, DesiredStatus, Task, Timestamp};
use berth_core::state::ClusterState;

use super::references::{self, Lookup};
use super::render;
use crate::api::errors::invalid;

/// The tasks that a request names, each found or why it cannot be looked at.
///
/// # Errors
/// `InvalidParameterException` for none, for more than `most`, and for text that cannot name a task.
pub(super) fn find<'s>(
    state: &'s ClusterState,
    cluster: &ClusterKey,
    names: Option<Vec<String>>,
    most: usize,
) -> Result<Vec<Result<&'s Task, Failure>>, AwsError> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    if names.len() > most {
        return Err(invalid(format!("Tasks must not be more than {most}.")));
    }
    let found = names.iter().map(|name| {
        Ok(match references::task(state, cluster, name)? {
            Lookup::Missing(arn) => Err(references::missing(arn)),
            Lookup::Found(task) if task.is_of_daemon() => Err(not_valid(
                task,
                "The task belongs to a daemon, and those of daemons are not protected.",
            )),
            Lookup::Found(task) if task.service().is_none() => Err(not_valid(task, "The task belongs to no service.")),
            Lookup::Found(task) => Ok(&**task),
        })
    });
    found.collect()
}

/// Why the protection of a task that was found was not changed; `None` if it was.
pub(super) fn failure(task: &Task, is_wanted: bool, now: Timestamp) -> Option<Failure> {
    if task.desired_status != DesiredStatus::Running {
        return Some(not_valid(task, "The task is about to stop, or has stopped."));
    }
    (is_wanted && !task.is_protected(now)).then(|| {
        failed(
            task,
            "DEPLOYMENT_BLOCKED",
            "With this task more would be protected than the service wants, and no deployment could end. Wait until the protection of \
             others expires, end it, or raise the desired count.",
        )
    })
}

/// A task with its protection.
pub(super) fn protected(task: &Task, now: Timestamp) -> ProtectedTask {
    let until = task.protected_until.filter(|_| task.is_protected(now));
    ProtectedTask {
        task_arn: Some(task.arn()),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(render::time),
    }
}

fn not_valid(task: &Task, detail: &str) -> Failure {
    failed(task, "TASK_NOT_VALID", detail)
}

fn failed(task: &Task, reason: &str, detail: &str) -> Failure {
    Failure {
        arn: Some(task.arn()),
        reason: Some(reason.to_owned()),
        detail: Some(detail.to_owned()),
    }
}
