//! Problems taken from the replicated state: the one place where placement knows how hosts and tasks are stored. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gpus::Gpus;
use super::problem::{Ask, Holding, Host, PlacementProblem, Shape, TaskRequest};
use super::scale_in::StopCandidate;
use super::strategy::{service_default, standalone_default};
use crate::model::{
    CapacityProviderName, ClusterKey, ContainerInstance, PredefinedCapacityProvider, RESERVED_TCP_PORTS, Task,
    TransportProtocol,
};
use crate::state::ClusterState;

impl PlacementProblem {
    /// The hosts of a cluster, deregistered ones left out, and requests for these tasks in the order given.
    #[must_use]
    pub fn from_state<'t>(
        state: &ClusterState,
        cluster: &ClusterKey,
        tasks: impl IntoIterator<Item = &'t Task>,
    ) -> Self {
        let hosts = state.container_instances_of(cluster);
        let mut requests = Requests::default();
        Self {
            hosts: hosts.map(|host| Host::from_state(state, host)).collect(),
            requests: tasks.into_iter().map(|task| requests.of(task)).collect(),
            typical: None,
        }
    }
}

impl Host {
    /// The host with what its tasks hold now.
    #[must_use]
    pub fn from_state(state: &ClusterState, instance: &ContainerInstance) -> Self {
        let allocation = state.allocation(instance.id);
        let reserved = RESERVED_TCP_PORTS.map(|port| (TransportProtocol::Tcp, port));
        let mut used_ports = allocation.ports();
        used_ports.extend(reserved);
        let missing = state.missing_daemon(instance.id);
        let groups = allocation.groups().map(|(group, tasks)| (group.to_owned(), tasks));
        Self {
            id: instance.id,
            name: instance.host.host_name.clone(),
            attributes: instance.all_attributes(),
            capacity_provider: instance.host.capacity_provider.clone(),
            registered: instance.host.capacity,
            free: allocation.free(instance.host.capacity),
            // Agents do not report GPUs, and task definitions that ask for one are refused.
            gpus: Gpus::default(),
            used_ports,
            foreign_ports: instance.foreign_ports.clone(),
            status: instance.status,
            agent_connected: instance.agent_connected,
            power: instance.power.state,
            makes_room_for: allocation.makes_room_for().cloned(),
            missing_daemon: missing.and_then(|missing| missing.name.of_daemon()).map(str::to_owned),
            agent_version: instance.host.agent_version.clone(),
            registered_at: instance.registered_at,
            running_tasks: allocation.running_tasks(),
            tasks_by_group: groups.collect(),
        }
    }
}

impl TaskRequest {
    /// What the task asks for. One that names no strategy gets the default of a service's tasks or of standalone ones.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let strategies = match (task.placement_strategy.as_slice(), task.service()) {
            ([], Some(_)) => service_default(),
            ([], None) => standalone_default(),
            (named, _) => named.to_vec(),
        };
        // ECS's own capacity providers are no pools: a host of one may be in a pool as well.
        let predefined = task.capacity_provider.as_ref().and_then(PredefinedCapacityProvider::of);
        let mut constraints = task.placement_constraints.clone();
        constraints.extend(predefined.map(PredefinedCapacityProvider::required_attribute));
        let ask = Ask {
            group: task.group.clone(),
            shape: Shape::of(task.reservation),
            host_ports: task.host_ports.clone(),
            capacity_provider: task.capacity_provider.clone().filter(|_| predefined.is_none()),
            constraints,
            strategies,
        };
        Self::new(task.id, ask)
    }
}

/// Requests of many tasks: those of one blueprint and capacity provider share what they ask for.
#[derive(Default)]
pub(crate) struct Requests<'t> {
    /// By the address of the blueprint, which stays where it is as long as the task.
    asks: BTreeMap<(usize, Option<&'t CapacityProviderName>), Arc<Ask>>,
}

impl<'t> Requests<'t> {
    /// As [`TaskRequest::of`].
    pub(crate) fn of(&mut self, task: &'t Task) -> TaskRequest {
        let key = (Arc::as_ptr(&task.blueprint).addr(), task.capacity_provider.as_ref());
        let ask = self.asks.entry(key).or_insert_with(|| TaskRequest::of(task).ask);
        TaskRequest::new(task.id, Arc::clone(ask))
    }
}

impl StopCandidate {
    /// The task as one that may be stopped.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        Self {
            task: task.id,
            host: task.container_instance,
            status: task.last_status,
            created_at: task.created_at,
            holds: Holding {
                shape: Shape::of(task.reservation),
                ..Holding::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AgentId, Attributes, ContainerInstanceId, DesiredStatus, HostDescription, LogIndex, PlacementStrategy,
        Resources, Scope, ServiceKey, StopCode, Tags, TaskBlueprint, TaskDefinitionKey, TaskId, TaskOrigin,
        TaskOverride, TaskStatus, Timestamp,
    };
    use crate::placement::{KnownHosts, Seed, place};
    use crate::state::{Command, apply};
    use proptest::prelude::*;

    fn cluster() -> ClusterKey {
        Scope::new("123456789012", "us-east-1").cluster("default")
    }

    fn task(id: u128, host: Option<u128>) -> Task {
        let blueprint = TaskBlueprint {
            cluster: cluster(),
            task_definition: TaskDefinitionKey {
                scope: cluster().scope,
                family: "web".into(),
                revision: 1,
            },
            origin: TaskOrigin::Standalone,
            group: "family:web".to_owned(),
            started_by: None,
            launch_type: None,
            overrides: TaskOverride::default(),
            reservation: Resources::new(256, 300),
            host_ports: [(TransportProtocol::Tcp, 8080)].into(),
            placement_constraints: vec![],
            placement_strategy: vec![],
            tags: Tags::new(),
        };
        Task {
            blueprint: blueprint.into(),
            id: TaskId(id),
            desired_status: DesiredStatus::Running,
            last_status: TaskStatus::Provisioning,
            container_instance: host.map(ContainerInstanceId),
            capacity_provider: None,
            placement: None,
            containers: vec![],
            version: 1,
            created_at: Timestamp(0),
            provision_until: None,
            placed_at: None,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            running_since: None,
            protected_until: None,
            health: None,
            network_interface: None,
            preempted_by: None,
            stopping_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
        }
    }

    fn state_after(commands: Vec<Command>) -> ClusterState {
        let mut state = ClusterState::at_newest_level();
        for (index, command) in (1..).zip(commands) {
            apply(&mut state, LogIndex(index), &command).expect("accepted");
        }
        state
    }

    fn register(id: u128) -> Command {
        Command::RegisterContainerInstance {
            id: ContainerInstanceId(id),
            previous: None,
            cluster: cluster(),
            agent: AgentId::from(format!("agent-{id}")),
            host: HostDescription {
                host_name: format!("host-{id}"),
                capacity: Resources::new(1024, 1000),
                attributes: Attributes::new(),
                agent_version: "1.2.3".to_owned(),
                runtime_version: "simulated".to_owned(),
                capacity_provider: None,
                ecs_agent: None,
            },
            at: Timestamp(id.try_into().expect("small")),
        }
    }

    fn commands() -> Vec<Command> {
        let run = Command::RunTasks {
            tasks: vec![task(10, Some(1))],
            client_token: None,
        };
        vec![register(1), register(2), run]
    }

    #[test]
    fn host_from_the_state_has_free_what_its_tasks_leave() {
        let state = state_after(commands());
        let instance = state.container_instance(ContainerInstanceId(1)).expect("registered");
        let host = Host::from_state(&state, instance);
        assert_eq!(host.free, Resources::new(768, 700));
        assert_eq!(host.used_ports.len(), RESERVED_TCP_PORTS.len() + 1);
        assert_eq!(host.tasks_by_group.get("family:web"), Some(&1));
        assert_eq!((host.name.as_str(), host.registered_at), ("host-1", Timestamp(1)));
    }

    #[test]
    fn task_that_is_stopping_keeps_its_room_and_leaves_its_group() {
        let mut commands = commands();
        commands.push(Command::StopTasks {
            tasks: vec![TaskId(10)],
            stop_code: StopCode::UserInitiated,
            reason: "no longer needed".to_owned(),
            at: Timestamp(5),
        });
        let state = state_after(commands);
        let instance = state.container_instance(ContainerInstanceId(1)).expect("registered");
        let host = Host::from_state(&state, instance);
        assert_eq!(host.free, Resources::new(768, 700));
        assert!(host.tasks_by_group.is_empty());
    }

    /// What happens to one of many hosts: it joins, leaves, gets a task, or is to stop one, or a program takes a port.
    fn happening((kind, host): (u8, u128), id: u128) -> Command {
        let (container_instance, at) = (ContainerInstanceId(host), Timestamp(7));
        match kind {
            0 => register(host),
            1 => Command::DeregisterContainerInstance {
                container_instance,
                force: true,
                at,
            },
            2 => Command::RecordForeignPorts {
                container_instance,
                ports: [(TransportProtocol::Tcp, 8080)].into(),
            },
            3 => Command::StopTasks {
                tasks: (1000..id).map(TaskId).collect(),
                stop_code: StopCode::UserInitiated,
                reason: "no longer needed".to_owned(),
                at,
            },
            _ => Command::RunTasks {
                tasks: vec![task(id, Some(host))],
                client_token: None,
            },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hosts_known_from_earlier_states_are_what_they_would_be_described_as_anew(
            rounds in proptest::collection::vec(proptest::collection::vec((0u8..8, 1u128..400), 0..40), 1..8),
        ) {
            let (mut known, mut state) = (KnownHosts::default(), ClusterState::at_newest_level());
            let mut ids = 1000..;
            let joins = (1..300).map(|host| (0, host)).collect();
            for round in std::iter::once(joins).chain(rounds) {
                for (event, id) in round.into_iter().zip(&mut ids) {
                    let index = LogIndex(state.applied().0 + 1);
                    // A host that is not there has nothing to say.
                    apply(&mut state, index, &happening(event, id)).ok();
                }
                let anew = PlacementProblem::from_state(&state, &cluster(), []).hosts;
                for _ in 0..2 {
                    known.keep_up(&state);
                    let hosts = known.of(&state, &cluster());
                    prop_assert!(hosts.iter().map(|host| &**host).eq(&anew));
                }
            }
        }
    }

    #[test]
    fn task_from_the_state_goes_where_its_port_is_free() {
        let state = state_after(commands());
        let waiting = task(11, None);
        let problem = PlacementProblem::from_state(&state, &cluster(), [&waiting]);
        let placements: Vec<_> = place(&problem, Seed(3)).placements().collect();
        assert_eq!(placements, vec![(TaskId(11), ContainerInstanceId(2))]);
    }

    #[test]
    fn task_goes_not_where_a_foreign_program_holds_its_port_until_it_is_free() {
        let mut commands = commands();
        let held = |ports: crate::model::Ports| Command::RecordForeignPorts {
            container_instance: ContainerInstanceId(2),
            ports,
        };
        commands.push(held([(TransportProtocol::Tcp, 8080)].into()));
        let waiting = task(11, None);
        let state = state_after(commands.clone());
        let plan = place(&PlacementProblem::from_state(&state, &cluster(), [&waiting]), Seed(3));
        let (_, unplaced) = plan.unplaced().next().expect("no host has the port");
        let reasons: Vec<String> = unplaced.hosts.iter().map(|host| host.refusals[0].to_string()).collect();
        assert!(
            reasons.contains(&"host port 8080/tcp is held by a program that is no task".to_owned()),
            "{reasons:?}"
        );
        commands.push(held([].into()));
        let state = state_after(commands);
        let plan = place(&PlacementProblem::from_state(&state, &cluster(), [&waiting]), Seed(3));
        assert_eq!(plan.placements().next(), Some((TaskId(11), ContainerInstanceId(2))));
    }

    #[test]
    fn tasks_of_one_blueprint_share_what_they_ask_for_and_ask_what_each_would_alone() {
        let one = task(11, None);
        let mut tasks = vec![
            one.clone(),
            Task {
                id: TaskId(12),
                ..one.clone()
            },
            task(13, None),
        ];
        tasks.push(Task {
            capacity_provider: Some("gpu".into()),
            ..one
        });
        let mut requests = Requests::default();
        let shared: Vec<TaskRequest> = tasks.iter().map(|task| requests.of(task)).collect();
        let alone: Vec<TaskRequest> = tasks.iter().map(TaskRequest::of).collect();
        assert_eq!(shared, alone);
        let same = |place: usize| Arc::ptr_eq(&shared[0].ask, &shared[place].ask);
        assert_eq!((same(1), same(2), same(3)), (true, false, false));
    }

    #[test]
    fn task_that_names_no_strategy_gets_the_default_of_its_kind() {
        let mut waiting = task(11, None);
        assert_eq!(TaskRequest::of(&waiting).strategies, standalone_default());
        waiting.blueprint_mut().origin = TaskOrigin::Service {
            service: ServiceKey {
                cluster: cluster(),
                name: "web".into(),
            },
            deployment: "ecs-svc/1".into(),
        };
        assert_eq!(TaskRequest::of(&waiting).strategies, service_default());
        waiting.blueprint_mut().placement_strategy = vec![PlacementStrategy::Random];
        assert_eq!(TaskRequest::of(&waiting).strategies, vec![PlacementStrategy::Random]);
    }
}
