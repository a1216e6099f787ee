//! `RemoveHost`: of a host, or of an agent that has a certificate and may be no host. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_aws::AwsError;
use berth_aws::berth::{RemoveHostRequest, RemoveHostResponse, errors::RESOURCE_NOT_FOUND};
use berth_core::model::{AgentId, ContainerInstance, ContainerInstanceStatus};
use berth_core::state::{ClusterState, Command};

use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors;

/// What an agent that is connected has left to hear that its host was deregistered, and so stops its tasks, before its connection ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the identities of those who have certificates begin with.
const IDENTITY: &str = "berth://";

pub(crate) async fn handle(api: &Api, call: &Call, input: RemoveHostRequest) -> Result<RemoveHostResponse, AwsError> {
    let state = api.read().await?;
    let name = input.container_instance.unwrap_or_default();
    let host = if name.starts_with(IDENTITY) {
        Err(RESOURCE_NOT_FOUND.error(format!(
            "No agent of this cluster is {name}, or it was removed before; `berth ca rotate` names those for which it waits."
        )))
    } else {
        references::existing_host(&state, &call.scope, input.cluster.as_deref(), &name)
    };
    let (agent, hosts) = match host {
        Ok(host) => (host.agent.clone(), vec![host]),
        Err(missing) => {
            let agent = api.administration().agent_named(&name);
            let agent = agent
                .map_err(|failure| errors::administration(&failure))?
                .ok_or(missing)?;
            let hosts = hosts_of(&state, &agent);
            (agent, hosts)
        }
    };
    for host in &hosts {
        // One that was deregistered before is refused now.
        if host.status != ContainerInstanceStatus::Inactive {
            let tasks = state
                .tasks_of_instance(host.id)
                .filter(|task| !task.is_stopped())
                .count();
            if tasks > 0 && input.force != Some(true) {
                let name = &host.host.host_name;
                let noun = if tasks == 1 { "task" } else { "tasks" };
                return Err(errors::invalid(format!(
                    "Host {name} still has {tasks} {noun}. Drain it first, with `berth hosts drain {name}`, or remove it with --force, which stops them."
                )));
            }
            api.propose(Command::DeregisterContainerInstance {
                container_instance: host.id,
                force: input.force.unwrap_or(false),
                at: call.now,
            })
            .await?;
        }
    }
    let is_told =
        |host: &Arc<ContainerInstance>| host.status != ContainerInstanceStatus::Inactive && host.agent_connected;
    if hosts.iter().any(is_told) {
        tokio::time::sleep(LAST_WORDS).await;
    }
    let refused = api.administration().refuse_agent(agent.as_str()).await;
    refused.map_err(|failure| errors::administration(&failure))?;
    Ok(RemoveHostResponse {})
}

/// The hosts that an agent is, in whichever clusters.
fn hosts_of(state: &ClusterState, agent: &AgentId) -> Vec<Arc<ContainerInstance>> {
    let hosts = state.all_container_instances();
    let is_its =
        |host: &&Arc<ContainerInstance>| host.agent == *agent && host.status != ContainerInstanceStatus::Inactive;
    hosts.filter(is_its).cloned().collect()
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::RemoveHost;
    use berth_core::model::ContainerInstanceStatus;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn agent_named_by_its_identity_is_removed_wherever_it_is_a_host_and_if_it_is_none() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a");
        let agent = harness
            .state
            .state()
            .container_instance(id)
            .expect("there")
            .agent
            .clone();
        let stranger = json!({"cluster": "another", "containerInstance": "berth://test/agent/nobody"});
        harness.call::<RemoveHost>(stranger).await.expect("removed");
        let named = json!({"cluster": "another", "containerInstance": format!("berth://test/agent/{agent}")});
        harness.call::<RemoveHost>(named).await.expect("removed");
        let status = harness.state.state().container_instance(id).map(|host| host.status);
        assert_eq!(status, Some(ContainerInstanceStatus::Inactive));
        let unknown = json!({"containerInstance": "berth://other/agent/a"});
        let error = harness.call::<RemoveHost>(unknown).await.expect_err("refused");
        assert!(
            error
                .message
                .contains("No agent of this cluster is berth://other/agent/a"),
            "{error:?}"
        );
    }
}
