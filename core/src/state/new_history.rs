//! What changes in a state that begins a new history, as when a backup of it is restored: the hosts may have gone on without it.

use crate::model::{ContainerInstance, ContainerInstanceStatus};

use super::ClusterState;

impl ClusterState {
    /// The state as a new history begins with it. Every host that takes part counts as connected, as after a restart of all
    /// controllers: its agent has the usual time to come back before anything is concluded from its absence. Otherwise a host that
    /// was away for a moment when the backup was made would be lost at once, and its running tasks would be stopped.
    #[must_use]
    pub fn for_new_history(mut self) -> Self {
        let instances = self.container_instances.values();
        let away = instances.filter(|host| host.status != ContainerInstanceStatus::Inactive && !host.agent_connected);
        let away: Vec<ContainerInstance> = away.map(|host| ContainerInstance::clone(host)).collect();
        for mut host in away {
            host.agent_connected = true;
            host.version += 1;
            self.put_instance(host);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, apply};
    use super::*;
    use crate::model::{
        AgentId, Attributes, ContainerInstanceId, HostDescription, LogIndex, Resources, Scope, Timestamp,
    };

    #[test]
    fn state_of_a_new_history_gives_hosts_that_were_away_time_to_come_back() {
        let mut state = ClusterState::default();
        let cluster = Scope::new("123456789012", "us-east-1").cluster("default");
        for number in 1..=2u64 {
            let register = Command::RegisterContainerInstance {
                id: ContainerInstanceId(u128::from(number)),
                cluster: cluster.clone(),
                agent: AgentId::from(format!("agent-{number}")),
                host: HostDescription {
                    host_name: format!("host-{number}"),
                    capacity: Resources::new(1024, 1024),
                    attributes: Attributes::new(),
                    agent_version: "1".into(),
                    runtime_version: "simulated".into(),
                    capacity_provider: None,
                    ecs_agent: None,
                },
                previous: None,
                at: Timestamp(1),
            };
            apply(&mut state, LogIndex(number), &register).expect("registered");
        }
        let gone = Command::DeregisterContainerInstance {
            container_instance: ContainerInstanceId(1),
            force: true,
            at: Timestamp(2),
        };
        let away = Command::RecordAgentDisconnected {
            container_instance: ContainerInstanceId(2),
            last_heard_at: Timestamp(2),
            at: Timestamp(2),
        };
        apply(&mut state, LogIndex(3), &gone).expect("deregistered");
        apply(&mut state, LogIndex(4), &away).expect("disconnected");
        let state = state.for_new_history();
        let connected = |id| {
            state
                .container_instance(ContainerInstanceId(id))
                .map(|host| host.agent_connected)
        };
        assert_eq!((connected(1), connected(2)), (Some(false), Some(true)));
    }
}
