//! `DeleteCapacityProvider`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{
    CapacityProviderStatus, CapacityProviderUpdateStatus, DeleteCapacityProviderRequest, DeleteCapacityProviderResponse,
};
use berth_core::state::Command;

use super::{capacity_providers, render};
use crate::api::context::{Api, Call};
use crate::api::errors;
use crate::api::members::{Honoured, refuse_others};

const HONOURED: Honoured = Honoured::Members(&[("capacityProvider", Honoured::All)]);

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeleteCapacityProviderRequest,
) -> Result<DeleteCapacityProviderResponse, AwsError> {
    refuse_others(&input, &HONOURED)?;
    let name = capacity_providers::name_of(&call.scope, input.capacity_provider.as_deref())?;
    capacity_providers::check_not_predefined(&name, "deleted")?;
    let key = call.scope.capacity_provider(name.as_str());
    let state = api.read().await?;
    let provider = state
        .capacity_provider(&key)
        .ok_or_else(|| errors::capacity_provider_not_found(&key))?;
    let mut answer = render::capacity_provider(provider, true);
    api.propose(Command::DeleteCapacityProvider { capacity_provider: key })
        .await?;
    answer.status = Some(CapacityProviderStatus::Inactive);
    answer.update_status = Some(CapacityProviderUpdateStatus::DeleteComplete);
    Ok(DeleteCapacityProviderResponse {
        capacity_provider: Some(answer),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{
        CreateCluster, DeleteCapacityProvider, DescribeCapacityProviders, PutClusterCapacityProviders,
    };
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn capacity_provider_goes_once_no_cluster_has_it() {
        let harness = Harness::new();
        harness.add_capacity_provider("gpu").await;
        let cluster = json!({"clusterName": "shop", "capacityProviders": ["gpu"]});
        harness.call::<CreateCluster>(cluster).await.expect("created");
        let delete = json!({"capacityProvider": "arn:aws:ecs:us-east-1:123456789012:capacity-provider/gpu"});
        let error = harness
            .call::<DeleteCapacityProvider>(delete.clone())
            .await
            .expect_err("refused");
        assert_eq!(
            error.message,
            "The capacity provider cannot be deleted because it is associated with cluster: shop. Remove the capacity provider from the \
             cluster and try again."
        );
        let none = json!({"cluster": "shop", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
        harness.call::<PutClusterCapacityProviders>(none).await.expect("put");
        let answer = harness
            .call::<DeleteCapacityProvider>(delete.clone())
            .await
            .expect("deleted");
        assert_eq!(
            (
                &answer["capacityProvider"]["status"],
                &answer["capacityProvider"]["updateStatus"]
            ),
            (&json!("INACTIVE"), &json!("DELETE_COMPLETE"))
        );
        let all = harness
            .call::<DescribeCapacityProviders>(json!({}))
            .await
            .expect("described");
        let names = all["capacityProviders"].as_array().into_iter().flatten();
        assert!(names.map(|provider| &provider["name"]).all(|name| name != "gpu"));
        let error = harness.call::<DeleteCapacityProvider>(delete).await.expect_err("gone");
        assert!(error.message.contains("was not found"), "{}", error.message);
        let reserved = json!({"capacityProvider": "FARGATE"});
        let error = harness
            .call::<DeleteCapacityProvider>(reserved)
            .await
            .expect_err("reserved");
        assert!(
            error.message.contains("is reserved and cannot be deleted"),
            "{}",
            error.message
        );
    }
}
