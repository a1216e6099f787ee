//! Networks of tasks that have an address of their own: what is asked for, and what a task has got (ECS's network mode `awsvpc`).

use serde::{Deserialize, Serialize};

use super::{NetworkMode, PlacementConstraint, TaskDefinition, attribute_names};

/// The launch type of tasks that go to hosts which offer it alone.
pub const FARGATE: &str = "FARGATE";

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
    /// What a host has to say of itself for a task of this definition and launch type to go there.
    #[must_use]
    pub fn required_attributes(
        &self,
        network: Option<&NetworkConfiguration>,
        launch_type: Option<&str>,
    ) -> Vec<PlacementConstraint> {
        let needs = |name: &str, values: Vec<String>| PlacementConstraint::Attribute {
            name: name.to_owned(),
            values,
        };
        let mut needed = vec![];
        if launch_type == Some(FARGATE) {
            needed.push(needs(attribute_names::FARGATE, vec![]));
        }
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
