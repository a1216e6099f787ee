//! Protected tasks of which something has to wait, in words.

use anyhow::Result;
use berth_aws::ecs::operations::GetTaskProtection;
use berth_aws::ecs::{DesiredStatus, GetTaskProtectionRequest, Task};

use crate::cluster::{Cluster, last_part};
use crate::short_id;

/// Tasks in one request (ECS: 100).
const MAX_NAMED: usize = 100;

/// Tasks that are named, of those that are protected.
const MAX_TOLD: usize = 5;

/// A sentence for each of `tasks` that is to run and is protected, and how many more there are.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn sentences(cluster: &Cluster, tasks: &[Task]) -> Result<Vec<String>> {
    let wanted = tasks
        .iter()
        .filter(|task| task.desired_status.as_deref() == Some(DesiredStatus::Running.as_str()));
    let wanted: Vec<String> = wanted.filter_map(|task| task.task_arn.clone()).collect();
    let mut told = vec![];
    for tasks in wanted.chunks(MAX_NAMED) {
        let request = GetTaskProtectionRequest {
            cluster: cluster.named(),
            tasks: Some(tasks.to_vec()),
        };
        let answer = cluster.call::<GetTaskProtection>(&request).await?;
        for task in answer.protected_tasks.into_iter().flatten() {
            if task.protection_enabled == Some(true) {
                let id = task.task_arn.as_deref().map(last_part).unwrap_or_default();
                let until = task
                    .expiration_date
                    .and_then(|at| jiff::Timestamp::from_millisecond(at.0).ok());
                let until = until.map_or(String::new(), |at| format!(" until {at:.0}"));
                told.push(format!("task {} is protected{until}", short_id::shown(id)));
            }
        }
    }
    let more = told.len().saturating_sub(MAX_TOLD);
    told.truncate(MAX_TOLD);
    if more > 0 {
        told.push(format!("{more} more tasks are protected"));
    }
    Ok(told)
}
