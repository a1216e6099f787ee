//! `berth ps`: lists the tasks of a cluster with their hosts and ports.
//!
//! Owns the columns. Shell, but for the rendering, which is pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use berth_aws::ecs::operations::{DescribeContainerInstances, DescribeTasks, ListTasks};
use berth_aws::ecs::{
    ContainerInstance, DescribeContainerInstancesRequest, DescribeTasksRequest, DesiredStatus, ListTasksRequest,
    NetworkBinding, Task,
};
use clap::Args;

use crate::client::Client;
use crate::output::{self, Table};
use crate::target::TargetArguments;

/// How many tasks or container instances ECS describes in one call.
const DESCRIBE_LIMIT: usize = 100;

/// Flags of `berth ps`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Only tasks of this service
    #[arg(long, short)]
    service: Option<String>,
    /// Stopped tasks too, for as long as the cluster remembers them
    #[arg(long, short)]
    all: bool,
}

/// Prints the tasks.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let target = arguments.target.find()?;
    let client = target.client()?;
    let cluster = target.cluster;
    let service = arguments.service.as_deref();
    let mut arns = list_tasks(&client, &cluster, service, DesiredStatus::Running).await?;
    // A task that is being stopped is listed under the status that is wanted of it.
    let stopping = list_tasks(&client, &cluster, service, DesiredStatus::Stopped).await?;
    arns.extend(stopping);
    let mut tasks = describe_tasks(&client, &cluster, &arns).await?;
    tasks.retain(|task| arguments.all || task.last_status.as_deref() != Some("STOPPED"));
    tasks.sort_by(|a, b| {
        (&a.group, &a.availability_zone, &a.task_arn).cmp(&(&b.group, &b.availability_zone, &b.task_arn))
    });
    let hosts = describe_hosts(&client, &cluster, &tasks).await?;
    output::line(&table(&tasks, &hosts))
}

/// ARNs of the tasks of a cluster, or of one of its services, of which this is wanted.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn list_tasks(
    client: &Client,
    cluster: &str,
    service: Option<&str>,
    wanted: DesiredStatus,
) -> Result<Vec<String>> {
    let mut arns = Vec::new();
    let mut next_token = None;
    loop {
        let request = ListTasksRequest {
            cluster: Some(cluster.to_owned()),
            service_name: service.map(str::to_owned),
            desired_status: Some(wanted),
            next_token,
            ..Default::default()
        };
        let page = client.call::<ListTasks>(&request).await?;
        arns.extend(page.task_arns.unwrap_or_default());
        next_token = page.next_token.filter(|token| !token.is_empty());
        if next_token.is_none() {
            return Ok(arns);
        }
    }
}

async fn describe_tasks(client: &Client, cluster: &str, arns: &[String]) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for arns in arns.chunks(DESCRIBE_LIMIT) {
        let request = DescribeTasksRequest {
            cluster: Some(cluster.to_owned()),
            tasks: Some(arns.to_vec()),
            ..Default::default()
        };
        tasks.extend(client.call::<DescribeTasks>(&request).await?.tasks.unwrap_or_default());
    }
    Ok(tasks)
}

/// Names of the hosts that the tasks are on, by the ARN of the container instance.
async fn describe_hosts(client: &Client, cluster: &str, tasks: &[Task]) -> Result<BTreeMap<String, String>> {
    let mut arns: Vec<String> = tasks
        .iter()
        .filter_map(|task| task.container_instance_arn.clone())
        .collect();
    arns.sort_unstable();
    arns.dedup();
    let mut hosts = BTreeMap::new();
    for arns in arns.chunks(DESCRIBE_LIMIT) {
        let request = DescribeContainerInstancesRequest {
            cluster: Some(cluster.to_owned()),
            container_instances: Some(arns.to_vec()),
            ..Default::default()
        };
        let answer = client.call::<DescribeContainerInstances>(&request).await?;
        for instance in answer.container_instances.unwrap_or_default() {
            let arn = instance
                .container_instance_arn
                .clone()
                .context("the controller described a container instance without its ARN")?;
            hosts.insert(arn, host_name(&instance));
        }
    }
    Ok(hosts)
}

fn host_name(instance: &ContainerInstance) -> String {
    let id = instance
        .container_instance_arn
        .as_deref()
        .map(last_part)
        .unwrap_or_default();
    instance.ec2_instance_id.clone().unwrap_or_else(|| id.to_owned())
}

fn table(tasks: &[Task], hosts: &BTreeMap<String, String>) -> String {
    let mut table = Table::new(&["TASK", "GROUP", "DEFINITION", "STATUS", "ZONE", "HOST", "PORTS"]);
    for task in tasks {
        let part = |text: &Option<String>| text.as_deref().map(last_part).unwrap_or_default().to_owned();
        let host = task.container_instance_arn.as_ref().and_then(|arn| hosts.get(arn));
        table.row([
            part(&task.task_arn),
            task.group.clone().unwrap_or_default(),
            part(&task.task_definition_arn),
            task.last_status.clone().unwrap_or_default(),
            task.availability_zone.clone().unwrap_or_default(),
            host.cloned().unwrap_or_default(),
            ports(task),
        ]);
    }
    table.render()
}

fn ports(task: &Task) -> String {
    let containers = task.containers.as_deref().unwrap_or_default();
    let bindings = containers
        .iter()
        .flat_map(|container| container.network_bindings.as_deref().unwrap_or_default());
    bindings.filter_map(port).collect::<Vec<_>>().join(",")
}

fn port(binding: &NetworkBinding) -> Option<String> {
    let (host, container) = (binding.host_port?, binding.container_port?);
    let protocol = binding.protocol.as_ref().map_or("tcp", |protocol| protocol.as_str());
    Some(if host == container {
        format!("{host}/{protocol}")
    } else {
        format!("{host}->{container}/{protocol}")
    })
}

/// What stands after the last slash of an ARN.
pub(crate) fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::{Container, TransportProtocol};

    use super::*;

    #[test]
    fn table_of_a_placed_task_shows_host_and_ports() {
        let binding = NetworkBinding {
            host_port: Some(32768),
            container_port: Some(80),
            protocol: Some(TransportProtocol::Tcp),
            ..Default::default()
        };
        let task = Task {
            task_arn: Some("arn:aws:ecs:us-east-1:123456789012:task/shop/0123".to_owned()),
            task_definition_arn: Some("arn:aws:ecs:us-east-1:123456789012:task-definition/web:3".to_owned()),
            container_instance_arn: Some("host".to_owned()),
            group: Some("service:web".to_owned()),
            last_status: Some("RUNNING".to_owned()),
            availability_zone: Some("us-east-1a".to_owned()),
            containers: Some(vec![Container {
                network_bindings: Some(vec![binding]),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let hosts = BTreeMap::from([("host".to_owned(), "host-1".to_owned())]);
        let text = table(&[task], &hosts);
        let row: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(
            row,
            [
                "0123",
                "service:web",
                "web:3",
                "RUNNING",
                "us-east-1a",
                "host-1",
                "32768->80/tcp"
            ]
        );
    }

    #[test]
    fn table_of_an_unplaced_task_shows_dashes() {
        let text = table(&[Task::default()], &BTreeMap::new());
        let row: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(row, ["-"; 7]);
    }
}
