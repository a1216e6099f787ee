//! What ECS shows of a cluster. Pure.

use std::cmp::Ordering;

use berth_aws::ecs::{Cluster as Answer, ClusterField, ClusterSetting, ClusterSettingName, KeyValuePair};
use berth_core::model::{
    Cluster, ClusterStatus, ContainerInstanceId, FARGATE, ServiceStatus, TaskStatus, attribute_names,
};
use berth_core::state::ClusterState;

use super::capacity_provider::capacity_provider_strategy;
use super::count;
use crate::api::ecs::tags;

/// The value of `containerInsights` where none was set.
const CONTAINER_INSIGHTS_DEFAULT: &str = "disabled";

/// The cluster, with what `include` asks for.
pub(crate) fn cluster(state: &ClusterState, cluster: &Cluster, include: &[ClusterField]) -> Answer {
    let numbers = Numbers::of(state, cluster);
    let statistics = include.contains(&ClusterField::Statistics);
    let settings = include.contains(&ClusterField::Settings);
    let tags = include.contains(&ClusterField::Tags);
    let attachments = include.contains(&ClusterField::Attachments);
    Answer {
        cluster_arn: Some(cluster.key.arn()),
        cluster_name: Some(cluster.key.name.to_string()),
        status: Some(status(cluster.status).to_owned()),
        registered_container_instances_count: count(numbers.container_instances),
        running_tasks_count: count(numbers.running_tasks),
        pending_tasks_count: count(numbers.pending_tasks),
        active_services_count: count(numbers.active_services),
        statistics: Some(if statistics { numbers.statistics() } else { vec![] }),
        tags: Some(if tags { tags::render(&cluster.tags) } else { vec![] }),
        settings: Some(if settings { self::settings(cluster) } else { vec![] }),
        capacity_providers: Some(cluster.capacity_providers.iter().map(ToString::to_string).collect()),
        default_capacity_provider_strategy: Some(capacity_provider_strategy(
            &cluster.default_capacity_provider_strategy,
        )),
        attachments: attachments.then(Vec::new),
        ..Answer::default()
    }
}

fn status(status: ClusterStatus) -> &'static str {
    match status {
        ClusterStatus::Active => "ACTIVE",
        ClusterStatus::Inactive => "INACTIVE",
    }
}

fn settings(cluster: &Cluster) -> Vec<ClusterSetting> {
    let name = ClusterSettingName::ContainerInsights;
    let set = cluster.settings.iter().find(|setting| setting.name == name.as_str());
    vec![ClusterSetting {
        name: Some(name),
        value: Some(set.map_or_else(
            || CONTAINER_INSIGHTS_DEFAULT.to_owned(),
            |setting| setting.value.clone(),
        )),
    }]
}

#[derive(Default)]
struct Numbers {
    container_instances: usize,
    running_tasks: u64,
    pending_tasks: u64,
    running_on_fargate: u64,
    pending_on_fargate: u64,
    active_services: usize,
    draining_services: usize,
    active_on_fargate: usize,
    draining_on_fargate: usize,
}

impl Numbers {
    /// Counts by host, not by task: a cluster remembers many more tasks, stopped ones, than it has hosts.
    fn of(state: &ClusterState, cluster: &Cluster) -> Self {
        let mut numbers = Self {
            pending_tasks: u64::try_from(state.provisioning_count(&cluster.key)).unwrap_or(u64::MAX),
            ..Self::default()
        };
        for instance in state.container_instances_of(&cluster.key) {
            let allocation = state.allocation(instance.id);
            numbers.container_instances += 1;
            numbers.running_tasks += u64::from(allocation.running_tasks());
            numbers.pending_tasks += u64::from(allocation.pending_tasks());
            let of_fargate = [attribute_names::FARGATE, attribute_names::FARGATE_SPOT];
            if of_fargate.iter().any(|name| instance.attribute(name).is_some()) {
                numbers.count_fargate(state, instance.id);
            }
        }
        for service in state.services_of(&cluster.key) {
            match service.status {
                ServiceStatus::Active => {
                    numbers.active_services += 1;
                    numbers.active_on_fargate += usize::from(service.launches_on() == Some(FARGATE));
                }
                ServiceStatus::Draining => {
                    numbers.draining_services += 1;
                    numbers.draining_on_fargate += usize::from(service.launches_on() == Some(FARGATE));
                }
                ServiceStatus::Inactive => {}
            }
        }
        numbers
    }

    fn count_fargate(&mut self, state: &ClusterState, host: ContainerInstanceId) {
        for task in state.tasks_of_instance(host) {
            if task.launch_type.as_deref() != Some(FARGATE) {
                continue;
            }
            match task.last_status.cmp(&TaskStatus::Running) {
                Ordering::Less => self.pending_on_fargate += 1,
                Ordering::Equal => self.running_on_fargate += 1,
                Ordering::Greater => {}
            }
        }
    }

    /// The counts by launch type: all that Berth runs is of type EC2 or FARGATE, on hosts of the cluster.
    fn statistics(&self) -> Vec<KeyValuePair> {
        let pair = |name: &str, value: String| KeyValuePair {
            name: Some(name.to_owned()),
            value: Some(value),
        };
        let none = || "0".to_owned();
        vec![
            pair(
                "runningEC2TasksCount",
                (self.running_tasks - self.running_on_fargate).to_string(),
            ),
            pair("runningFargateTasksCount", self.running_on_fargate.to_string()),
            pair("runningExternalTasksCount", none()),
            pair(
                "pendingEC2TasksCount",
                (self.pending_tasks - self.pending_on_fargate).to_string(),
            ),
            pair("pendingFargateTasksCount", self.pending_on_fargate.to_string()),
            pair("pendingExternalTasksCount", none()),
            pair(
                "activeEC2ServiceCount",
                (self.active_services - self.active_on_fargate).to_string(),
            ),
            pair("activeFargateServiceCount", self.active_on_fargate.to_string()),
            pair("activeExternalServiceCount", none()),
            pair(
                "drainingEC2ServiceCount",
                (self.draining_services - self.draining_on_fargate).to_string(),
            ),
            pair("drainingFargateServiceCount", self.draining_on_fargate.to_string()),
            pair("drainingExternalServiceCount", none()),
        ]
    }
}
