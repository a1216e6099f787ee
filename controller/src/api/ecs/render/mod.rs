//! Answers: what the model knows in the shapes of ECS, with the defaults that ECS returns, since tools that hold answers against their
//! own files would else see a difference on every run. Pure.

mod capacity_provider;
pub(crate) mod cluster;
pub(crate) mod container_instance;
mod daemon;
mod daemon_task_definition;
pub(crate) mod event;
mod network_interface;
mod service;
mod service_deployment;
mod task;
mod task_definition;
mod task_set;

pub(in crate::api) use capacity_provider::{capacity_provider, predefined_capacity_provider};
pub(super) use daemon::{
    daemon, daemon_deployment, daemon_deployment_status, daemon_deployment_summary, daemon_revision, daemon_status,
    daemon_summary, daemon_updated_at, first_deployment_arn, newest_deployment_arn,
};
pub(super) use daemon_task_definition::{
    daemon_task_definition, daemon_task_definition_status, daemon_task_definition_summary,
};
pub(in crate::api) use service::service;
pub(super) use service_deployment::{
    service_deployment, service_deployment_brief, service_revision, status as service_deployment_status,
};
pub(in crate::api) use task::task;
pub(in crate::api) use task_definition::task_definition;
pub(super) use task_set::task_set;

use berth_core::model::{Timestamp, TransportProtocol};

/// A time of an answer.
pub(in crate::api::ecs) fn time(at: Timestamp) -> berth_aws::Timestamp {
    berth_aws::Timestamp(at.0)
}

/// A count as ECS's integers hold it.
pub(crate) fn count(number: impl TryInto<i32>) -> Option<i32> {
    Some(number.try_into().unwrap_or(i32::MAX))
}

fn protocol(protocol: TransportProtocol) -> berth_aws::ecs::TransportProtocol {
    match protocol {
        TransportProtocol::Tcp => berth_aws::ecs::TransportProtocol::Tcp,
        TransportProtocol::Udp => berth_aws::ecs::TransportProtocol::Udp,
    }
}

/// An optional list: absent if empty, as ECS leaves it out.
fn unless_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
