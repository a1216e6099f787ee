//! `DescribeHosts`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{DescribeHostsRequest, DescribeHostsResponse, Host, StayingReason, StayingTask};
use berth_core::model::{ContainerInstance, Timestamp, TransportProtocol};
use berth_core::reconcile::{Leaving, Staying, Stays};
use berth_core::state::ClusterState;

use crate::api::context::{Api, Call};
use crate::api::ecs::references::{self, Lookup};
use crate::api::errors::invalid;

/// Most hosts of one request, as ECS bounds descriptions of them.
const MAX_HOSTS: usize = 100;

/// Tasks of a host that are told with why they stay: more than a person reads.
const MAX_STAYING: usize = 100;

pub(crate) async fn handle(
    api: &Api,
    call: &Call,
    input: DescribeHostsRequest,
) -> Result<DescribeHostsResponse, AwsError> {
    let named = input.container_instances.unwrap_or_default();
    if named.len() > MAX_HOSTS {
        return Err(invalid(format!("At most {MAX_HOSTS} hosts can be described at once.")));
    }
    let state = api.read().await?;
    let cluster = references::active_cluster(&state, &call.scope, input.cluster.as_deref())?;
    let (mut hosts, mut leaving) = (vec![], Leaving::new(&state, call.now));
    for name in &named {
        if let Lookup::Found(host) = references::container_instance(&state, &cluster.key, name)? {
            hosts.push(render(&state, &mut leaving, host));
        }
    }
    Ok(DescribeHostsResponse { hosts: Some(hosts) })
}

/// What is known of one host.
pub(super) fn host(state: &ClusterState, now: Timestamp, host: &ContainerInstance) -> Host {
    render(state, &mut Leaving::new(state, now), host)
}

fn render(state: &ClusterState, leaving: &mut Leaving<'_>, host: &ContainerInstance) -> Host {
    let port = |(protocol, port): &(TransportProtocol, u16)| match protocol {
        TransportProtocol::Tcp => format!("{port}/tcp"),
        TransportProtocol::Udp => format!("{port}/udp"),
    };
    Host {
        container_instance_arn: Some(host.arn()),
        agent_connected: Some(host.agent_connected),
        connection_changed_at: Some(berth_aws::Timestamp(host.connection_changed_at.0)),
        lost_at: host.lost_at.map(|at| berth_aws::Timestamp(at.0)),
        foreign_ports: Some(host.foreign_ports.iter().map(port).collect()),
        power: Some(host.power.state.as_str().to_owned()),
        power_changed_at: host.power.since.map(|at| berth_aws::Timestamp(at.0)),
        power_trouble: host.power.trouble.clone(),
        sleeps_by_hand: Some(host.power.by_hand),
        ..left(state, leaving, host)
    }
}

/// What keeps a host from being empty that its tasks are to leave.
fn left(state: &ClusterState, leaving: &mut Leaving<'_>, host: &ContainerInstance) -> Host {
    if !state.is_being_left(host.id) {
        return Host::default();
    }
    let (count, staying) = leaving.staying(host.id, MAX_STAYING);
    Host {
        tasks_left: i32::try_from(count).ok(),
        staying_tasks: Some(staying.iter().map(|one| task(state, one)).collect()),
        ..Default::default()
    }
}

fn task(state: &ClusterState, staying: &Staying) -> StayingTask {
    let task = state.task(staying.task);
    StayingTask {
        task_arn: task.map(|task| task.arn()),
        group: task.map(|task| task.group.clone()),
        reason: Some(reason(&staying.why)),
        sentence: Some(staying.why.to_string()),
        until: staying.why.until().map(|at| berth_aws::Timestamp(at.0)),
    }
}

fn reason(why: &Stays) -> StayingReason {
    match why {
        Stays::Stopping => StayingReason::Stopping,
        Stays::Standalone => StayingReason::Standalone,
        Stays::Protected(_) => StayingReason::Protected,
        Stays::LeavesLast => StayingReason::LeavesLast,
        Stays::ReplacementStarts => StayingReason::ReplacementStarts,
        Stays::NoHost { .. } => StayingReason::NoHost,
        Stays::NoLeeway { .. } => StayingReason::NoLeeway,
        Stays::HeldBack(_) => StayingReason::HeldBack,
        Stays::WaitsForServices(_) => StayingReason::WaitsForServices,
        Stays::DeploymentOver => StayingReason::DeploymentOver,
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::DescribeHosts;
    use berth_aws::ecs::operations::{RegisterTaskDefinition, RunTask, UpdateContainerInstancesState};
    use berth_core::model::{Timestamp, TransportProtocol};
    use berth_core::state::Command;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn host_shows_since_when_its_agent_is_away_and_which_ports_it_cannot_give() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a");
        let commands = [
            Command::RecordForeignPorts {
                container_instance: id,
                ports: [(TransportProtocol::Tcp, 8080)].into(),
            },
            Command::RecordAgentDisconnected {
                container_instance: id,
                last_heard_at: Timestamp(1_700_000_050_000),
                at: Timestamp(1_700_000_060_000),
            },
        ];
        for command in commands {
            harness.state.apply(&command).expect("applied");
        }
        let input = json!({"containerInstances": [id.to_string(), "0".repeat(31) + "9"]});
        let answer = harness.call::<DescribeHosts>(input).await.expect("described");
        let arn = harness.cluster("default").container_instance_arn(id);
        assert_eq!(
            answer["hosts"],
            json!([{
                "containerInstanceArn": arn, "agentConnected": false, "connectionChangedAt": 1_700_000_060.0,
                "foreignPorts": ["8080/tcp"], "power": "awake", "sleepsByHand": false
            }])
        );
    }

    #[tokio::test]
    async fn host_that_drains_tells_which_tasks_are_there_still_and_why() {
        let harness = Harness::new();
        let id = harness.add_host(1, "zone-a").to_string();
        let input = json!({"containerInstances": [id]});
        let active = harness.call::<DescribeHosts>(input.clone()).await.expect("described");
        assert_eq!(active["hosts"][0].get("tasksLeft"), None);
        let container = json!({"name": "app", "image": "app", "memory": 64});
        let definition = json!({"family": "job", "containerDefinitions": [container]});
        harness
            .call::<RegisterTaskDefinition>(definition)
            .await
            .expect("registers");
        let ran = harness
            .call::<RunTask>(json!({"taskDefinition": "job"}))
            .await
            .expect("runs");
        let drain = json!({"containerInstances": [id], "status": "DRAINING"});
        harness
            .call::<UpdateContainerInstancesState>(drain)
            .await
            .expect("drains");
        let described = harness.call::<DescribeHosts>(input).await.expect("described");
        let host = &described["hosts"][0];
        assert_eq!(host["tasksLeft"], 1);
        assert_eq!(
            host["stayingTasks"],
            json!([{
                "taskArn": ran["tasks"][0]["taskArn"], "group": "family:job", "reason": "STANDALONE",
                "sentence": "it is of no service, and runs until it ends or somebody stops it"
            }])
        );
    }
}
