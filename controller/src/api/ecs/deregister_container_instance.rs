//! `DeregisterContainerInstance`. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DeregisterContainerInstanceRequest, DeregisterContainerInstanceResponse};
use berth_core::state::{Command, Rejection};

use super::references::{self, Lookup};
use super::render;
use crate::api::context::{Api, Call};
use crate::api::errors::{self, invalid};

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DeregisterContainerInstanceRequest,
) -> Result<DeregisterContainerInstanceResponse, AwsError> {
    let name = input
        .container_instance
        .ok_or_else(|| invalid("Container instance cannot be empty."))?;
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let id = match references::container_instance(&state, &cluster.key, &name)? {
        Lookup::Found(instance) => instance.id,
        Lookup::Missing(_) => return Err(invalid("The referenced container instance was not found.")),
    };
    api.propose(Command::DeregisterContainerInstance {
        container_instance: id,
        force: input.force.unwrap_or(false),
        at: call.now,
    })
    .await?;
    let state = api.read().await?;
    let instance = state
        .container_instance(id)
        .ok_or_else(|| errors::rejection(&Rejection::ContainerInstanceNotFound(id)))?;
    Ok(DeregisterContainerInstanceResponse {
        container_instance: Some(render::container_instance::container_instance(&state, instance, &[])),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{DeregisterContainerInstance, DescribeContainerInstances, ListContainerInstances};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn host_that_was_deregistered_is_inactive_and_no_longer_listed() {
        let harness = Harness::new();
        let id = harness.add_host(1, "z").to_string();
        let answer = harness
            .call::<DeregisterContainerInstance>(json!({"containerInstance": id}))
            .await
            .expect("deregistered");
        assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
        assert_eq!(answer["containerInstance"]["agentConnected"], false);
        let listed = harness.call::<ListContainerInstances>(json!({})).await.expect("listed");
        assert_eq!(listed["containerInstanceArns"], json!([]));
        let input = json!({"containerInstances": [id]});
        let described = harness
            .call::<DescribeContainerInstances>(input)
            .await
            .expect("described");
        assert_eq!(described["containerInstances"][0]["status"], "INACTIVE");
        let again = harness
            .call::<DeregisterContainerInstance>(json!({"containerInstance": id}))
            .await;
        assert_eq!(again.expect_err("refused").kind.code, "InvalidParameterException");
    }

    #[tokio::test]
    async fn host_that_is_unknown_is_refused() {
        let harness = Harness::new();
        harness.add_host(1, "z");
        let error = harness
            .call::<DeregisterContainerInstance>(json!({"containerInstance": "0".repeat(32)}))
            .await
            .expect_err("refused");
        assert_eq!(error.message, "The referenced container instance was not found.");
    }
}
