//! `UpdateContainerAgent`: says what there is to update. An agent is a program of its host, which Berth does not replace. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::errors as ecs;
use berth_aws::ecs::{UpdateContainerAgentRequest, UpdateContainerAgentResponse};
use berth_core::model::{ContainerInstance, ContainerInstanceStatus};

use super::references::{self, Lookup};
use crate::api::context::{Api, Call};
use crate::api::errors::{client, invalid};

/// The version of this controller, which agents are to have too.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: UpdateContainerAgentRequest,
) -> Result<UpdateContainerAgentResponse, AwsError> {
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let host = input.container_instance.unwrap_or_default();
    match references::container_instance(&state, &cluster.key, &host)? {
        Lookup::Found(host) if host.status != ContainerInstanceStatus::Inactive => Err(refusal(host)),
        _ => Err(invalid("The referenced container instance was not found.")),
    }
}

fn refusal(instance: &ContainerInstance) -> AwsError {
    let host = &instance.host;
    if host.agent_version == VERSION {
        return ecs::NO_UPDATE_AVAILABLE.error(format!(
            "There is no update for the agent of host {}: it has version {VERSION}, as the controllers have.",
            host.host_name
        ));
    }
    client(format!(
        "Berth does not replace programs on hosts. The agent of host {} has version {}: install berth {VERSION} there and restart the agent; \
         its tasks run on meanwhile.",
        host.host_name, host.agent_version
    ))
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::UpdateContainerAgent;
    use berth_core::model::{AgentId, Attributes, ContainerInstanceId, HostDescription, Resources};
    use berth_core::state::Command;
    use serde_json::json;

    use super::VERSION;
    use crate::api::testing::{Harness, NOW};

    fn add_host(harness: &Harness, id: u128, version: &str) {
        let command = Command::RegisterContainerInstance {
            id: ContainerInstanceId(id),
            previous: None,
            cluster: harness.cluster("default"),
            agent: AgentId::from(format!("agent-{id}")),
            host: HostDescription {
                host_name: format!("host-{id}"),
                capacity: Resources::new(1024, 1024),
                attributes: Attributes::new(),
                agent_version: version.to_owned(),
                runtime_version: "simulated".to_owned(),
                capacity_provider: None,
                ecs_agent: None,
            },
            at: NOW,
        };
        harness.state.apply(&command).expect("registers");
    }

    #[tokio::test]
    async fn agent_is_said_to_be_current_or_how_it_is_updated() {
        let harness = Harness::new();
        add_host(&harness, 1, VERSION);
        add_host(&harness, 2, "0.0.1");
        for (host, code, said) in [
            (1u128, "NoUpdateAvailableException", VERSION),
            (2, "ClientException", "install berth"),
            (3, "InvalidParameterException", "not found"),
        ] {
            let input = json!({"containerInstance": ContainerInstanceId(host).to_string()});
            let error = harness.call::<UpdateContainerAgent>(input).await.expect_err("refused");
            assert_eq!(error.kind.code, code);
            assert!(error.message.contains(said), "{}", error.message);
        }
    }
}
