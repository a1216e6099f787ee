//! `UpdateCapacityProvider`: how the hosts of a pool are woken and put to sleep. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateCapacityProviderRequest, UpdateCapacityProviderResponse};
use berth_core::state::{Command, Feature, UpdateCapacityProvider};

use super::capacity_providers::Managed;
use super::{capacity_providers, render};
use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::members::{Honoured, refuse_others};

const HONOURED: Honoured = Honoured::Members(&[
    ("name", Honoured::All),
    ("autoScalingGroupProvider", capacity_providers::GROUP),
]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateCapacityProviderRequest,
) -> Result<UpdateCapacityProviderResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let name = capacity_providers::name_of(&call.scope, input.name.as_deref())?;
    capacity_providers::check_not_predefined(&name, "updated")?;
    let key = call.scope.capacity_provider(name.as_str());
    let group = input.auto_scaling_group_provider.as_ref();
    let managed = Managed::of(
        group.and_then(|group| group.managed_scaling.as_ref()),
        group.and_then(|group| group.managed_termination_protection.as_ref()),
        group.and_then(|group| group.managed_draining.as_ref()),
    );
    managed.check(api)?;
    if api.uses(Feature::ManagedScaling) {
        let update = UpdateCapacityProvider {
            capacity_provider: key.clone(),
            managed_scaling: managed.scaling,
            managed_termination_protection: managed.termination_protection,
            managed_draining: managed.draining,
        };
        api.propose(Command::UpdateCapacityProvider(update)).await?;
    }
    let state = api.read().await?;
    let provider = state
        .capacity_provider(&key)
        .ok_or_else(|| errors::capacity_provider_not_found(&key))?;
    Ok(UpdateCapacityProviderResponse {
        capacity_provider: Some(render::capacity_provider(provider, true)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::UpdateCapacityProvider;
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn what_is_given_is_merged_with_what_there_is() {
        let harness = Harness::new();
        harness.add_capacity_provider("gpu").await;
        let update = async |group: Value| {
            let input = json!({"name": "gpu", "autoScalingGroupProvider": group});
            let answer = harness.call::<UpdateCapacityProvider>(input).await;
            answer.map(|answer| {
                assert_eq!(answer["capacityProvider"]["updateStatus"], "UPDATE_COMPLETE");
                answer["capacityProvider"]["autoScalingGroupProvider"].clone()
            })
        };
        let as_it_is = json!({
            "autoScalingGroupArn": "gpu", "managedScaling": {"status": "DISABLED"},
            "managedTerminationProtection": "DISABLED", "managedDraining": "DISABLED"
        });
        assert_eq!(update(json!({})).await.expect("nothing changes"), as_it_is);
        let enabled = json!({"managedScaling": {"status": "ENABLED"}, "managedTerminationProtection": "ENABLED"});
        let now = update(enabled).await.expect("updated");
        assert_eq!(now["managedScaling"]["targetCapacity"], 100);
        assert_eq!(
            (&now["managedTerminationProtection"], &now["managedDraining"]),
            (&json!("ENABLED"), &json!("ENABLED"))
        );
        let now = update(json!({"managedScaling": {"targetCapacity": 50}, "managedDraining": "DISABLED"}));
        let now = now.await.expect("updated");
        assert_eq!(now["managedScaling"]["status"], "ENABLED");
        assert_eq!(
            (&now["managedTerminationProtection"], &now["managedDraining"]),
            (&json!("ENABLED"), &json!("DISABLED"))
        );
        let now = update(json!({"managedScaling": {"status": "DISABLED"}}))
            .await
            .expect("updated");
        assert_eq!(now["managedTerminationProtection"], "DISABLED");
        assert_eq!(now["managedDraining"], "DISABLED");
        let now = update(json!({"managedDraining": "ENABLED"})).await.expect("updated");
        assert_eq!(now["managedDraining"], "ENABLED");
        let error = update(json!({"managedTerminationProtection": "ENABLED"}))
            .await
            .expect_err("refused");
        assert!(
            error.message.contains("managedTerminationProtection cannot be ENABLED"),
            "{}",
            error.message
        );
    }

    #[tokio::test]
    async fn capacity_provider_that_is_not_there_is_not_found() {
        let other = json!({"name": "other", "autoScalingGroupProvider": {}});
        let error = Harness::new()
            .call::<UpdateCapacityProvider>(other)
            .await
            .expect_err("none");
        assert!(error.message.contains("was not found"), "{}", error.message);
    }
}
