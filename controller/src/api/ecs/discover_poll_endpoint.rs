//! `DiscoverPollEndpoint`: where the agents of the hosts speak with the controllers. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::{DiscoverPollEndpointRequest, DiscoverPollEndpointResponse};
use berth_core::model::ContainerInstanceStatus;

use super::ecs_agents;
use super::references::{self, Lookup};
use crate::api::context::{Api, Call};
use crate::api::errors::{self, client, invalid};
use crate::peers::ADDRESS;
use crate::registrar;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DiscoverPollEndpointRequest,
) -> Result<DiscoverPollEndpointResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    if let Some(host) = input.container_instance.filter(|text| !text.is_empty()) {
        match references::container_instance(&state, &cluster.key, &host)? {
            Lookup::Found(host) if host.status == ContainerInstanceStatus::Inactive => {
                return Err(invalid("The referenced container instance was not found."));
            }
            Lookup::Found(host) if host.host.ecs_agent.is_some() => {
                let heard = api.ecs_agents().heard(host).await;
                heard.map_err(|refused| ecs_agents::failure(&refused))?;
                // It is called by nobody: it asks here what it is to run.
                return Ok(DiscoverPollEndpointResponse::default());
            }
            Lookup::Found(_) => {}
            Lookup::Missing(_) => return Err(invalid("The referenced container instance was not found.")),
        }
    }
    let members = api.administration().members().await;
    let members = members.map_err(|failure| errors::administration(&failure))?;
    let leader = members
        .members
        .iter()
        .find(|member| members.leader == Some(member.record.id));
    let address = leader.and_then(|leader| leader.record.details.get(ADDRESS));
    let Some(address) = address else {
        return Err(client(
            "No address is known at which agents reach the controller that leads: one that runs by itself has none.",
        ));
    };
    Ok(DiscoverPollEndpointResponse {
        endpoint: Some(registrar::uri(address)),
        // Agents send no telemetry to another place, and there is no Service Connect.
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::DiscoverPollEndpoint;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn endpoint_of_what_is_not_there_is_refused() {
        let harness = Harness::new();
        let error = harness
            .call::<DiscoverPollEndpoint>(json!({}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ClusterNotFoundException");
        let host = harness.add_host(1, "a");
        for (input, said) in [
            (
                json!({"containerInstance": "0000000000000000000000000000000f"}),
                "was not found",
            ),
            (json!({"containerInstance": host.to_string()}), "no member of a cluster"),
        ] {
            let error = harness.call::<DiscoverPollEndpoint>(input).await.expect_err("refused");
            assert!(error.message.contains(said), "{}", error.message);
        }
    }
}
