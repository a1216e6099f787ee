//! `UpdateCapacityProvider`: all that can be asked of a capacity provider is what it does anyway. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{UpdateCapacityProviderRequest, UpdateCapacityProviderResponse};

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
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn capacity_provider_can_be_asked_for_nothing_but_what_it_does() {
        let harness = Harness::new();
        harness.add_capacity_provider("gpu").await;
        let with = |status: &str| {
            json!({"name": "gpu", "autoScalingGroupProvider": {
                "managedScaling": {"status": status}, "managedTerminationProtection": "DISABLED"
            }})
        };
        let answer = harness
            .call::<UpdateCapacityProvider>(with("DISABLED"))
            .await
            .expect("as it is");
        assert_eq!(answer["capacityProvider"]["name"], "gpu");
        let error = harness
            .call::<UpdateCapacityProvider>(with("ENABLED"))
            .await
            .expect_err("refused");
        assert!(error.message.contains("managedScaling.status"), "{}", error.message);
        let other = json!({"name": "other", "autoScalingGroupProvider": {}});
        let error = harness.call::<UpdateCapacityProvider>(other).await.expect_err("none");
        assert!(error.message.contains("was not found"), "{}", error.message);
    }
}
