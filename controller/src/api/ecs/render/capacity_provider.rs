//! Capacity providers and strategies over them in answers. Pure.

use berth_aws::ecs::{
    AutoScalingGroupProvider, CapacityProvider as Answer, CapacityProviderStatus, CapacityProviderStrategyItem as Item,
    CapacityProviderType, CapacityProviderUpdateStatus, ManagedDraining, ManagedScaling, ManagedScalingStatus,
    ManagedTerminationProtection,
};
use berth_core::model::{
    CapacityProvider, CapacityProviderStrategyItem, ManagedScaling as Scaling, PredefinedCapacityProvider, Scope,
};

use super::count;
use crate::api::ecs::tags;

/// A capacity provider; its tags only where they were asked for.
pub(in crate::api) fn capacity_provider(provider: &CapacityProvider, with_tags: bool) -> Answer {
    let group = AutoScalingGroupProvider {
        auto_scaling_group_arn: Some(provider.auto_scaling_group_arn.clone()),
        managed_scaling: Some(scaling(provider.managed_scaling.as_ref())),
        managed_termination_protection: Some(match provider.managed_termination_protection {
            true => ManagedTerminationProtection::Enabled,
            false => ManagedTerminationProtection::Disabled,
        }),
        managed_draining: Some(match provider.managed_draining {
            true => ManagedDraining::Enabled,
            false => ManagedDraining::Disabled,
        }),
    };
    Answer {
        capacity_provider_arn: Some(provider.key.arn()),
        name: Some(provider.key.name.to_string()),
        status: Some(CapacityProviderStatus::Active),
        auto_scaling_group_provider: Some(group),
        update_status: Some(match provider.updated {
            true => CapacityProviderUpdateStatus::UpdateComplete,
            false => CapacityProviderUpdateStatus::CreateComplete,
        }),
        tags: Some(if with_tags {
            tags::render(&provider.tags)
        } else {
            vec![]
        }),
        r#type: Some(CapacityProviderType::Ec2Autoscaling),
        ..Answer::default()
    }
}

/// One of ECS's own capacity providers.
pub(in crate::api) fn predefined_capacity_provider(scope: &Scope, provider: PredefinedCapacityProvider) -> Answer {
    Answer {
        capacity_provider_arn: Some(scope.capacity_provider(provider.name()).arn()),
        name: Some(provider.name().to_owned()),
        status: Some(CapacityProviderStatus::Active),
        tags: Some(vec![]),
        r#type: Some(match provider {
            PredefinedCapacityProvider::Fargate => CapacityProviderType::Fargate,
            PredefinedCapacityProvider::FargateSpot => CapacityProviderType::FargateSpot,
        }),
        ..Answer::default()
    }
}

/// Numbers only where somebody gave one or had them take effect, as ECS shows them.
fn scaling(scaling: Option<&Scaling>) -> ManagedScaling {
    let Some(scaling) = scaling else {
        return ManagedScaling {
            status: Some(ManagedScalingStatus::Disabled),
            ..ManagedScaling::default()
        };
    };
    ManagedScaling {
        status: Some(match scaling.enabled {
            true => ManagedScalingStatus::Enabled,
            false => ManagedScalingStatus::Disabled,
        }),
        target_capacity: count(scaling.target_capacity),
        minimum_scaling_step_size: count(scaling.minimum_step),
        maximum_scaling_step_size: count(scaling.maximum_step),
        instance_warmup_period: count(scaling.warmup_secs),
    }
}

/// A strategy.
pub(in crate::api::ecs) fn capacity_provider_strategy(strategy: &[CapacityProviderStrategyItem]) -> Vec<Item> {
    let item = |item: &CapacityProviderStrategyItem| Item {
        capacity_provider: Some(item.capacity_provider.to_string()),
        weight: count(item.weight),
        base: count(item.base),
    };
    strategy.iter().map(item).collect()
}
