//! `CreateCapacityProvider`: a pool of hosts, which `autoScalingGroupProvider` names. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{CreateCapacityProviderRequest, CreateCapacityProviderResponse};
use berth_core::model::{CapacityProvider, CapacityProviderKey, ManagedScaling};
use berth_core::state::Command;

use super::capacity_providers::Managed;
use super::tags::{self, Carrier};
use super::{capacity_providers, render};
use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::members::{Honoured, refuse_others};

pub(super) const HONOURED: Honoured = Honoured::Members(&[
    ("name", Honoured::All),
    ("autoScalingGroupProvider", capacity_providers::GROUP),
    ("tags", Honoured::All),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: CreateCapacityProviderRequest,
) -> Result<CreateCapacityProviderResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    capacity_providers::check_level(&*api.read().await?)?;
    let name = capacity_providers::new_name(input.name.as_deref().unwrap_or_default())?;
    let group = input.auto_scaling_group_provider.as_ref();
    let managed = Managed::of(
        group.and_then(|group| group.managed_scaling.as_ref()),
        group.and_then(|group| group.managed_termination_protection.as_ref()),
        group.and_then(|group| group.managed_draining.as_ref()),
    );
    let auto_scaling_group_arn = capacity_providers::group_of(&name, group)?;
    managed.check(api)?;
    let scaling = managed.scaling.filter(|_| managed.asks_for_something());
    let managed_scaling = scaling.map(|changes| ManagedScaling::default().with(&changes));
    let is_scaled = managed_scaling.is_some_and(|scaling| scaling.enabled);
    let provider = CapacityProvider {
        auto_scaling_group_arn,
        managed_scaling,
        managed_termination_protection: managed.termination_protection.unwrap_or(false),
        // ECS drains where nobody says otherwise.
        managed_draining: managed.draining.unwrap_or(is_scaled),
        updated: false,
        key: CapacityProviderKey {
            scope: call.scope.clone(),
            name,
        },
        tags: tags::from_request(Carrier::CapacityProvider, input.tags)?,
        created_at: call.now,
    };
    let key = provider.key.clone();
    api.propose(Command::CreateCapacityProvider(provider)).await?;
    let state = api.read().await?;
    let created = state
        .capacity_provider(&key)
        .ok_or_else(|| errors::capacity_provider_not_found(&key))?;
    Ok(CreateCapacityProviderResponse {
        capacity_provider: Some(render::capacity_provider(created, true)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateCapacityProvider, DescribeCapacityProviders, ListTagsForResource, TagResource,
    };
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    fn request(group: Value) -> Value {
        json!({"name": "gpu", "autoScalingGroupProvider": group, "tags": [{"key": "k", "value": "v"}]})
    }

    #[tokio::test]
    async fn capacity_provider_comes_back_with_all_that_is_managed_disabled() {
        let arn = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1-2-3:autoScalingGroupName/gpu";
        for group in ["gpu", arn] {
            let harness = Harness::new();
            let given = json!({"autoScalingGroupArn": group, "managedScaling": {"status": "DISABLED"}});
            let answer = harness
                .call::<CreateCapacityProvider>(request(given))
                .await
                .expect("created");
            assert_eq!(
                answer["capacityProvider"],
                json!({
                    "capacityProviderArn": "arn:aws:ecs:us-east-1:123456789012:capacity-provider/gpu",
                    "name": "gpu", "status": "ACTIVE", "updateStatus": "CREATE_COMPLETE", "type": "EC2_AUTOSCALING",
                    "autoScalingGroupProvider": {
                        "autoScalingGroupArn": group, "managedScaling": {"status": "DISABLED"},
                        "managedTerminationProtection": "DISABLED", "managedDraining": "DISABLED"
                    },
                    "tags": [{"key": "k", "value": "v"}]
                })
            );
        }
    }

    #[tokio::test]
    async fn what_contradicts_itself_or_names_other_hosts_is_refused_and_nothing_is_made() {
        let harness = Harness::new();
        let group = |more: Value| {
            let mut group = json!({"autoScalingGroupArn": "gpu"});
            for (name, value) in more.as_object().expect("members") {
                group[name] = value.clone();
            }
            request(group)
        };
        for (input, part) in [
            (
                group(json!({"managedScaling": {
                    "status": "ENABLED", "minimumScalingStepSize": 5, "maximumScalingStepSize": 4
                }})),
                "minimumScalingStepSize 5 is larger than the maximumScalingStepSize 4",
            ),
            (
                group(json!({"managedTerminationProtection": "ENABLED"})),
                "managedTerminationProtection cannot be ENABLED",
            ),
            (
                group(json!({"autoScalingGroupArn": "other"})),
                "--capacity-provider gpu",
            ),
            (json!({"name": "gpu"}), "autoScalingGroupProvider.autoScalingGroupArn"),
            (
                json!({"name": "ecs-1", "autoScalingGroupProvider": {"autoScalingGroupArn": "ecs-1"}}),
                "cannot be prefixed",
            ),
            (
                json!({"name": "a b", "autoScalingGroupProvider": {"autoScalingGroupArn": "a b"}}),
                "name is invalid",
            ),
            (
                json!({"name": "gpu", "cluster": "c", "autoScalingGroupProvider": {"autoScalingGroupArn": "gpu"}}),
                "cluster",
            ),
        ] {
            let error = harness.call::<CreateCapacityProvider>(input).await.expect_err(part);
            assert_eq!(error.kind.code, "ClientException");
            assert!(error.message.contains(part), "{}", error.message);
        }
        let all = harness
            .call::<DescribeCapacityProviders>(json!({}))
            .await
            .expect("described");
        let mut names = all["capacityProviders"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|provider| &provider["name"]);
        assert!(names.all(|name| name == "FARGATE" || name == "FARGATE_SPOT"), "{all}");
    }

    #[tokio::test]
    async fn managed_scaling_comes_back_with_the_defaults_of_ecs() {
        let harness = Harness::new();
        let given =
            json!({"autoScalingGroupArn": "gpu", "managedScaling": {"status": "ENABLED", "targetCapacity": 90}});
        let answer = harness
            .call::<CreateCapacityProvider>(request(given))
            .await
            .expect("created");
        assert_eq!(
            answer["capacityProvider"]["autoScalingGroupProvider"],
            json!({
                "autoScalingGroupArn": "gpu",
                "managedScaling": {
                    "status": "ENABLED", "targetCapacity": 90, "minimumScalingStepSize": 1, "maximumScalingStepSize": 10_000,
                    "instanceWarmupPeriod": 300
                },
                "managedTerminationProtection": "DISABLED", "managedDraining": "ENABLED"
            })
        );
    }

    #[tokio::test]
    async fn managed_draining_needs_no_managed_scaling_since_machines_shut_down_by_themselves() {
        let harness = Harness::without_wake_command();
        let given = json!({"autoScalingGroupArn": "gpu", "managedDraining": "ENABLED"});
        let answer = harness
            .call::<CreateCapacityProvider>(request(given))
            .await
            .expect("created");
        let group = &answer["capacityProvider"]["autoScalingGroupProvider"];
        assert_eq!(
            (&group["managedDraining"], &group["managedScaling"]),
            (&json!("ENABLED"), &json!({"status": "DISABLED"}))
        );
    }

    #[tokio::test]
    async fn managed_scaling_is_refused_where_hosts_cannot_be_woken() {
        let harness = Harness::without_wake_command();
        let scaled = |status| request(json!({"autoScalingGroupArn": "gpu", "managedScaling": {"status": status}}));
        let error = harness
            .call::<CreateCapacityProvider>(scaled("ENABLED"))
            .await
            .expect_err("refused");
        assert!(error.message.contains("--wake-command"), "{}", error.message);
        harness
            .call::<CreateCapacityProvider>(scaled("DISABLED"))
            .await
            .expect("nothing is asked for");
    }

    #[tokio::test]
    async fn capacity_provider_that_is_there_is_refused_in_the_words_of_ecs() {
        let harness = Harness::new();
        let input = request(json!({"autoScalingGroupArn": "gpu"}));
        harness
            .call::<CreateCapacityProvider>(input.clone())
            .await
            .expect("created");
        let error = harness
            .call::<CreateCapacityProvider>(input.clone())
            .await
            .expect_err("refused");
        assert!(
            error
                .message
                .starts_with("The specified capacity provider already exists."),
            "{}",
            error.message
        );
        harness
            .call_in::<CreateCapacityProvider>("eu-west-1", input)
            .await
            .expect("another region");
    }

    #[tokio::test]
    async fn capacity_provider_carries_tags() {
        let harness = Harness::new();
        let input = request(json!({"autoScalingGroupArn": "gpu"}));
        let answer = harness.call::<CreateCapacityProvider>(input).await.expect("created");
        let arn = &answer["capacityProvider"]["capacityProviderArn"];
        let tag = json!({"resourceArn": arn, "tags": [{"key": "more", "value": "w"}]});
        harness.call::<TagResource>(tag).await.expect("tagged");
        let listed = harness
            .call::<ListTagsForResource>(json!({"resourceArn": arn}))
            .await
            .expect("listed");
        assert_eq!(
            listed["tags"],
            json!([{"key": "k", "value": "v"}, {"key": "more", "value": "w"}])
        );
    }

    #[tokio::test]
    async fn capacity_provider_is_refused_while_there_may_be_controllers_that_do_not_know_it() {
        let harness = Harness::before_levels();
        let input = request(json!({"autoScalingGroupArn": "gpu"}));
        let error = harness
            .call::<CreateCapacityProvider>(input)
            .await
            .expect_err("refused");
        assert!(error.message.contains("not every controller"), "{}", error.message);
    }
}
