//! Capacity providers and strategies over them in answers. Pure.

use berth_aws::ecs::{
    AutoScalingGroupProvider, CapacityProvider as Answer, CapacityProviderStatus, CapacityProviderStrategyItem as Item,
    CapacityProviderType, CapacityProviderUpdateStatus, ManagedDraining, ManagedScaling, ManagedScalingStatus,
    ManagedTerminationProtection,
};
use berth_core::model::{CapacityProvider, CapacityProviderStrategyItem, PredefinedCapacityProvider, Scope};

use super::count;
use crate::api::ecs::tags;

/// A capacity provider; its tags only where they were asked for.
pub(in crate::api) fn capacity_provider(provider: &CapacityProvider, with_tags: bool) -> Answer {
    let group = AutoScalingGroupProvider {
        auto_scaling_group_arn: Some(provider.auto_scaling_group_arn.clone()),
        managed_scaling: Some(ManagedScaling {
            status: Some(ManagedScalingStatus::Disabled),
            ..ManagedScaling::default()
        }),
        managed_termination_protection: Some(ManagedTerminationProtection::Disabled),
        managed_draining: Some(ManagedDraining::Disabled),
    };
    Answer {
        capacity_provider_arn: Some(provider.key.arn()),
        name: Some(provider.key.name.to_string()),
        status: Some(CapacityProviderStatus::Active),
        auto_scaling_group_provider: Some(group),
        update_status: Some(CapacityProviderUpdateStatus::CreateComplete),
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

/// A strategy.
pub(in crate::api::ecs) fn capacity_provider_strategy(strategy: &[CapacityProviderStrategyItem]) -> Vec<Item> {
    let item = |item: &CapacityProviderStrategyItem| Item {
        capacity_provider: Some(item.capacity_provider.to_string()),
        weight: count(item.weight),
        base: count(item.base),
    };
    strategy.iter().map(item).collect()
}
