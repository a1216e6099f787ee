//! Task sets in answers. Pure.

use berth_aws::ecs::{Scale, ScaleUnit, StabilityStatus, TaskSet as AwsTaskSet};
use berth_core::model::{Service, TaskSet, TaskSetStatus};
use berth_core::state::ClusterState;

use super::capacity_provider::capacity_provider_strategy;
use super::service::launched;
use super::{count, time, unless_empty};
use crate::api::ecs::{launch_type, network_configuration, tags};

/// A task set with its counts; its tags only where they were asked for.
pub(in crate::api::ecs) fn task_set(
    state: &ClusterState,
    service: &Service,
    set: &TaskSet,
    with_tags: bool,
) -> AwsTaskSet {
    let (platform_version, platform_family) = launch_type::platform(set.launches_on(), set.platform_version);
    let counts = state.task_counts(&service.key).of(service, &set.id);
    AwsTaskSet {
        id: Some(set.id.as_str().to_owned()),
        task_set_arn: Some(service.key.task_set_arn(&set.id)),
        service_arn: Some(service.key.arn()),
        cluster_arn: Some(service.key.cluster.arn()),
        external_id: set.external_id.clone(),
        status: Some(status(set.status).to_owned()),
        task_definition: Some(set.task_definition.arn()),
        computed_desired_count: count(set.computed_desired_count(service.desired_count)),
        pending_count: count(counts.pending),
        running_count: count(counts.running),
        created_at: Some(time(set.created_at)),
        updated_at: Some(time(set.updated_at)),
        launch_type: launched(&set.capacity_provider_strategy, set.launch_type.as_deref()),
        platform_family,
        platform_version,
        capacity_provider_strategy: unless_empty(&capacity_provider_strategy(&set.capacity_provider_strategy)),
        network_configuration: set.network_configuration.as_ref().map(network_configuration::render),
        load_balancers: Some(vec![]),
        service_registries: Some(vec![]),
        scale: Some(Scale {
            value: Some(set.scale.percent()),
            unit: Some(ScaleUnit::Percent),
        }),
        stability_status: Some(match set.steady {
            true => StabilityStatus::SteadyState,
            false => StabilityStatus::Stabilizing,
        }),
        stability_status_at: Some(time(set.steady_at)),
        tags: Some(if with_tags { tags::render(&set.tags) } else { vec![] }),
        ..Default::default()
    }
}

fn status(status: TaskSetStatus) -> &'static str {
    match status {
        TaskSetStatus::Primary => "PRIMARY",
        TaskSetStatus::Active => "ACTIVE",
        TaskSetStatus::Draining => "DRAINING",
    }
}
