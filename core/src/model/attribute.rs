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
    /// What the subnet of those addresses is called (ECS's name).
    pub const SUBNET_ID: &str = "ecs.subnet-id";
}
