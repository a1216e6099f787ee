//! Attributes of container instances: names with optional values, which constraints and strategies speak of.

use std::collections::BTreeMap;

/// Attributes by name; a value may be absent.
pub type Attributes = BTreeMap<String, Option<String>>;

/// Attribute names that the agent sets itself.
pub mod names {
    /// Zone that services spread over.
    pub const AVAILABILITY_ZONE: &str = "ecs.availability-zone";
    /// Operating system, `linux`.
    pub const OS_TYPE: &str = "ecs.os-type";
    /// CPU architecture, `x86_64` or `arm64`.
    pub const CPU_ARCHITECTURE: &str = "ecs.cpu-architecture";
    /// Present where tasks can have an address of their own (ECS's name).
    pub const TASK_ENI: &str = "ecs.capability.task-eni";
    /// Present where tasks of the launch type `FARGATE` go; its value is what runs their containers.
    pub const FARGATE: &str = "berth.fargate";
    /// Present where tasks of the capacity provider `FARGATE_SPOT` go; its value is what runs their containers.
    pub const FARGATE_SPOT: &str = "berth.fargate-spot";
    /// Present where several containers of a task of the launch type `FARGATE` can share its network.
    pub const FARGATE_SIDECARS: &str = "berth.fargate-sidecars";
    /// Present where the agent can put its host to sleep.
    pub const SLEEP: &str = "berth.sleep";
    /// Addresses of the network interfaces of such a host, for those who wake it, divided by spaces.
    pub const MAC_ADDRESSES: &str = "berth.mac-addresses";
    /// Shown of hosts that are not awake: where they are between awake and asleep.
    pub const POWER: &str = "berth.power";
    /// Shown of hosts that did not sleep or wake when they were to: why.
    pub const POWER_TROUBLE: &str = "berth.power-trouble";
    /// What the subnet of those addresses is called (ECS's name).
    pub const SUBNET_ID: &str = "ecs.subnet-id";
}
