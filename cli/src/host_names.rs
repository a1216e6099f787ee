//! Names of hosts by the ARN of their container instance: what people call a machine, for what the API calls it.
//!
//! Owns that mapping. Shell, but for the choice of a name, which is pure.

use std::collections::BTreeMap;

use anyhow::Result;
use berth_aws::ecs::{ContainerInstance, DesiredStatus, LaunchType, Task};

use crate::cluster::{Cluster, last_part};

/// Names by ARN.
pub(crate) type HostNames = BTreeMap<String, String>;

/// Names of the hosts that the tasks are on.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn of_tasks(cluster: &Cluster, tasks: &[Task]) -> Result<HostNames> {
    let mut arns: Vec<String> = tasks
        .iter()
        .filter_map(|task| task.container_instance_arn.clone())
        .collect();
    arns.sort_unstable();
    arns.dedup();
    let hosts = cluster.hosts(&arns).await?;
    Ok(hosts
        .into_iter()
        .filter_map(|host| Some((host.container_instance_arn.clone()?, name(&host))))
        .collect())
}

/// Says of tasks of the launch type FARGATE which host they are on. ECS does not show it; who has the hosts may ask each what it has.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn find_hosts_of_fargate(cluster: &Cluster, tasks: &mut [Task]) -> Result<()> {
    let is_hidden =
        |task: &Task| task.launch_type == Some(LaunchType::Fargate) && task.container_instance_arn.is_none();
    let any = |wanted: &str| {
        let mut hidden = tasks.iter().filter(|task| is_hidden(task));
        hidden.any(|task| task.desired_status.as_deref() == Some(wanted))
    };
    let asked = [DesiredStatus::Running, DesiredStatus::Stopped];
    let asked: Vec<DesiredStatus> = asked.into_iter().filter(|wanted| any(wanted.as_str())).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let mut places = BTreeMap::new();
    for host in cluster.host_arns().await? {
        for wanted in &asked {
            let arns = cluster.fargate_task_arns(&host, *wanted).await?;
            places.extend(arns.into_iter().map(|task| (task, host.clone())));
        }
    }
    for task in tasks.iter_mut().filter(|task| is_hidden(task)) {
        task.container_instance_arn = task.task_arn.as_ref().and_then(|arn| places.get(arn).cloned());
    }
    Ok(())
}

/// The host's name, its id if it has none.
pub(crate) fn name(host: &ContainerInstance) -> String {
    let given = host.ec2_instance_id.as_ref().filter(|name| !name.is_empty());
    given.cloned().unwrap_or_else(|| id(host).to_owned())
}

/// The id of its container instance.
pub(crate) fn id(host: &ContainerInstance) -> &str {
    host.container_instance_arn
        .as_deref()
        .map(last_part)
        .unwrap_or_default()
}

/// What names are sorted by: numbers at their ends count as numbers, so that `host-9` comes before `host-10`.
pub(crate) fn order(name: &str) -> (&str, u64) {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (word, name[word.len()..].parse().unwrap_or(0))
}
