//! Networks of tasks that have an address of their own: what is asked for, and what a task has got (ECS's network mode `awsvpc`).

use serde::{Deserialize, Serialize};

use super::{
    CapacityProviderStrategyItem, FARGATE, NetworkMode, PlacementConstraint, TaskDefinition, attribute_names,
    launch_type_of,
};

/// Where tasks of the network mode `awsvpc` get their addresses from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfiguration {
    /// Subnets, as hosts call theirs in the attribute `ecs.subnet-id`: a task goes to a host of one of them.
    pub subnets: Vec<String>,
    /// Security groups as given.
    pub security_groups: Vec<String>,
}

/// The network interface of a task that has an address of its own, as its host reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// Its address, at which the host reaches the task.
    pub private_ipv4_address: String,
    /// Its MAC address.
    pub mac_address: String,
    /// The subnet of its host.
    pub subnet_id: String,
    /// The name that its containers have for themselves.
    pub private_dns_name: String,
}

impl TaskDefinition {
    /// What a host has to say of itself for a task of this definition to go there, which is asked for with a launch type or a strategy. What the
    /// capacity provider of a task asks of its host is beside that.
    #[must_use]
    pub fn required_attributes(
        &self,
        network: Option<&NetworkConfiguration>,
        launch_type: Option<&str>,
        strategy: &[CapacityProviderStrategyItem],
    ) -> Vec<PlacementConstraint> {
        let needs = |name: &str, values: Vec<String>| PlacementConstraint::Attribute {
            name: name.to_owned(),
            values,
        };
        let mut needed = vec![];
        if launch_type_of(strategy, launch_type) == Some(FARGATE) {
            if strategy.is_empty() {
                needed.push(needs(attribute_names::FARGATE, vec![]));
            }
            if self.containers.len() > 1 {
                needed.push(needs(attribute_names::FARGATE_SIDECARS, vec![]));
            }
        }
        needed.extend(
            self.runtime_platform
                .iter()
                .flat_map(|platform| platform.required_attributes()),
        );
        if self.network_mode == NetworkMode::Awsvpc {
            let subnets = network.map(|given| given.subnets.clone()).unwrap_or_default();
            needed.push(needs(attribute_names::TASK_ENI, vec![]));
            if !subnets.is_empty() {
                needed.push(needs(attribute_names::SUBNET_ID, subnets));
            }
        }
        needed
    }
}
